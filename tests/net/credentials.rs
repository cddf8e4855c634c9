//! What a client reads when it is made, and what it says where that cannot be used (H32)

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use cairn::model::remote::{ClientCertificate, Login, RemoteSettings, SecretSource};
use cairn::net::{Client, NetErrorKind};

use crate::fetch::{Memory, wanted};
use support::http::{Server, whole};

#[test]
fn v12_a_user_logs_in_with_a_password_from_a_file() {
    let server = Server::start(|_, _| whole(b"x"));
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), "open sesame\n").unwrap();
    let password = SecretSource::File(file.path().to_owned());
    let login = Login::Basic { user: "aladdin".to_owned(), password };
    let settings = RemoteSettings { login: Some(login), ..server.settings() };
    Client::new(&settings).unwrap().fetch(&wanted(&server), &mut Memory::default()).unwrap();
    // The example of RFC 2617, in small letters.
    let expected = Some("Basic YWxhZGRpbjpvcGVuIHNlc2FtZQ==");
    assert_eq!(server.asked()[0].header("authorization"), expected);
    fs::set_permissions(file.path(), Permissions::from_mode(0o644)).unwrap();
    let error = Client::new(&settings).unwrap_err();
    assert!(error.to_string().contains("chmod 600"), "{error}");
}

#[test]
fn files_that_are_no_certificates_are_an_error_before_the_first_request() {
    let server = Server::start(|_, _| whole(b"x"));
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), "no certificate").unwrap();
    let path = file.path().to_owned();
    let files = ClientCertificate { certificate_file: path.clone(), key_file: path.clone() };
    for settings in [
        RemoteSettings { ca_file: Some(path), ..server.settings() },
        RemoteSettings { client_certificate: Some(files), ..server.settings() },
        RemoteSettings { ca_file: Some("/nonexistent".into()), ..server.settings() },
    ] {
        let error = Client::new(&settings).unwrap_err();
        assert_eq!(error.kind(), NetErrorKind::Local, "{error}");
    }
    assert!(server.asked().is_empty());
}
