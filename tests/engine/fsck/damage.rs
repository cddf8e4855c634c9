//! A store to damage, and the hands that do it.

use std::path::PathBuf;

use cairn::control::import::ImportRequest;
use cairn::engine::fsck::{Finding, bare, steps};
use cairn::model::hash::{BlobHash, TreeHash};
use cairn::model::import::{ImportContent, ImportOptions};
use cairn::model::tree::Content;
use cairn::store::Store;
use cairn::store::layout::Layout;

use crate::world::{Closed, Import, World, committed, entry};
use support::fsck::{check_clean_store, findings};

/// Content of `web/1:keep` and `web/2:keep`.
pub(crate) const KEEP: &[u8] = b"kept in both versions";
/// Content of `web/1:dir/only`.
pub(crate) const ONLY: &[u8] = b"only in the first version";

/// A sound store with two versions, an open area and a tag, closed.
pub(crate) struct Patient {
    pub(crate) closed: Closed,
    /// Tree of `web/1:dir`.
    pub(crate) dir: TreeHash,
    /// Tree of `web/1`.
    pub(crate) top: TreeHash,
}

impl Patient {
    pub(crate) fn new() -> Self {
        let world = World::with_repository();
        import_first(&world, "one");
        world.publish("two", &[("keep", KEEP), ("other", b"another file")]);
        let area = world.stage("work");
        world.write(area, "sub/keep", KEEP);
        world.write(area, "sub/new", b"in the area alone");
        world.wait_sealed(area, "sub/keep");
        world.wait_sealed(area, "sub/new");
        let Content::Directory { tree: dir, .. } = world.entry("1", "dir").unwrap().content else {
            panic!("dir is a directory");
        };
        let repository = world.engine.registry.by_name("web").unwrap();
        let top = repository.resolve(&"1".parse().unwrap()).unwrap().root.tree;
        let patient = Self { closed: world.close(), dir, top };
        check_clean_store(&patient.closed.path());
        patient
    }

    pub(crate) fn layout(&self) -> Layout {
        Layout::new(&self.closed.path())
    }

    pub(crate) fn blob(&self, content: &[u8]) -> PathBuf {
        self.layout().blob(&BlobHash::of(content))
    }

    /// Writes into a file whatever its mode is.
    pub(crate) fn overwrite(&self, path: &std::path::Path, content: &[u8]) {
        std::fs::remove_file(path).unwrap();
        std::fs::write(path, content).unwrap();
        let read_only = std::os::unix::fs::PermissionsExt::from_mode(0o444);
        std::fs::set_permissions(path, read_only).unwrap();
    }

    /// Changes rows behind the store's back; asserts that any were there.
    pub(crate) fn sql(&self, sql: &str, params: impl rusqlite::Params) {
        let connection = rusqlite::Connection::open(self.layout().catalog()).unwrap();
        connection.pragma_update(None, "ignore_check_constraints", true).unwrap();
        assert!(connection.execute(sql, params).unwrap() > 0, "{sql}");
    }

    pub(crate) fn findings(&self, full: bool) -> Vec<Finding> {
        findings(&self.closed.path(), full).0
    }

    /// The one thing that a check finds.
    #[track_caller]
    pub(crate) fn finding(&self, full: bool) -> Finding {
        let mut findings = self.findings(full);
        assert_eq!(findings.len(), 1, "{findings:#?}");
        findings.remove(0)
    }

    /// What a check finds beside sums that are those of other rows, which it must find, too.
    #[track_caller]
    pub(crate) fn findings_beside_totals(&self, full: bool) -> Vec<Finding> {
        let mut findings = self.findings(full);
        let all = findings.len();
        findings.retain(|finding| !matches!(finding, Finding::Totals { .. }));
        assert_eq!(findings.len() + 1, all, "{findings:#?}");
        findings
    }

    /// Repairs what a check finds.
    pub(crate) fn repair(&self) {
        let findings = self.findings(true);
        let mut store = Store::open(&self.closed.path()).unwrap();
        for finding in &findings {
            for step in steps(finding) {
                bare::repair(&mut store, &step).unwrap();
            }
        }
        bare::finish(&store).unwrap();
    }

    #[track_caller]
    pub(crate) fn assert_clean(&self) {
        check_clean_store(&self.closed.path());
    }
}

/// Imports the content of `web/1`, equal to the last attribute each time.
pub(crate) fn import_first(world: &World, tag: &str) {
    let begin = ImportRequest::Begin(ImportOptions {
        repository: "web".parse().unwrap(),
        create: false,
        mirror: true,
        message: String::new(),
        author: None,
        tag: Some(tag.parse().unwrap()),
    });
    let import = Import::begin(world, 1, begin).unwrap();
    import.put(vec![entry("dir", ImportContent::Directory)]).unwrap();
    for (path, bytes) in [("keep", KEEP), ("dir/only", ONLY), ("dir/more", b"more")] {
        import.put_file(path, bytes);
    }
    committed(import.finish());
}

/// `place:path` of what a finding makes unreadable.
pub(crate) fn lost(finding: &Finding) -> Vec<String> {
    let losses = finding.losses().unwrap();
    assert!(losses.complete && losses.more == 0);
    let line = |loss: &cairn::engine::fsck::Loss| {
        format!("{}:{}", loss.place, String::from_utf8_lossy(&loss.path))
    };
    losses.listed.iter().map(line).collect()
}
