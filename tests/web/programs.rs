//! Programs that people download with (W2)

use std::fs;
use std::process::Command;

use crate::client::Site;
use support::content;

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output();
    let output =
        output.unwrap_or_else(|error| panic!("{program}: {error} (scripts/packages installs it)"));
    assert!(output.status.success(), "{program} {arguments:?}: {output:?}");
}

#[test]
fn w2_curl_goes_on_where_it_was_cut() {
    let site = Site::start();
    let bytes = content::bytes(1, 1 << 20);
    site.publish("r", |top| fs::write(top.join("big"), &bytes).unwrap());
    let part = site.cairn.scratch().join("big");
    fs::write(&part, &bytes[..300_000]).unwrap();
    run("curl", &["-sf", "-C", "-", "-o", part.to_str().unwrap(), &site.url("/r/1/big")]);
    assert!(fs::read(&part).unwrap() == bytes);
}

#[test]
fn w2_wget_copies_a_version_by_its_links() {
    let site = Site::start();
    site.publish("r", |top| {
        fs::create_dir_all(top.join("a/b")).unwrap();
        fs::write(top.join("a/b/one file"), "1").unwrap();
        fs::write(top.join("a/<two>&"), "2").unwrap();
        std::os::unix::fs::symlink("..", top.join("a/b/up")).unwrap();
    });
    let into = site.cairn.scratch().join("wget");
    let into = into.to_str().unwrap();
    let url = site.url("/r/1/");
    run(
        "wget",
        &["-q", "-r", "-np", "-nH", "--cut-dirs=2", "--reject=index.html", "-P", into, &url],
    );
    let found = |path: &str| fs::read_to_string(format!("{into}/{path}")).unwrap();
    assert_eq!((found("a/b/one file"), found("a/<two>&")), ("1".to_owned(), "2".to_owned()));
    assert!(!fs::exists(format!("{into}/a/b/up")).unwrap());
}
