//! What remotes must say, and when they are needed (L2, L7).

use std::fs;

use crate::shared::{Origin, add};
use support::Cairn;
use support::http::Site;

#[test]
fn l2_a_remote_without_sizes_cannot_be_lazy() {
    let site = Site::of(&[("a", b"first")]);
    let server = site.serve();
    let cairn = Cairn::start();
    let url = server.url("/");
    let message = cairn.cli_fails(&["remote", "add", "o", "sums", &url, "--policy", "on_demand"]);
    assert!(message.contains("declares no sizes") && message.contains("manifest"), "{message}");
    cairn.cli(&["remote", "add", "o", "sums", &url]);
    cairn.cli_fails(&["remote", "set", "o", "--policy", "on_demand"]);
    let message = cairn.cli_fails(&["remote", "set", "o", "--policy", "streamed"]);
    assert!(message.contains("declares no sizes"), "{message}");
}

#[test]
fn l7_the_only_source_of_something_is_not_removed_unasked() {
    let origin = Origin::new();
    let message = origin.cairn.cli_fails(&["remote", "remove", "origin"]);
    assert!(message.contains("3 contents") && message.contains("dir/b"), "{message}");
    // Somebody else has all of it.
    let server = origin.site.serve();
    add(&origin.cairn, "mirror", &server);
    origin.cairn.cli(&["sync", "other", "mirror"]);
    origin.cairn.cli(&["remote", "remove", "origin"]);
    assert_eq!(fs::read(origin.cairn.versions("lib/1/a")).unwrap(), b"first");
    origin.cairn.cli_fails(&["remote", "remove", "mirror"]);
    origin.cairn.cli(&["remote", "remove", "mirror", "--force"]);
    fs::read(origin.cairn.versions("lib/1/dir/b")).unwrap_err();
    let found = origin.cairn.run(&["fsck"]);
    let text = String::from_utf8_lossy(&found.stdout).into_owned();
    assert!(!found.status.success() && text.contains("no remote is known"), "{found:?}");
}
