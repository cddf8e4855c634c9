//! A server that speaks S3: moto on loopback, or the one that the environment names.

use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use cairn::bucket::key::Nonce;
use cairn::model::remote::{BucketSettings, Login, RemoteKind, RemoteSettings, SecretSource};
use cairn::net::Objects;
use support::wait;

/// Where a bucket is, and what keeps it there while this lives.
pub(crate) struct Place {
    pub(crate) settings: RemoteSettings,
    process: Option<Child>,
    _home: tempfile::TempDir,
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }
}

impl Place {
    /// A directory.
    pub(crate) fn directory() -> Self {
        let home = tempfile::tempdir().unwrap();
        let url = format!("file://{}/bucket", home.path().display()).parse().unwrap();
        let settings = RemoteSettings::new(RemoteKind::Bucket, url);
        Self { settings, process: None, _home: home }
    }

    /// A server.
    pub(crate) fn server() -> Self {
        let home = tempfile::tempdir().unwrap();
        let variable = |name: &str| std::env::var(name).ok();
        let prefix = Nonce::random().unwrap();
        if let Some(endpoint) = variable("CAIRN_S3_ENDPOINT") {
            let [bucket, key, secret] = ["BUCKET", "KEY", "SECRET"]
                .map(|name| variable(&format!("CAIRN_S3_{name}")).expect("CAIRN_S3_*"));
            let url = format!("s3://{bucket}/test/{prefix}");
            let settings = settings(home.path(), &url, &endpoint, &key, &secret);
            return Self { settings, process: None, _home: home };
        }
        let (process, port) = moto(home.path());
        let endpoint = format!("http://127.0.0.1:{port}");
        let settings = settings(
            home.path(),
            &format!("s3://releases/{prefix}"),
            &endpoint,
            "key",
            "sesame-key",
        );
        Self { settings, process: Some(process), _home: home }
    }

    pub(crate) fn open(&self) -> Objects {
        Objects::open(&self.settings).unwrap()
    }

    /// The arguments of `cairn remote add` that name it.
    pub(crate) fn arguments(&self) -> Vec<String> {
        let mut arguments = vec!["bucket".to_owned(), self.settings.url.to_string()];
        let endpoint = self.settings.bucket.as_ref().and_then(|bucket| bucket.endpoint.as_ref());
        arguments.extend(endpoint.iter().flat_map(|it| ["--endpoint".to_owned(), it.to_string()]));
        if let Some(Login::Basic { user, password: SecretSource::File(path) }) =
            &self.settings.login
        {
            let path = path.display().to_string();
            arguments.extend(["--user".to_owned(), user.clone()]);
            arguments.extend(["--password-file".to_owned(), path]);
        }
        arguments
    }
}

fn settings(home: &Path, url: &str, endpoint: &str, key: &str, secret: &str) -> RemoteSettings {
    let password = home.join("secret");
    fs::write(&password, secret).unwrap();
    fs::set_permissions(&password, Permissions::from_mode(0o600)).unwrap();
    let mut settings = RemoteSettings::new(RemoteKind::Bucket, url.parse().unwrap());
    settings.login =
        Some(Login::Basic { user: key.to_owned(), password: SecretSource::File(password) });
    settings.bucket = Some(BucketSettings {
        endpoint: Some(endpoint.parse().unwrap()),
        ..BucketSettings::default()
    });
    settings
}

/// Runs moto with one thread. As it is started otherwise, it looks whether a name is free and writes in two steps, between
/// which others may write: the probe found that out.
const ONE_AT_A_TIME: &str = "
import sys
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import run_simple
application = DomainDispatcherApplication(create_backend_app)
run_simple('127.0.0.1', int(sys.argv[1]), application, threaded=False)
";

/// Starts moto with an empty bucket `releases`.
fn moto(home: &Path) -> (Child, u16) {
    let program: PathBuf =
        Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join("moto/bin/python");
    // Somebody else may take the port before it does: then it ends, and another one is tried.
    for _ in 0..5 {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let log = fs::File::create(home.join("log")).unwrap();
        let mut process = Command::new(&program)
            .args(["-c", ONE_AT_A_TIME, &port.to_string()])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| {
                panic!("{}: {error} (scripts/moto installs it)", program.display())
            });
        let mut ended = false;
        wait::until("moto answers", || {
            ended = process.try_wait().unwrap().is_some();
            ended || make_bucket(port)
        });
        if !ended {
            return (process, port);
        }
    }
    panic!("moto does not start: {}", fs::read_to_string(home.join("log")).unwrap());
}

fn make_bucket(port: u16) -> bool {
    let Ok(mut connection) = TcpStream::connect(("127.0.0.1", port)) else { return false };
    let authorization = "AWS4-HMAC-SHA256 Credential=key/20260101/us-east-1/s3/aws4_request";
    write!(
        connection,
        "PUT /releases HTTP/1.1\r\nHost: localhost\r\nAuthorization: {authorization}\r\n\
         Content-Length: 0\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).is_ok() && answer.contains(" 200 ")
}
