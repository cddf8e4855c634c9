//! What the tests of lazy content share.

use cairn::model::digest::Sha256;
use support::Cairn;
use support::fsck;
use support::http::{Server, Site};

/// A daemon with a remote whose content is fetched on demand, and the server behind it.
pub(crate) struct Origin {
    pub(crate) cairn: Cairn,
    pub(crate) site: Site,
    pub(crate) server: Server,
}

pub(crate) const FILES: &[(&str, &[u8])] =
    &[("a", b"first"), ("dir/b", b"second"), ("dir/deep/c", b"third"), ("empty", b"")];

impl Origin {
    /// A version `lib/1` of [`FILES`], of which nothing was fetched.
    pub(crate) fn new() -> Self {
        Self::of(FILES)
    }

    pub(crate) fn of(files: &[(&str, &[u8])]) -> Self {
        let site = Site::default();
        site.set_manifest(files);
        let server = site.serve();
        Self::with(site, server)
    }

    /// With a server that stands before the site.
    pub(crate) fn with(site: Site, server: Server) -> Self {
        let cairn = Cairn::start();
        add(&cairn, "origin", &server);
        let origin = Self { cairn, site, server };
        origin.sync();
        origin
    }

    pub(crate) fn sync(&self) {
        self.cairn.cli(&["sync", "lib", "origin", "--mirror", "--max-delete", "100%"]);
    }

    /// How many requests came for files, not for the manifest.
    pub(crate) fn requests(&self) -> usize {
        let asked = self.server.asked();
        asked.iter().filter(|asked| !asked.line.contains("PULP_MANIFEST")).count()
    }

    /// How many requests came for a path.
    pub(crate) fn asked_for(&self, path: &str) -> usize {
        let line = format!("GET /{path} HTTP/1.1");
        self.server.asked().iter().filter(|asked| asked.line == line).count()
    }

    /// Stops the daemon and checks the store.
    #[track_caller]
    pub(crate) fn check(mut self) {
        self.cairn.stop();
        fsck::check_store(&self.cairn.store());
    }
}

/// Adds a remote with a manifest, of which content is fetched on demand.
pub(crate) fn add(cairn: &Cairn, name: &str, server: &Server) {
    let url = server.url("/");
    cairn.cli(&["remote", "add", name, "manifest", &url, "--policy", "on_demand"]);
}

/// Whether the store has the content.
pub(crate) fn is_stored(cairn: &Cairn, content: &[u8]) -> bool {
    let hash = cairn::model::hash::BlobHash::of(content).to_string();
    cairn.store().join("pool").join(&hash[..2]).join(&hash[2..]).exists()
}

/// The SHA-256 of a content.
pub(crate) fn sha256(content: &[u8]) -> String {
    Sha256::of(content).to_string()
}
