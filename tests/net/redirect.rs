//! Redirects are followed, and credentials stay with the origin that they are for (V12, H29, H32)

use cairn::model::remote::{Login, RemoteSettings, SecretSource};
use cairn::net::{Client, NetErrorKind};

use crate::fetch::{Memory, wanted};
use support::http::{Server, answer, whole};

/// Settings with a token, and the file that holds it.
fn with_token(server: &Server) -> (RemoteSettings, tempfile::NamedTempFile) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "secret\n").unwrap();
    let token = SecretSource::File(file.path().to_owned());
    (RemoteSettings { login: Some(Login::Bearer { token }), ..server.settings() }, file)
}

fn to(location: String) -> Vec<u8> {
    answer("302 Found", &["Content-Length: 0", &format!("Location: {location}")], b"")
}

#[test]
fn h29_credentials_are_not_carried_to_another_origin() {
    let other = Server::start(|_, _| whole(b"there"));
    let elsewhere = other.url("/there");
    let server = Server::start(move |asked, _| match asked.line.split(' ').nth(1) {
        Some("/file") => to("/moved".to_owned()),
        Some("/moved") => to(elsewhere.clone()),
        _ => panic!("{asked:?}"),
    });
    let (settings, _file) = with_token(&server);
    let mut body = Memory::default();
    Client::new(&settings).unwrap().fetch(&wanted(&server), &mut body).unwrap();
    assert_eq!(body.0, b"there");
    let asked = server.asked();
    assert_eq!(asked.len(), 2);
    assert!(asked.iter().all(|asked| asked.header("authorization") == Some("Bearer secret")));
    assert_eq!(other.asked()[0].header("authorization"), None);
}

#[test]
fn h29_redirects_to_other_schemes_and_for_ever_are_refused() {
    for location in ["file:///etc/passwd", "ftp://127.0.0.1/", "http://", "/file"] {
        let server = Server::start(move |_, _| to(location.to_owned()));
        let client = Client::new(&server.settings()).unwrap();
        let error = client.fetch(&wanted(&server), &mut Memory::default()).unwrap_err();
        assert_eq!(error.kind(), NetErrorKind::Protocol, "{location}: {error}");
        assert!(server.asked().len() <= 11, "{location}");
    }
}

#[test]
fn h32_an_error_shows_no_credentials() {
    let other = Server::start(|_, _| answer("404 Not Found", &["Content-Length: 0"], b""));
    let elsewhere = other.url("/?signature=secret").replace("//", "//user:secret@");
    let server = Server::start(move |_, _| to(elsewhere.clone()));
    let (settings, _file) = with_token(&server);
    let client = Client::new(&settings).unwrap();
    let error = client.fetch(&wanted(&server), &mut Memory::default()).unwrap_err();
    for text in
        [error.to_string(), format!("{error:?}"), format!("{client:?}"), format!("{settings:?}")]
    {
        assert!(!text.contains("secret"), "{text}");
    }
}
