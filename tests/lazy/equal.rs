//! Fetched during the sync or on demand: the versions are the same, and in the end the stores are (L9).

use std::collections::BTreeSet;
use std::fs;

use support::Cairn;

use crate::shared::{FILES, Origin};

fn hash(cairn: &Cairn) -> String {
    let shown = cairn.json(&["show", "lib/1"]);
    shown["hash"].as_str().unwrap().to_owned()
}

fn pool(cairn: &Cairn) -> BTreeSet<String> {
    let names = cairn.pool().into_iter().map(|(path, _)| path.to_string_lossy().into_owned());
    let store = cairn.store().to_string_lossy().into_owned();
    names.map(|name| name.replace(&store, "")).collect()
}

#[test]
fn l9_a_policy_changes_no_hash_and_in_the_end_no_store() {
    let lazy = Origin::new();
    let eager = Cairn::start();
    eager.cli(&["remote", "add", "origin", "manifest", &lazy.server.url("/")]);
    eager.cli(&["sync", "lib", "origin", "--mirror"]);
    let tree = |cairn: &Cairn| cairn.cli(&["show", "lib/1"]).lines().count();
    assert_eq!(tree(&lazy.cairn), tree(&eager));
    let names = |cairn: &Cairn| -> Vec<_> {
        FILES
            .iter()
            .map(|(path, _)| {
                let mut value = [0; 64];
                let path = cairn.versions("lib/1").join(path);
                let length =
                    rustix::fs::getxattr(path, "user.cairn.sha256", &mut value[..]).unwrap();
                value[..length].to_vec()
            })
            .collect()
    };
    assert_eq!(names(&lazy.cairn), names(&eager));
    assert_ne!(pool(&lazy.cairn), pool(&eager));
    for (path, bytes) in FILES {
        assert_eq!(fs::read(lazy.cairn.versions("lib/1").join(path)).unwrap(), *bytes);
    }
    assert_eq!(pool(&lazy.cairn), pool(&eager));
    assert!(!hash(&lazy.cairn).is_empty());
}

/// The policy is changed: what is there stays, and the next sync fetches what is not.
#[test]
fn l1_a_changed_policy_applies_to_the_next_sync() {
    let origin = Origin::new();
    origin.cairn.cli(&["remote", "set", "origin", "--policy", "immediate"]);
    assert_eq!(origin.requests(), 0);
    origin.site.set_manifest(&[("a", b"first"), ("new", b"new content")]);
    origin.sync();
    assert!(crate::shared::is_stored(&origin.cairn, b"new content"));
    assert!(crate::shared::is_stored(&origin.cairn, b"first"), "it is fetched, too");
    origin.check();
}
