//! A profile names what a command opens, and a prefetch fetches just that (L12)

use std::fs;

use crate::shared::{Origin, is_stored};

fn profile_path(origin: &Origin) -> String {
    origin.cairn.scratch().join("build.profile").to_str().unwrap().to_owned()
}

fn shown(origin: &Origin, profile: &str) -> Vec<String> {
    let shown = origin.cairn.json(&["profile", "show", profile]);
    assert_eq!((&shown["repository"], &shown["number"]), (&"lib".into(), &1.into()));
    let files = shown["paths"].as_array().unwrap().iter();
    files.map(|file| file.as_str().unwrap().to_owned()).collect()
}

#[test]
fn l12_a_profile_has_what_the_command_and_its_children_open() {
    let files: &[(&str, &[u8])] = &[
        ("a", b"first"),
        ("dir/b", b"second"),
        ("dir/deep/c", b"third"),
        ("only/looked/at", b"fourth"),
        ("untouched", b"fifth"),
    ];
    let origin = Origin::of(files);
    let (version, profile) = (origin.cairn.versions("lib/1"), profile_path(&origin));
    // The kernel has this one's pages: what it caches is opened all the same.
    fs::read(version.join("a")).unwrap();
    let script = "cd \"$1\" && sh -c 'cat dir/deep/c' && cat a a && stat only/looked/at && ls -l \
                  dir && exec 3<dir/b";
    let at = version.to_str().unwrap();
    let record = ["profile", "record", "lib/1", &profile, "--"];
    let command = ["sh", "-c", script, "sh", at];
    origin.cairn.cli(&[&record[..], &command].concat());
    assert_eq!(shown(&origin, &profile), ["dir/deep/c", "a", "dir/b"]);
    origin.cairn.cli(&["reclaim"]);
    let before = origin.requests();
    let done = &origin.cairn.json(&["prefetch", "--profile", &profile])[0];
    let counts = ["file_count", "fetched_file_count", "missing_file_count"];
    assert_eq!(counts.map(|count| done[count].as_u64().unwrap()), [3, 3, 0], "{done}");
    assert_eq!(origin.requests(), before + 3);
    assert!(is_stored(&origin.cairn, b"second") && !is_stored(&origin.cairn, b"fifth"));
    // Another version lacks one of them, and has a directory at the place of another.
    origin.site.set_manifest(&[("dir/deep/c", b"newer"), ("a/b", b"below")]);
    origin.sync();
    let text = origin.cairn.cli(&["prefetch", "lib/2", "--profile", &profile]);
    let expected =
        "fetched 5 B in 1 file, 0 of 1 file there already, 2 files of the profile not in";
    assert!(text.contains(expected), "{text}");
    assert!(!is_stored(&origin.cairn, b"below"));
    let message = origin.cairn.cli_fails(&["prefetch", "lib/1/dir", "--profile", &profile]);
    assert!(message.contains("leave out the path"), "{message}");
    origin.check();
}

#[test]
fn l12_a_command_that_fails_leaves_its_profile() {
    let origin = Origin::new();
    let profile = profile_path(&origin);
    let file = origin.cairn.versions("lib/1/a");
    let file = file.to_str().unwrap();
    let record = ["profile", "record", "lib/latest", &profile, "--", "sh", "-c"];
    let script = format!("cat '{file}'; exit 3");
    let message = origin.cairn.cli_fails(&[&record[..], &[&script]].concat());
    assert!(message.contains("exit code 3"), "{message}");
    assert_eq!(shown(&origin, &profile), ["a"]);
    let message =
        origin.cairn.cli_fails(&["profile", "record", "lib/1", &profile, "--", "no-such"]);
    assert!(message.contains("cannot run no-such"), "{message}");
    assert_eq!(shown(&origin, &profile), ["a"], "it is as it was");
    origin.check();
}
