//! What each verb prints, for people and as JSON.

use serde_json::Value;

use crate::fake::{LONG_VERSIONS, cairn, serve, stdout};

#[test]
fn tables_are_aligned_and_escaped() {
    let running = serve();
    assert_eq!(
        stdout(running.store.path(), &["versions", "web"]),
        "\
VERSION  CREATED                  FILES     SIZE  TAGS  FLAGS            AUTHOR  MESSAGE
      3  2001-09-09 01:46:40 UTC     12  1.5 KiB  v1    locked           ann     first line
      4  2001-09-09 01:46:40 UTC     12  1.5 KiB  v1    locked           ann     first line
      7  2001-09-09 01:46:40 UTC     12  1.5 KiB  v1    released,locked  ann     first line
"
    );
    assert_eq!(
        stdout(running.store.path(), &["areas"]),
        "\
AREA       BASE       OPEN FILES  CREATED                  EXPIRES
web/b42@3  3 (stale)           2  2001-09-09 01:46:40 UTC  -
web/b43    3 (stale)           2  2001-09-09 01:46:40 UTC  2001-09-16 01:46:40 UTC
web/b43 was not published: the base is not\\nthe newest
"
    );
}

#[test]
fn o4_a_log_is_a_table() {
    let running = serve();
    assert_eq!(
        stdout(running.store.path(), &["log", "web"]),
        "\
VERSION  CREATED                  CHANGES    BYTES           TAGS  AUTHOR  MESSAGE
      7  2001-09-09 01:46:40 UTC  +2 ~30 -1  +1.5 KiB -20 B  v1    ann     first line
      3  2001-09-09 01:46:40 UTC  +0 ~1 -0   -               v1    ann     first line
"
    );
    let of_path = stdout(running.store.path(), &["log", "web", "./etc//x/"]);
    assert!(of_path.contains("  M +2 ~30 -1  "), "{of_path}");
}

#[test]
fn o2_a_table_of_all_time_is_printed_once() {
    let running = serve();
    let text = stdout(running.store.path(), &["top", "--once"]);
    assert!(text.contains("daemon 77, up 10 s; since it began"), "{text}");
    assert!(
        text.contains("read                 10.0         5 \u{b5}s        10 \u{b5}s        1"),
        "{text}"
    );
    assert!(text.contains("published    3 versions") && !text.contains('\u{1b}'), "{text}");
}

#[test]
fn people_read() {
    let running = serve();
    for (args, expected) in [
        (&["create", "docs"][..], "made the repository docs\n"),
        (&["stage", "web/b43", "--from", "latest"], "web/b43\n"),
        (&["discard", "web/b42"], "discarded web/b42\n"),
        (&["commit", "web/b42"], "web/8: 12 files, 1.5 KiB, tagged b42\n"),
        (&["commit", "web/same"], "nothing changed since web/8, tagged b42\n"),
        (&["tag", "web/v2", "7"], "web/v2 -> web/7\n"),
        (&["tag", "--delete", "web/v2"], "deleted the tag web/v2\n"),
        (&["delete", "web/1-4", "web"], "deleted web/3,4\ndeleted the repository web\n"),
        (&["diff", "web/3", "web/7"], "A bin/\nD etc/a b\nM etc/\\377\\n\n"),
        (&["diff", "web/3", "web/7", "--stat"], "1 added, 1 removed, 1 modified\n"),
        (&["find", "web", "*"], "3-7,9       bin/\n7           etc/\\377\\n\n"),
        (&["gc"], "freed 512 B in 1 unfinished download\na run is scheduled\n"),
    ] {
        assert_eq!(stdout(running.store.path(), args), expected, "{args:?}");
    }
    let status = stdout(running.store.path(), &["status"]);
    for line in [
        "mounted at /mnt",
        "3 versions, 1 open area",
        "one blob is damaged",
        "web/b42@3",
        "scrub     42.1 % under way\n",
        "scrubbed  2001-09-09 01:46:40 UTC: 5 blobs (1.5 KiB), 1 damaged\n",
    ] {
        assert!(status.contains(line), "{status}");
    }
}

#[test]
fn json_is_one_document() {
    let running = serve();
    for (args, pointer, expected) in [
        (&["status"][..], "/daemon_pid", Value::from(77)),
        (&["list"], "/0/latest", Value::from(7)),
        (&["create", "docs"], "/created", Value::from("2001-09-09T01:46:40Z")),
        (&["versions", "web"], "/2/created_seconds", Value::from(1_000_000_000)),
        (&["areas"], "/1/area", Value::from("b43")),
        (&["stage", "web/b43"], "/directory", Value::Null),
        (&["commit", "web/b42"], "/version/size_bytes", Value::from(1536)),
        (&["discard", "web/b42"], "/area", Value::from("b42")),
        (&["tag", "web"], "/0/protects", Value::from(true)),
        (&["tag", "web/v2", "latest"], "/number", Value::from(7)),
        (&["tag", "-d", "web/v2"], "/tag", Value::from("v2")),
        (&["delete", "web/3-7"], "/0/numbers/2", Value::from(7)),
        (&["diff", "web/3", "web/7", "--stat"], "/added_count", Value::from(1)),
        (&["top", "--once"], "/operations/0/p99_us", Value::from(10)),
        (&["gc", "--wait", "--protect", "10m"], "/freed_blob_count", Value::from(600)),
    ] {
        let args: Vec<&str> = args.iter().copied().chain(["--json"]).collect();
        let text = stdout(running.store.path(), &args);
        let document: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(document.pointer(pointer), Some(&expected), "{args:?}: {text}");
    }
}

#[test]
fn differences_are_json_lines() {
    let running = serve();
    let text = stdout(running.store.path(), &["diff", "web/3", "web/7", "--json"]);
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 3);
    assert_eq!((&lines[0]["change"], &lines[0]["path"]), (&"A".into(), &"bin".into()));
    assert_eq!(lines[2]["path"]["bytes"][4], 255);
}

#[test]
fn completions_and_pages_need_no_store() {
    let directory = tempfile::tempdir().unwrap();
    let nowhere = std::path::Path::new("/nowhere");
    for shell in ["bash", "zsh", "fish"] {
        assert!(stdout(nowhere, &["completions", shell]).contains("CAIRN_COMPLETE"), "{shell}");
    }
    assert!(stdout(nowhere, &["man"]).starts_with(".ie"));
    let output = cairn(nowhere).arg("man").arg(directory.path()).output().unwrap();
    assert!(output.status.success());
    assert!(directory.path().join("cairn-commit.1").exists());
}

#[test]
fn long_lists_come_in_parts() {
    let running = serve();
    let text = stdout(running.store.path(), &["versions", "long", "--json"]);
    let versions: Vec<Value> = serde_json::from_str(&text).unwrap();
    let numbers: Vec<u64> = versions.iter().filter_map(|v| v["number"].as_u64()).collect();
    assert_eq!(numbers, (1..=LONG_VERSIONS).collect::<Vec<u64>>());
}
