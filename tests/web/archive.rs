//! A directory as an archive (W2)

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::client::Site;
use support::{content, tree};

/// Feeds an archive to tar.
fn tar(archive: &[u8], query: &str, arguments: &[&str]) -> String {
    let plain = match query {
        "tar.zst" => zstd::decode_all(archive).unwrap(),
        _ => archive.to_vec(),
    };
    let mut tar = Command::new("tar")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    tar.stdin.take().unwrap().write_all(&plain).unwrap();
    let output = tar.wait_with_output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

/// The names in an archive.
pub(crate) fn names(archive: &[u8], query: &str) -> Vec<String> {
    tar(archive, query, &["tf", "-"]).lines().map(str::to_owned).collect()
}

#[test]
fn w2_a_subtree_is_an_archive_that_tar_unpacks() {
    let site = Site::start();
    let mut kept = None;
    site.publish("r", |top| {
        let sub = top.join("sub");
        fs::create_dir_all(sub.join("deep")).unwrap();
        fs::write(sub.join("deep/file"), "file").unwrap();
        fs::hard_link(sub.join("deep/file"), sub.join("other name")).unwrap();
        fs::hard_link(sub.join("deep/file"), top.join("outside")).unwrap();
        symlink("deep/file", sub.join("link")).unwrap();
        fs::write(sub.join("big"), content::bytes(1, 5 << 20)).unwrap();
        kept = Some(sub);
    });
    for query in ["tar", "tar.zst"] {
        let answer = site.get(&format!("/r/1/sub/?{query}"));
        let name = format!("attachment; filename*=UTF-8''r-1-sub.{query}");
        assert_eq!(answer.header("content-disposition"), name);
        assert_eq!(answer.header("cache-control"), "no-cache");
        let into = site.cairn.scratch().join(query);
        fs::create_dir(&into).unwrap();
        tar(&answer.body, query, &["xpf", "-", "-C", into.to_str().unwrap()]);
        same_content(kept.as_ref().unwrap(), &into);
        let has = format!("If-None-Match: {}", answer.header("etag"));
        assert_eq!(site.ask("GET", &format!("/r/1/sub/?{query}"), &[&has]).status, 304);
    }
}

/// Names, contents, modes and times are the same; of hardlinks, only those inside are.
fn same_content(expected: &Path, found: &Path) {
    let files = |top: &Path| -> BTreeSet<_> { tree::read(top).keys().cloned().collect() };
    assert_eq!(files(expected), files(found));
    let diff =
        Command::new("diff").args(["-r", "--no-dereference"]).args([expected, found]).status();
    assert!(diff.unwrap().success());
}
