//! Documents of `--json` with all that they may hold, against the rules of `docs/json.md`. That every
//! command keeps them on a real store is tested on a mount (`namespace::json`).

use crate::fake::{run, serve, stdout};
use support::schema;

#[test]
fn full_documents_keep_the_rules() {
    let running = serve();
    for args in [
        &["create", "docs"][..],
        &["list"],
        &["versions", "web"],
        &["diff", "web/3", "web/7"],
        &["diff", "web/3", "web/7", "--stat"],
        &["top", "--once"],
        &["log", "web"],
        &["log", "web", "etc/x", "-n", "2"],
        &["find", "web", "*"],
        &["areas"],
        &["stage", "web/b43"],
        &["commit", "web/b42"],
        &["discard", "web/b42"],
        &["tag", "web"],
        &["tag", "web/v2", "7"],
        &["tag", "--delete", "web/v2"],
        &["delete", "web/3-7", "web"],
        &["undelete", "web"],
        &["undelete", "web/5"],
        &["undelete", "gone"],
        &["release", "web/3"],
        &["lock", "web/3", "--undo"],
        &["policy", "web"],
        &["policy", "broken"],
        &["quota", "web", "--bytes", "2K"],
        &["gc"],
        &["gc", "--full", "--dry-run"],
        &["du", "web"],
        &["why", "web/7/a/b"],
        &["prefetch", "web", "web/7/a"],
        &["reclaim", "--keep", "1G"],
        &["refresh", "--wait"],
        &["remote", "list"],
        &["remote", "add", "origin", "sums", "https://example.org/"],
        &["remote", "set", "origin", "--connections", "2"],
        &["remote", "test", "origin"],
        &["remote", "gc", "origin"],
        &["remote", "fsck", "origin"],
        &["remote", "accept", "origin", "web"],
        &["remote", "remove", "origin"],
        &["sync", "web", "origin"],
        &["sync", "web", "origin", "--detach"],
        &["push", "web", "web/7", "store"],
        &["push", "web/6", "store", "--delete"],
        &["push", "web", "store", "--detach"],
        &["pull", "web", "store"],
        &["jobs"],
        &["jobs", "--cancel", "3"],
        &["wait", "--job", "3"],
        &["wait", "web", "--after", "6"],
        &["fsck"],
        &["status"],
        &["completions", "bash"],
        &["man"],
    ] {
        let args: Vec<&str> = args.iter().copied().chain(["--json"]).collect();
        let documents = schema::documents(args[0], &stdout(running.store.path(), &args));
        assert!(!documents.is_empty(), "{args:?}");
    }
}

#[test]
fn errors_keep_the_rules() {
    let running = serve();
    for (args, kind, detail) in [
        (&["commit", "web/stale"][..], "conflict", "stale_base"),
        (&["commit", "web/open"], "busy", "open_files"),
        (&["show", "web/9"], "not_found", ""),
        (&["show"], "usage", ""),
        (&["frobnicate"], "usage", ""),
    ] {
        let args: Vec<&str> = args.iter().copied().chain(["--json"]).collect();
        let output = run(running.store.path(), &args);
        assert!(output.stdout.is_empty(), "{args:?}");
        let error = schema::error(&String::from_utf8(output.stderr).unwrap(), kind);
        assert!(error["detail"].get(detail).is_some() || detail.is_empty(), "{error}");
    }
}
