//! Signatures: good, missing, of another key, of another text (H27)

use std::fs;

use support::Cairn;

use super::archive::{Archive, Key, SUITE, add_remote, architecture};
use super::refused::refused;
use support::nginx::Nginx;

/// An archive that is signed, its server, and a daemon that wants it signed by `trusted`.
fn signed(key: &Key, trusted: &Key) -> (Archive, Nginx, Cairn) {
    let archive = Archive::new();
    archive.package("hello", "1", &architecture(), "one");
    archive.publish(Some(key));
    let nginx = Nginx::of(&archive.top());
    let cairn = Cairn::start();
    let keyring = trusted.keyring(false);
    add_remote(&cairn, &nginx.plain_url(), &["--keyring", keyring.to_str().unwrap()]);
    (archive, nginx, cairn)
}

#[test]
fn h27_without_a_good_signature_nothing_is_used() {
    let (mine, other) = (Key::new("me"), Key::new("other"));
    let (archive, nginx, cairn) = signed(&mine, &other);
    let message = refused(&cairn);
    assert!(message.contains("none of the keys that signed it is in the keyring"), "{message}");
    let keyring = mine.keyring(true);
    let keyring = keyring.to_str().unwrap();
    cairn.cli(&["remote", "set", "debian", "--keyring", keyring]);

    let inside = archive.suite().join("InRelease");
    let whole = fs::read_to_string(&inside).unwrap();
    for (tampered, what) in [
        (whole.replace("Suite: stable", "Suite: evil"), "not of this content"),
        (format!("Suite: stable\n{whole}"), "something comes before it"),
        (format!("{whole}Suite: stable\n"), "something comes after it"),
        (archive.read_release(), "it is not signed"),
    ] {
        fs::write(&inside, tampered).unwrap();
        let message = refused(&cairn);
        assert!(message.contains(what) && message.contains("InRelease"), "{what}: {message}");
    }
    // Without it, the signature lies beside the text.
    fs::remove_file(&inside).unwrap();
    let beside = archive.suite().join("Release.gpg");
    let signature = fs::read(&beside).unwrap();
    fs::remove_file(&beside).unwrap();
    assert!(refused(&cairn).contains("it is not signed"));
    fs::write(&beside, &signature).unwrap();
    archive.write_release(&archive.read_release().replace("Suite: stable", "Suite: evil"), None);
    assert!(refused(&cairn).contains("not of this content"));
    assert!(
        !nginx.answered().iter().any(|line| line.contains("Packages")),
        "no index was asked for"
    );
    archive.publish(Some(&mine));
    fs::remove_file(&inside).unwrap();
    cairn.cli(&["sync", "lib", "debian"]);
    assert!(cairn.versions(format!("lib/1/dists/{SUITE}/Release.gpg")).exists());
    let tested = cairn.cli(&["remote", "test", "debian"]);
    assert!(tested.contains("is good: key "), "{tested}");
}

#[test]
fn h27_a_signed_release_of_another_suite_is_refused() {
    let mine = Key::new("me");
    let (archive, _nginx, cairn) = signed(&mine, &mine);
    archive
        .write_release(&archive.read_release().replace("Suite: stable", "Suite: old"), Some(&mine));
    let message = refused(&cairn);
    assert!(message.contains("is that of another suite: old"), "{message}");
}

#[test]
fn h27_a_suite_that_is_too_old_is_refused_unless_that_is_allowed() {
    let archive = Archive::with_fields("Valid-Until: Sat, 11 Jan 2025 10:00:00 UTC\n");
    archive.package("hello", "1", &architecture(), "one");
    archive.publish(None);
    let nginx = Nginx::of(&archive.top());
    let cairn = Cairn::start();
    add_remote(&cairn, &nginx.plain_url(), &[]);
    let message = refused(&cairn);
    for part in ["too old", "2025-01-11T10:00:00Z", "--allow-expired"] {
        assert!(message.contains(part), "{part}: {message}");
    }
    cairn.cli(&["remote", "set", "debian", "--allow-expired"]);
    cairn.cli(&["sync", "lib", "debian"]);
}

/// H27: a good signature does not make what was repaired since come back.
#[test]
fn h27_a_suite_that_is_older_than_at_the_last_sync_is_refused_unless_that_is_allowed() {
    let mine = Key::new("me");
    let (archive, _nginx, cairn) = signed(&mine, &mine);
    let published = |version: &str, date: &str| {
        archive.package("hello", version, &architecture(), version);
        archive.publish(None);
        let release = archive.read_release();
        let dated = release.lines().map(|line| match line.starts_with("Date: ") {
            true => format!("Date: {date}\n"),
            false => format!("{line}\n"),
        });
        archive.write_release(&dated.collect::<String>(), Some(&mine));
    };
    published("2", "Sat, 11 Jan 2025 10:00:00 UTC");
    cairn.cli(&["sync", "lib", "debian", "--mirror"]);
    published("1", "Fri, 10 Jan 2025 10:00:00 UTC");
    // The same without the file that is asked for first; and with a sync that has to look at everything.
    let in_release = archive.suite().join("InRelease");
    let hidden = archive.suite().join("hidden");
    for arguments in [&["sync", "lib", "debian", "--mirror"][..], &["sync", "lib", "debian"]] {
        for hide in [false, true] {
            if hide {
                fs::rename(&in_release, &hidden).unwrap();
            }
            let message = cairn.cli_fails(arguments);
            for part in ["2025-01-10T10:00:00Z, older", "2025-01-11T10:00:00Z", "--allow-expired"] {
                assert!(message.contains(part), "{part}: {message}");
            }
            assert!(!cairn.versions("lib/2").exists());
            if hide {
                fs::rename(&hidden, &in_release).unwrap();
            }
        }
    }
    cairn.cli(&["remote", "set", "debian", "--allow-expired"]);
    cairn.cli(&["sync", "lib", "debian", "--mirror"]);
    assert!(cairn.versions("lib/2").exists());
    cairn.cli(&["remote", "set", "debian", "--no-allow-expired"]);
    published("3", "Sun, 12 Jan 2025 10:00:00 UTC");
    cairn.cli(&["sync", "lib", "debian", "--mirror"]);
    assert!(cairn.versions("lib/3").exists());
}

#[test]
fn a_keyring_that_is_none_is_named() {
    let mine = Key::new("me");
    let (_archive, nginx, cairn) = signed(&mine, &mine);
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), "no key").unwrap();
    for path in [file.path().to_str().unwrap(), "/nonexistent/keys"] {
        cairn.cli(&["remote", "set", "debian", "--keyring", path]);
        let message = refused(&cairn);
        assert!(message.contains(path), "{message}");
    }
    assert!(nginx.answered().is_empty(), "nobody was asked");
}
