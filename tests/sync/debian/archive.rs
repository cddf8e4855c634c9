//! An archive of small packages, as its maintainers make it: `dpkg-deb`, `apt-ftparchive`, `gpg`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use cairn::model::digest::Sha256;
use support::Cairn;
use support::http::Site;

use crate::nginx::run;

/// The suite of these archives.
pub(crate) const SUITE: &str = "stable";

/// A directory that is an archive once it is published.
pub(crate) struct Archive {
    home: tempfile::TempDir,
    by_hash: bool,
    /// More fields of `Release`.
    fields: String,
    flat: bool,
}

/// A key pair of `gpg`, in a home of its own. Its agent ends when that is gone.
pub(crate) struct Key {
    home: tempfile::TempDir,
}

/// What `dpkg` calls this machine.
pub(crate) fn architecture() -> String {
    output("dpkg", &["--print-architecture"], Path::new("/")).trim().to_owned()
}

fn output(program: &str, arguments: &[&str], directory: &Path) -> String {
    let output = Command::new(program).args(arguments).current_dir(directory).output();
    let output =
        output.unwrap_or_else(|error| panic!("{program}: {error} (scripts/packages installs it)"));
    assert!(output.status.success(), "{program} {arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

impl Key {
    pub(crate) fn new(name: &str) -> Self {
        let key = Self { home: tempfile::tempdir().unwrap() };
        let user = format!("{name} <{name}@example.org>");
        key.gpg(&["--quick-gen-key", &user, "ed25519", "sign", "0"]);
        key
    }

    fn gpg(&self, arguments: &[&str]) -> String {
        let home = self.home.path().to_str().unwrap();
        let options = ["--homedir", home, "--batch", "--yes", "--quiet", "--passphrase", ""];
        output("gpg", &[&options, arguments].concat(), self.home.path())
    }

    /// The public key, with or without armor.
    pub(crate) fn keyring(&self, armored: bool) -> PathBuf {
        let (name, armor) =
            if armored { ("keys.asc", "--armor") } else { ("keys.gpg", "--no-armor") };
        let path = self.home.path().join(name);
        self.gpg(&["--output", path.to_str().unwrap(), armor, "--export"]);
        path
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        run(
            "gpgconf",
            &["--homedir", self.home.path().to_str().unwrap(), "--kill", "all"],
            Path::new("/"),
        );
    }
}

impl Archive {
    pub(crate) fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir_all(home.path().join("www/pool/main")).unwrap();
        Self { home, by_hash: true, fields: String::new(), flat: false }
    }

    /// One whose server has no names by digest.
    pub(crate) fn without_by_hash() -> Self {
        Self { by_hash: false, ..Self::new() }
    }

    /// One that has no suites: its indexes lie beside its packages.
    pub(crate) fn flat() -> Self {
        Self { flat: true, ..Self::without_by_hash() }
    }

    /// One whose `Release` has more fields, each with a newline.
    pub(crate) fn with_fields(fields: &str) -> Self {
        Self { fields: fields.to_owned(), ..Self::new() }
    }

    /// What a server would serve.
    pub(crate) fn top(&self) -> PathBuf {
        self.home.path().join("www")
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.top().join(path)
    }

    /// The directory of `Release`.
    pub(crate) fn suite(&self) -> PathBuf {
        if self.flat { self.top() } else { self.path(&format!("dists/{SUITE}")) }
    }

    /// Adds a package that installs `/usr/share/NAME` with this content.
    pub(crate) fn package(&self, name: &str, version: &str, architecture: &str, content: &str) {
        let tree = self.home.path().join("tree");
        fs::remove_dir_all(&tree).ok();
        fs::create_dir_all(tree.join("DEBIAN")).unwrap();
        fs::create_dir_all(tree.join("usr/share")).unwrap();
        fs::write(tree.join("usr/share").join(name), content).unwrap();
        let control = format!(
            "Package: {name}\nVersion: {version}\nArchitecture: {architecture}\n\
             Maintainer: Me <me@example.org>\nDescription: {name}\n a test\n"
        );
        fs::write(tree.join("DEBIAN/control"), control).unwrap();
        let file = format!("www/pool/main/{name}_{version}_{architecture}.deb");
        let arguments = ["-Zgzip", "--root-owner-group", "--build", "tree", &file];
        run("dpkg-deb", &arguments, self.home.path());
    }

    /// Adds a source package of one file, and the file that describes it.
    pub(crate) fn source(&self, name: &str, content: &[u8]) {
        let directory = self.path("pool/main");
        let tar = format!("{name}_1.tar.gz");
        fs::write(directory.join(&tar), content).unwrap();
        let sum = format!("{} {} {tar}", Sha256::of(content), content.len());
        let md5 = output("md5sum", &[&tar], &directory)[..32].to_owned();
        let description = format!(
            "Format: 3.0 (native)\nSource: {name}\nBinary: {name}\nArchitecture: any\nVersion: 1\n\
             Maintainer: Me <me@example.org>\nStandards-Version: 4.6.2\nChecksums-Sha256:\n {sum}\n\
             Files:\n {md5} {} {tar}\n",
            content.len()
        );
        fs::write(directory.join(format!("{name}_1.dsc")), description).unwrap();
    }

    /// Makes indexes and `Release` anew, as a server has them then; signed if there is a key.
    pub(crate) fn publish(&self, key: Option<&Key>) {
        let machine = architecture();
        let directories = match self.flat {
            true => ["".to_owned(), String::new(), String::new()],
            false => [
                format!("main/binary-{machine}/"),
                "main/source/".to_owned(),
                "main/i18n/".to_owned(),
            ],
        };
        let suite = self.suite();
        for directory in &directories {
            fs::create_dir_all(suite.join(directory)).unwrap();
        }
        let [packages, sources, descriptions] = directories;
        let list = output("apt-ftparchive", &["--arch", &machine, "packages", "pool"], &self.top());
        self.index(&format!("{packages}Packages"), list.as_bytes());
        let list = output("apt-ftparchive", &["sources", "pool"], &self.top());
        self.index(&format!("{sources}Sources"), list.as_bytes());
        if !self.flat {
            self.index(
                &format!("{descriptions}Translation-en"),
                b"Package: a\nDescription-en: a\n",
            );
        }
        self.release(key);
    }

    /// Writes an index, plain and packed, with its names by digest. Those of earlier states stay.
    pub(crate) fn index(&self, path: &str, content: &[u8]) {
        let path = self.suite().join(path);
        fs::write(&path, content).unwrap();
        let name = path.to_str().unwrap();
        run("xz", &["--keep", "--force", name], Path::new("/"));
        run("gzip", &["--keep", "--force", "--no-name", name], Path::new("/"));
        if self.by_hash {
            let directory = path.parent().unwrap().join("by-hash/SHA256");
            fs::create_dir_all(&directory).unwrap();
            for suffix in ["", ".xz", ".gz"] {
                let content = fs::read(format!("{name}{suffix}")).unwrap();
                fs::write(directory.join(Sha256::of(&content).to_string()), content).unwrap();
            }
        }
    }

    /// Writes `Release` for the indexes that are there.
    pub(crate) fn release(&self, key: Option<&Key>) {
        let suite = self.suite();
        for name in ["Release", "InRelease", "Release.gpg"] {
            fs::remove_file(suite.join(name)).ok();
        }
        let field = |name: &str, value: &str| format!("APT::FTPArchive::Release::{name}={value}");
        let (suite_field, machine) =
            (field("Suite", SUITE), field("Architectures", &architecture()));
        let components = field("Components", "main");
        let mut arguments = vec!["release"];
        for option in [&suite_field, &machine, &components] {
            arguments.splice(0..0, ["-o", option]);
        }
        arguments.push(".");
        let release = output("apt-ftparchive", &arguments, &suite);
        let by_hash = if self.by_hash { "Acquire-By-Hash: yes\n" } else { "" };
        // Names by digest list themselves, and packages of a flat archive are no indexes.
        let is_index = |line: &&str| !line.contains("by-hash/") && !line.contains("pool/");
        let lines: Vec<_> = release.lines().filter(is_index).collect();
        let release = format!("{by_hash}{}{}\n", self.fields, lines.join("\n"));
        self.write_release(&release, key);
    }

    /// Writes that text as `Release`, and its signatures.
    pub(crate) fn write_release(&self, release: &str, key: Option<&Key>) {
        let suite = self.suite();
        fs::write(suite.join("Release"), release).unwrap();
        let Some(key) = key else { return };
        let path = |name: &str| suite.join(name).to_str().unwrap().to_owned();
        key.gpg(&["--output", &path("InRelease"), "--clearsign", &path("Release")]);
        key.gpg(&["--armor", "--output", &path("Release.gpg"), "--detach-sign", &path("Release")]);
    }

    /// The `Release` that is there.
    pub(crate) fn read_release(&self) -> String {
        fs::read_to_string(self.suite().join("Release")).unwrap()
    }

    /// All files, for a server that answers as a test wants.
    pub(crate) fn site(&self) -> Site {
        let site = Site::default();
        for (path, content) in crate::shared::files(&self.top()) {
            site.put(&path, &content);
        }
        site
    }
}

/// Adds a remote for the main component of the suite; returns what the command says.
pub(crate) fn add_remote(cairn: &Cairn, url: &str, more: &[&str]) -> String {
    let machine = architecture();
    let arguments =
        ["remote", "add", "debian", "debian", url, "--suite", SUITE, "--component", "main"];
    cairn.cli(&[&arguments[..], &["--architecture", &machine], more].concat())
}
