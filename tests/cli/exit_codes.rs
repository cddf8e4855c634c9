//! Exit codes, and errors as text and JSON.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use cairn::control::protocol::ErrorKind;

use crate::fake::{cairn, run, serve};

/// A user who mounts nothing.
const NOBODY: u32 = 65533;

#[test]
fn every_kind_has_its_code() {
    let codes: Vec<u8> = ErrorKind::ALL.iter().map(|kind| kind.exit_code()).collect();
    assert_eq!(codes, (1..=7).collect::<Vec<u8>>());
}

#[test]
fn failures_have_code_message_and_hint() {
    let running = serve();
    for (args, code, texts) in [
        (&["frobnicate"][..], 2, &["unrecognized subcommand"][..]),
        (&["show", "web"], 2, &["expected REPO/VERSION"]),
        (&["show"], 2, &["cairn: the following required", "Usage: cairn show <REPO/VERSION>"]),
        (&["why", "web/7"], 2, &["is a version, and not a file", "web/7/index"]),
        (&["policy", "web", "--keep-unreleased", "abc"], 2, &["expected a whole number"]),
        (&["quota", "web", "--bytes", "99999999T"], 2, &["larger than 18446744073709551615 bytes"]),
        (
            &["policy", "web", "--keep-within", "18446744073709551615"],
            2,
            &["longer than 365000 days"],
        ),
        (&["unmount", "/nonexistent"], 3, &["is not a mount of cairn", "findmnt"]),
        (&["tag", "web/v1"], 2, &["what shall web/v1 point at?", "hint: "]),
        (&["stage", "web/b@7", "--from", "8"], 2, &["given twice"]),
        (&["show", "web/9"], 3, &["cairn: web has no version 9\nhint: `cairn versions web`"]),
        (&["delete", "web/5-6"], 3, &["no version from 5 to 6"]),
        (&["commit", "web/open"], 4, &["\n  log/a\\n\n", "--wait"]),
        (
            &["commit", "web/stale"],
            5,
            &["\n  web/4  2001-09-09T01:46:40Z  ann  first line\n  web/7  ", "--onto-latest"],
        ),
        (&["stage", "web/panic"], 1, &["a control request failed unexpectedly"]),
    ] {
        let output = run(running.store.path(), args);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {errors}");
        for text in texts {
            assert!(errors.contains(text), "{args:?}: {errors}");
        }
        assert!(output.stdout.is_empty(), "{args:?}");
    }
}

#[test]
fn failures_are_json_when_asked() {
    let running = serve();
    for (args, kind) in [
        (&["--json", "frobnicate"][..], "usage"),
        (&["--json", "import"], "usage"),
        (&["show", "web/9", "--json"], "not_found"),
        (&["commit", "web/stale", "--json"], "conflict"),
    ] {
        let output = run(running.store.path(), args);
        let document: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
        assert_eq!(document["error"]["kind"], kind);
        assert!(document["error"]["message"].is_string());
        assert!(output.stdout.is_empty());
        if args.contains(&"import") {
            let message = document["error"]["message"].as_str().unwrap();
            assert!(
                message.ends_with("<DIR|TAR> <REPO>"),
                "the names of what is missing: {message}"
            );
        }
        if kind == "conflict" {
            let between = &document["error"]["detail"]["stale_base"]["between"];
            assert_eq!(between[1]["number"], 7);
        }
    }
}

#[test]
fn without_a_store_the_command_says_how_to_name_one() {
    // Two mounts of root may be there at any time, one of which would be taken: so another user asks.
    let directory = tempfile::tempdir().unwrap();
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let program = directory.path().join("cairn");
    std::fs::copy(env!("CARGO_BIN_EXE_cairn"), &program).unwrap();
    for variable in [None, Some("")] {
        let mut command = Command::new(&program);
        command.env_remove("CAIRN_STORE").uid(NOBODY).current_dir("/").arg("list");
        let output = command.envs(variable.map(|value| ("CAIRN_STORE", value))).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{errors}");
        assert!(
            errors.contains("no store was given") && errors.contains("CAIRN_STORE"),
            "{errors}"
        );
    }
}

#[test]
fn a_closed_pipe_ends_the_command_quietly() {
    let running = serve();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = cairn(running.store.path());
    command.arg("man").stdout(writer).stderr(Stdio::piped());
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(141));
    assert!(output.stderr.is_empty());
}

#[test]
fn help_and_version_succeed() {
    for args in [&["--help"][..], &["help", "commit"], &["diff", "--help"], &["--version"]] {
        let output = run(std::path::Path::new("/nowhere"), args);
        assert_eq!(output.status.code(), Some(0), "{args:?}");
        assert!(!output.stdout.is_empty(), "{args:?}");
    }
}

#[test]
fn a_collection_that_could_not_do_all_says_what_it_did_and_fails() {
    let running = serve();
    for (protect, code) in [("10m", 0), ("0", 1)] {
        for json in [&[][..], &["--json"]] {
            let args = [&["gc", "--wait", "--protect", protect][..], json].concat();
            let output = run(running.store.path(), &args);
            assert_eq!(output.status.code(), Some(code), "{args:?}");
            assert!(!output.stdout.is_empty(), "{args:?}");
        }
    }
}

#[test]
fn tips_of_the_parser_are_hints_and_help_is_no_error() {
    let store = tempfile::tempdir().unwrap();
    for (args, text, hint) in [
        (
            &["sho"][..],
            "cairn: unrecognized subcommand 'sho'\nhint: a similar subcommand",
            "'show'",
        ),
        (
            &["list", "--jsn"],
            "cairn: unexpected argument '--jsn' found\nhint: a similar",
            "'--json'",
        ),
    ] {
        let output = run(store.path(), args);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {errors}");
        assert!(errors.starts_with(text), "{args:?}: {errors}");
        assert!(!errors.contains("tip:") && !errors.contains("error:"), "{args:?}: {errors}");

        let with_json: Vec<&str> = args.iter().copied().chain(["--json"]).collect();
        let output = run(store.path(), &with_json);
        let error: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
        let found = error["error"]["hint"].as_str().unwrap();
        assert!(found.contains(hint), "{error}");
        assert!(!error["error"]["message"].as_str().unwrap().contains(hint), "{error}");
    }
    let output = run(store.path(), &[]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2));
    assert!(errors.starts_with("Versioned repositories as a filesystem"), "{errors}");
}

#[test]
fn a_job_that_is_waited_for_gives_the_command_its_exit_code() {
    let running = serve();
    let output = run(running.store.path(), &["wait", "--job", "13"]);
    assert_eq!(output.status.code(), Some(13), "{output:?}");
    for wrong in [&["wait"][..], &["wait", "web", "--job", "1"], &["jobs", "--cancel", "x"]] {
        assert_eq!(run(running.store.path(), wrong).status.code(), Some(2), "{wrong:?}");
    }
}
