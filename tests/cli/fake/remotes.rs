//! Canned answers to requests about remotes.

use cairn::control::remote::{BucketCheck, BucketCollection, RemoteInfo, RemoteRequest};
use cairn::control::reply::Reply;
use cairn::model::debian::DebianSettings;
use cairn::model::remote::{
    ClientCertificate, Login, RemoteKind, RemoteSettings, RemoteTest, SecretSource,
};

pub(super) fn answer(request: &RemoteRequest) -> Reply {
    match request {
        RemoteRequest::Test { .. } => Reply::RemoteTest(RemoteTest {
            usable: true,
            failure: None,
            declared: Some(2),
            has_sizes: Some(false),
            conditional: Some(true),
            ranges: Some(false),
            creates_once: None,
            lists_at_once: None,
            notes: vec!["the signature was not checked".to_owned()],
        }),
        RemoteRequest::Fsck { name, .. } => Reply::BucketCheck(Box::new(BucketCheck {
            remote: name.clone(),
            repositories: 1,
            versions: 2,
            objects: 5,
            read_bytes: 100,
            found: 0,
            notes: Vec::new(),
        })),
        RemoteRequest::Gc { name, dry_run, .. } => {
            Reply::BucketCollection(Box::new(BucketCollection {
                remote: name.clone(),
                dry_run: *dry_run,
                objects: 5,
                strangers: 1,
                candidates: 3,
                candidate_bytes: dry_run.then_some(100),
                condemned: 3,
                waiting: 2,
                deleted: 1,
                deleted_bytes: 50,
            }))
        }
        RemoteRequest::Remove { .. } | RemoteRequest::Accept { .. } => Reply::Done,
        _ => Reply::Remotes(vec![remote()]),
    }
}

fn remote() -> RemoteInfo {
    let mut settings =
        RemoteSettings::new(RemoteKind::Sums, "https://example.org/".parse().unwrap());
    let password = SecretSource::File("/etc/cairn/password".into());
    settings.login = Some(Login::Basic { user: "ci".to_owned(), password });
    settings.ca_file = Some("/etc/cairn/ca.pem".into());
    settings.client_certificate = Some(ClientCertificate {
        certificate_file: "/etc/cairn/cert.pem".into(),
        key_file: "/etc/cairn/key.pem".into(),
    });
    settings.rate_bytes_per_second = Some(1 << 20);
    settings.connections = Some(2);
    settings.connect_timeout_ms = Some(5000);
    settings.idle_timeout_ms = Some(30_000);
    settings.lowest_bytes_per_second = Some(100);
    settings.debian = Some(DebianSettings {
        suites: vec!["bookworm".parse().unwrap()],
        components: vec!["main".parse().unwrap()],
        architectures: vec!["amd64".parse().unwrap()],
        languages: vec!["en".parse().unwrap()],
        sources: true,
        keyring_file: Some("/etc/cairn/keyring.gpg".into()),
        allow_expired: true,
    });
    RemoteInfo { name: "origin".parse().unwrap(), settings }
}
