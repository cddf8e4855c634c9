//! Archives that cannot be right (H26 to H28)

use std::fs;

use cairn::model::digest::Sha256;
use support::Cairn;
use support::http::{Server, answer};

use super::archive::{Archive, SUITE, add_remote, architecture};
use support::nginx::Nginx;

/// Syncs what must be refused before a version is made; returns the message.
#[track_caller]
pub(crate) fn refused(cairn: &Cairn) -> String {
    let output = cairn.run(&["sync", "lib", "debian", "--mirror"]);
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(!cairn.versions("lib/1").exists());
    message
}

/// A published archive with one package, and its server.
fn published(archive: &Archive) -> (Nginx, Cairn) {
    archive.package("hello", "1", &architecture(), "one");
    archive.publish(None);
    let nginx = Nginx::of(&archive.top());
    let cairn = Cairn::start();
    add_remote(&cairn, &nginx.plain_url(), &[]);
    (nginx, cairn)
}

fn packages() -> String {
    format!("main/binary-{}/Packages", architecture())
}

#[test]
fn h27_an_index_that_is_not_the_listed_one_is_refused() {
    let archive = Archive::without_by_hash();
    let (nginx, cairn) = published(&archive);
    let path = archive.suite().join(format!("{}.xz", packages()));
    let whole = fs::read(&path).unwrap();
    let mut other = whole.clone();
    other[20] ^= 1;
    for wrong in [&other[..], &whole[..whole.len() - 4], b"<html>"] {
        fs::write(&path, wrong).unwrap();
        let message = refused(&cairn);
        assert!(message.contains("Packages.xz is not what Release lists"), "{message}");
    }
    // Listed and not there: another form of it does.
    fs::remove_file(&path).unwrap();
    cairn.cli(&["sync", "lib", "debian"]);
    assert!(cairn.versions(format!("lib/1/dists/{SUITE}/{}.gz", packages())).exists());
    assert!(!nginx.answered().iter().any(|line| line.contains("evil")));
}

#[test]
fn h26_paths_that_lead_elsewhere_are_refused_before_anything_is_fetched() {
    let archive = Archive::new();
    let (nginx, cairn) = published(&archive);
    let index = fs::read_to_string(archive.suite().join(packages())).unwrap();
    let name = format!("pool/main/hello_1_{}.deb", architecture());
    assert!(index.contains(&name), "{index}");
    for (evil, what) in [
        ("../../etc/passwd".to_owned(), "not names"),
        ("/etc/passwd".to_owned(), "absolute"),
        ("pool/\u{1b}[2Jx".to_owned(), "control"),
        (format!("dists/{SUITE}/Release"), "is there twice"),
        (format!("dists/{SUITE}/Release/x"), "is a file, and"),
    ] {
        archive.index(&packages(), index.replace(&name, &evil).as_bytes());
        archive.release(None);
        let message = refused(&cairn);
        assert!(message.contains(what) && message.contains("Packages.xz"), "{what}: {message}");
    }
    let twice =
        format!("{index}\n{}", index.replace("SHA256: ", "SHA256: 0").replace("Size: ", "Size: 1"));
    let digit = twice.rfind("SHA256: 0").unwrap() + 72;
    archive.index(&packages(), format!("{}{}", &twice[..digit], &twice[digit + 1..]).as_bytes());
    archive.release(None);
    assert!(refused(&cairn).contains("is there twice"), "two contents of one path");
    let line =
        |line: &str| archive.read_release().replace("SHA256:\n", &format!("SHA256:\n{line}\n"));
    archive.write_release(&line(&format!(" {} 1 ../evil", Sha256::of(b"x"))), None);
    let message = refused(&cairn);
    assert!(message.contains("Release: line "), "{message}");
    assert!(!nginx.answered().iter().any(|line| line.contains(".deb")), "no package was asked for");
}

#[test]
fn h27_a_bomb_is_recognised_by_the_length_that_release_lists() {
    let archive = Archive::new();
    let (_nginx, cairn) = published(&archive);
    let plain = archive.suite().join(packages());
    let bomb = "Package: a\n".repeat(10_000_000);
    archive.index(&packages(), bomb.as_bytes());
    // The packed form is what Release says; unpacked it would be another.
    fs::write(&plain, "Package: a\n").unwrap();
    archive.release(None);
    let message = refused(&cairn);
    assert!(
        message.contains("cannot unpack") && message.contains("more comes out of it"),
        "{message}"
    );
}

#[test]
fn h28_an_archive_that_is_being_updated_is_still_read_by_the_digests() {
    let archive = Archive::new();
    let (nginx, cairn) = published(&archive);
    // The next state is on the way: indexes are there, Release is still the old one.
    let index = archive.suite().join(format!("{}.xz", packages()));
    let old = fs::read(&index).unwrap();
    fs::write(&index, "the next one").unwrap();
    cairn.cli(&["sync", "lib", "debian"]);
    let found = cairn.versions(format!("lib/1/dists/{SUITE}/{}.xz", packages()));
    assert_eq!(fs::read(found).unwrap(), old);
    let by_hash = format!("by-hash/SHA256/{}", Sha256::of(&old));
    let directory = format!("lib/1/dists/{SUITE}/main/binary-{}", architecture());
    assert_eq!(fs::read(cairn.versions(directory).join(&by_hash)).unwrap(), old);
    assert!(nginx.answered().iter().any(|line| line.contains(&by_hash)));
}

#[test]
fn h28_an_archive_that_changes_meanwhile_is_told_from_one_that_is_wrong() {
    for changed in ["Packages", ".deb"] {
        let archive = Archive::without_by_hash();
        archive.package("hello", "1", &architecture(), "one");
        archive.publish(None);
        let site = archive.site();
        let old = archive.read_release();
        let release = format!("dists/{SUITE}/Release");
        let inner = site.clone();
        // Before the first of these is answered, somebody publishes the next state.
        let server = Server::start(move |asked, _| {
            if !asked.line.contains(changed) {
                return inner.answer(asked);
            }
            inner.put(&release, format!("{old} \n").replace("Suite", "Label").as_bytes());
            answer("404 Not Found", &["Content-Length: 0"], b"")
        });
        let cairn = Cairn::start();
        add_remote(&cairn, &server.url("/"), &[]);
        let output = cairn.run(&["sync", "lib", "debian"]);
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(13), "{changed}: {message}");
        assert!(message.contains("changed while it was fetched"), "{message}");
    }
}

#[test]
fn what_an_archive_does_not_have_is_named() {
    let archive = Archive::new();
    let (_nginx, cairn) = published(&archive);
    cairn.cli(&["remote", "set", "debian", "--component", "main,contrib"]);
    let message = refused(&cairn);
    for part in ["no packages of component contrib", "components `main`"] {
        assert!(message.contains(part), "{part}: {message}");
    }
    for bad in [
        &["remote", "add", "x", "debian", "http://127.0.0.1/"][..],
        &["remote", "add", "x", "debian", "http://127.0.0.1/", "--suite", "a"],
        &["remote", "add", "x", "sums", "http://127.0.0.1/", "--suite", "a"],
        &["remote", "add", "x", "debian", "http://127.0.0.1/", "--suite", "../a"],
        &["remote", "set", "debian", "--kind", "sums", "--suite", "a"],
    ] {
        assert_eq!(cairn.run(bad).status.code(), Some(2), "{bad:?}");
    }
}

#[test]
fn v6_a_package_that_cannot_be_had_means_no_version_unless_it_goes_on() {
    let archive = Archive::new();
    let (_nginx, cairn) = published(&archive);
    let name = format!("pool/main/hello_1_{}.deb", architecture());
    fs::write(archive.path(&name), "something else").unwrap();
    let message = refused(&cairn);
    assert!(message.contains(&name) && message.contains("--keep-going"), "{message}");
    cairn.cli(&["sync", "lib", "debian", "--keep-going"]);
    assert!(cairn.versions(format!("lib/1/dists/{SUITE}/Release")).exists());
}
