//! Lazy content that is taken out without a mount: fetched, or refused where that is not wanted (O4, L3).

use std::fs;

use crate::shared::Origin;

#[test]
fn o4_history_is_looked_at_without_a_fetch() {
    let origin = Origin::new();
    let cairn = &origin.cairn;
    assert_eq!(cairn.cli(&["log", "lib", "dir"]).lines().count(), 2);
    assert_eq!(cairn.cli(&["find", "lib", "c"]), "1           dir/deep/c\n");
    assert_eq!(origin.requests(), 0);
}

#[test]
fn o4_absent_content_is_fetched_or_refused() {
    let origin = Origin::new();
    let cairn = &origin.cairn;
    let home = cairn.scratch();
    let to = home.join("x");
    let to = to.to_str().unwrap();
    for command in [
        &["cat", "lib/1/a", "--no-fetch"][..],
        &["restore", "lib/1/dir", to, "--no-fetch"],
        &["export", "lib/1", to, "--no-fetch"],
    ] {
        let said = cairn.cli_fails(command);
        assert!(
            said.contains("was not fetched yet") && said.contains("leave out --no-fetch"),
            "{said}"
        );
        assert_eq!(fs::read_dir(&home).unwrap().count(), 0, "{command:?}");
    }
    assert_eq!(origin.requests(), 0);
    assert_eq!(cairn.cli(&["cat", "lib/1/a"]), "first");
    cairn.cli(&["restore", "lib/1/dir", to]);
    assert_eq!(fs::read(home.join("x/deep/c")).unwrap(), b"third");
    assert_eq!(origin.requests(), 3);
    assert_eq!(cairn.cli(&["cat", "lib/1/dir/b", "--no-fetch"]), "second");
    assert_eq!(cairn.cli(&["cat", "lib/1/empty", "--no-fetch"]), "");
    assert_eq!(origin.requests(), 3);
    origin.check();
}
