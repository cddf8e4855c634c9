//! `apt` with directories of its own: it installs into an empty root, and touches nothing of the machine.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use super::archive::architecture;

pub(crate) struct Apt {
    home: tempfile::TempDir,
}

impl Apt {
    /// With this line of `sources.list`.
    pub(crate) fn new(source: &str) -> Self {
        let apt = Self { home: tempfile::tempdir().unwrap() };
        let home = apt.home.path();
        for directory in [
            "etc/apt/preferences.d",
            "empty",
            "state/lists/partial",
            "cache/archives/partial",
            "log",
            "installed/var/lib/dpkg/info",
            "installed/var/lib/dpkg/updates",
            "installed/var/log",
        ] {
            fs::create_dir_all(home.join(directory)).unwrap();
        }
        fs::write(home.join("installed/var/lib/dpkg/status"), "").unwrap();
        let top = home.display();
        let machine = architecture();
        let configuration = format!(
            "Dir::Etc \"{top}/etc/apt\"; Dir::Etc::parts \"{top}/empty\"; Dir::Etc::main \"{top}/none\"; Dir::Etc::sourceparts \"{top}/empty\";
             Dir::State \"{top}/state\"; Dir::State::status \"{top}/installed/var/lib/dpkg/status\";
             Dir::Cache \"{top}/cache\"; Dir::Log \"{top}/log\"; Dir::Etc::trusted \"{top}/none\"; Dir::Etc::trustedparts \"{top}/empty\";
             APT::Architecture \"{machine}\"; APT::Architectures {{ \"{machine}\"; }};
             APT::Sandbox::User \"root\"; Acquire::Languages {{ \"en\"; }}; APT::Update::Error-Mode \"any\";
             DPkg::Options {{ \"--root={top}/installed\"; \"--force-script-chrootless\"; \"--log=/dev/null\"; }};
             Acquire::http::Proxy \"DIRECT\";"
        );
        fs::write(home.join("apt.conf"), configuration).unwrap();
        fs::write(home.join("etc/apt/sources.list"), format!("{source}\n")).unwrap();
        apt
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new("apt-get");
        command.args(["--yes", "-q"]).args(arguments).current_dir(self.home.path());
        command
            .env("APT_CONFIG", self.home.path().join("apt.conf"))
            .env("DEBIAN_FRONTEND", "noninteractive");
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command
            .output()
            .unwrap_or_else(|error| panic!("apt-get: {error} (this test needs Debian's apt)"))
    }

    #[track_caller]
    pub(crate) fn works(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let said = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && !said.contains("W:"), "apt-get {arguments:?}: {said}");
        said
    }

    /// Updates the lists and installs a package; returns the file that it brought.
    #[track_caller]
    pub(crate) fn install(&self, name: &str) -> String {
        self.works(&["update"]);
        self.works(&["install", name]);
        fs::read_to_string(self.installed(name)).unwrap()
    }

    fn installed(&self, name: &str) -> PathBuf {
        self.home.path().join("installed/usr/share").join(name)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }
}
