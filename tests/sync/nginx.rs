//! A real server: nginx on loopback, with TLS, logins and ranges (V12)

use std::fs;
use std::path::Path;
use std::process::Command;

use support::nginx::Nginx;
use support::{Cairn, content};

use crate::shared::{files, map, result};

pub(crate) fn run(program: &str, arguments: &[&str], directory: &Path) {
    let output = Command::new(program).args(arguments).current_dir(directory).output();
    let output =
        output.unwrap_or_else(|error| panic!("{program}: {error} (scripts/packages installs it)"));
    assert!(output.status.success(), "{program} {arguments:?}: {output:?}");
}

/// Serves `www` of its home over TLS, `closed/` for those who log in, `moved/` from elsewhere.
fn start() -> Nginx {
    let home = tempfile::tempdir().unwrap();
    let top = home.path();
    fs::create_dir_all(top.join("www/closed")).unwrap();
    run(
        "openssl",
        &[
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-keyout",
            "key.pem",
            "-out",
            "cert.pem",
            "-days",
            "2",
            "-subj",
            "/CN=localhost",
            "-addext",
            "subjectAltName=DNS:localhost",
            "-addext",
            "basicConstraints=critical,CA:FALSE",
        ],
        top,
    );
    // openssl passwd -apr1 of "open sesame".
    let output = Command::new("openssl").args(["passwd", "-apr1", "open sesame"]).output().unwrap();
    fs::write(top.join("users"), format!("me:{}", String::from_utf8(output.stdout).unwrap()))
        .unwrap();
    let home_path = top.display();
    let server = format!(
        "server {{ listen 8080 ssl; ssl_certificate {home_path}/cert.pem; ssl_certificate_key {home_path}/key.pem;
             root {home_path}/www;
             location /closed/ {{ auth_basic closed; auth_basic_user_file {home_path}/users; }}
             location /moved/ {{ rewrite ^/moved/(.*)$ /$1 redirect; }} }}"
    );
    Nginx::launch(home, &server)
}

fn url(nginx: &Nginx, path: &str) -> String {
    format!("https://localhost:{}{path}", nginx.port())
}

/// Puts files into a directory of the site, with their checksum list.
fn publish(nginx: &Nginx, directory: &str, files: &[(&str, &[u8])]) {
    let top = nginx.path("www").join(directory);
    for (name, content) in files {
        let path = top.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    let script = "find . -type f ! -name SHA256SUMS -print0 | xargs -0 sha256sum > ../sums && mv ../sums SHA256SUMS";
    run("sh", &["-c", script], &top);
}

#[test]
fn v12_a_real_server_with_tls_logins_and_redirects_is_mirrored() {
    let nginx = start();
    let large = content::bytes(1, 5 << 20);
    let tree: [(&str, &[u8]); 4] =
        [("a", b"1"), ("d/b c", b"2"), ("d/empty", b""), ("d/large", &large)];
    publish(&nginx, "open", &tree);
    publish(&nginx, "closed", &[("secret", b"3")]);
    let cairn = Cairn::start();
    let authority = nginx.path("cert.pem");
    let (authority, password) = (authority.to_str().unwrap(), nginx.path("password"));
    cairn.cli(&["remote", "add", "open", "sums", &url(&nginx, "/moved/open/")]);
    let unknown = cairn.cli_fails(&["sync", "lib", "open"]);
    assert!(unknown.contains("certificate"), "an authority that nobody knows: {unknown}");
    cairn.cli(&["remote", "set", "open", "--ca-file", authority]);
    cairn.cli(&["sync", "lib", "open", "--mirror"]);
    assert_eq!(files(&cairn.versions("lib/1")), map(&tree));
    let tested = cairn.cli(&["remote", "test", "open"]);
    assert!(!tested.contains("no  ") && tested.matches("yes").count() == 3, "{tested}");

    cairn.cli(&[
        "remote",
        "add",
        "closed",
        "sums",
        &url(&nginx, "/closed/"),
        "--ca-file",
        authority,
    ]);
    let refused = cairn.cli_fails(&["sync", "closed", "closed"]);
    assert!(refused.contains("401"), "{refused}");
    fs::write(&password, "open sesame\n").unwrap();
    fs::set_permissions(&password, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let password = password.to_str().unwrap();
    cairn.cli(&["remote", "set", "closed", "--user", "me", "--password-file", password]);
    cairn.cli(&["sync", "closed", "closed"]);
    assert_eq!(files(&cairn.versions("closed/1")), map(&[("secret", b"3")]));
}

#[test]
fn v7_a_download_that_an_earlier_run_left_is_gone_on_with() {
    let nginx = start();
    let large = content::bytes(2, 5 << 20);
    publish(&nginx, "open", &[("large", &large)]);
    let cairn = Cairn::start();
    let authority = nginx.path("cert.pem");
    cairn.cli(&[
        "remote",
        "add",
        "open",
        "sums",
        &url(&nginx, "/open/"),
        "--ca-file",
        authority.to_str().unwrap(),
    ]);
    let partial = cairn.store().join("partial");
    fs::create_dir(&partial).unwrap();
    let name = cairn::model::digest::Sha256::of(&large).to_string();
    fs::write(partial.join(&name), &large[..4 << 20]).unwrap();
    let done = result(&cairn.cli(&["sync", "lib", "open", "--json"]));
    assert_eq!(done["fetched_bytes"], 1 << 20);
    // What was left is of something else.
    fs::write(partial.join(&name), &large[1..4 << 20]).unwrap();
    cairn.cli(&["delete", "lib/1", "--force"]);
    cairn.cli(&["gc", "--protect", "0", "--wait"]);
    cairn.cli(&["sync", "lib", "open"]);
    assert!(fs::read(cairn.versions("lib/2/large")).unwrap() == large);
}
