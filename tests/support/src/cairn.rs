//! A store and its daemon for one test: started, killed, restarted, and gone at the end.

use std::fs::{self, File, Permissions};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::LazyLock;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use cairn::sys::fault_injection;

use super::{mounts, wait};

/// The program under test, which cargo builds into the directory above the tests' own.
///
/// # Panics
/// If it is not there.
pub fn binary() -> &'static str {
    static PROGRAM: LazyLock<String> = LazyLock::new(|| {
        let program = build_directory().join("cairn");
        assert!(program.is_file(), "{} is not built", program.display());
        program.into_os_string().into_string().expect("a build directory in UTF-8")
    });
    &PROGRAM
}

/// A directory for what tests write. It is on the build's disk, which is like the user's; `/tmp` may be memory.
///
/// # Panics
/// If it cannot be made.
pub fn scratch() -> PathBuf {
    let directory = build_directory().with_file_name("tmp");
    fs::create_dir_all(&directory).expect("a directory for what tests write");
    directory
}

/// Where cargo put the program: `target/debug`, since a test runs from `target/debug/deps`.
fn build_directory() -> PathBuf {
    let test = std::env::current_exe().expect("the path of this test");
    test.ancestors().nth(2).expect("a test runs from the build directory").to_owned()
}

/// A store in a temporary directory and, while it runs, the daemon that has it mounted.
///
/// Dropping it stops the daemon and asserts that nothing stays mounted.
pub struct Cairn {
    store: PathBuf,
    /// What is mounted in place of the store, which is the cache of an edge: its bucket.
    bucket: Option<String>,
    mount_home: TempDir,
    /// Holds the store, unless it is somebody else's.
    _home: Option<TempDir>,
    options: Vec<String>,
    environment: Vec<(String, String)>,
    /// Runs the daemon's command line.
    launcher: Vec<String>,
    /// Settings so far, to be printed when the test fails.
    settings: Vec<String>,
    daemon: Option<Child>,
}

impl Cairn {
    /// Creates a store and mounts it.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Creates a store and mounts it with arguments added, such as `-o allow_other`.
    pub fn start_with(options: &[&str]) -> Self {
        let mut cairn = Self::unmounted();
        cairn.options = options.iter().map(|option| (*option).to_owned()).collect();
        cairn.mount();
        cairn
    }

    /// Creates a store in a directory below `parent` and mounts it.
    pub fn start_in(parent: &Path) -> Self {
        let mut cairn = Self::unmounted_in(parent);
        cairn.mount();
        cairn
    }

    /// Creates a store without mounting it.
    pub fn unmounted() -> Self {
        Self::unmounted_in(&scratch())
    }

    fn unmounted_in(parent: &Path) -> Self {
        let home = TempDir::new_in(parent).expect("a directory for the store");
        let mut cairn = Self::over(&home.path().join("store"));
        cairn._home = Some(home);
        cairn.init();
        cairn
    }

    /// A store that is there already, or will be; it stays when this is dropped.
    pub fn over(store: &Path) -> Self {
        let cairn = Self {
            store: store.to_owned(),
            bucket: None,
            mount_home: tempfile::Builder::new().prefix("cairn-").tempdir().expect("a directory"),
            _home: None,
            options: Vec::new(),
            environment: Vec::new(),
            launcher: Vec::new(),
            settings: Vec::new(),
            daemon: None,
        };
        // Other users must be able to reach the mount point; the store protects itself.
        fs::set_permissions(cairn.mount_home.path(), Permissions::from_mode(0o755)).expect("chmod");
        fs::create_dir(cairn.mnt()).expect("mkdir");
        cairn
    }

    /// An edge of a bucket that keeps what it has in `cache`, which the first mount makes and which stays when this
    /// is dropped.
    pub fn edge(bucket: &str, cache: &Path) -> Self {
        let mut cairn = Self::over(cache);
        cairn.bucket = Some(bucket.to_owned());
        cairn
    }

    /// Makes the store.
    pub fn init(&self) {
        let output = Command::new(binary()).arg("init").arg(self.store()).output().expect("init");
        assert!(output.status.success(), "cairn init failed: {}", text(&output.stderr));
    }

    /// Sets a variable of daemons started from now on; `None` removes it.
    pub fn set_env(&mut self, name: &str, value: Option<&str>) {
        let injects = ["CAIRN_FAULT", "CAIRN_PANIC", "CAIRN_HOLD"].contains(&name);
        assert!(
            !injects || fault_injection::ENABLED,
            "this build ignores {name}: add --features fault-injection"
        );
        self.settings.push(format!("{name}={}", value.unwrap_or_default()));
        self.environment.retain(|(known, _)| known != name);
        if let Some(value) = value {
            self.environment.push((name.to_owned(), value.to_owned()));
        }
    }

    /// Has daemons started from now on run by a program that becomes them, such as `prlimit`.
    pub fn set_launcher(&mut self, command: &[&str]) {
        self.launcher = command.iter().map(|word| (*word).to_owned()).collect();
    }

    /// Sets the arguments of daemons started from now on.
    pub fn set_arguments(&mut self, arguments: &[&str]) {
        self.options = arguments.iter().map(|option| (*option).to_owned()).collect();
    }

    /// The store's directory.
    pub fn store(&self) -> PathBuf {
        self.store.clone()
    }

    /// The mount point.
    pub fn mnt(&self) -> PathBuf {
        self.mount_home.path().join("mnt")
    }

    /// A directory that other users can reach, outside of the mount, deleted at the end.
    pub fn scratch(&self) -> PathBuf {
        let path = self.mount_home.path().join("scratch");
        fs::create_dir_all(&path).expect("scratch");
        path
    }

    /// `MNT/staging/PATH`.
    pub fn staging(&self, path: impl AsRef<Path>) -> PathBuf {
        self.mnt().join("staging").join(path)
    }

    /// `MNT/tags/PATH`.
    pub fn tags(&self, path: impl AsRef<Path>) -> PathBuf {
        self.mnt().join("tags").join(path)
    }

    /// `MNT/versions/PATH`.
    pub fn versions(&self, path: impl AsRef<Path>) -> PathBuf {
        self.mnt().join("versions").join(path)
    }

    /// Process id of the daemon.
    pub fn pid(&self) -> u32 {
        self.daemon.as_ref().expect("the daemon runs").id()
    }

    /// Starts the daemon and waits until the mount is usable.
    ///
    /// # Panics
    /// With the daemon's log when it does not come up.
    pub fn mount(&mut self) {
        let exited = self.try_mount();
        assert!(exited.is_none(), "the daemon ended: {exited:?}\n{}", self.log());
    }

    /// Starts the daemon and waits until the mount is usable or the daemon has ended.
    pub fn try_mount(&mut self) -> Option<ExitStatus> {
        self.spawn();
        let mut exited = None;
        wait::until("the mount is usable", || {
            exited = self.exit_status();
            exited.is_some() || self.is_usable()
        });
        exited
    }

    /// Starts the daemon without waiting for anything.
    pub fn spawn(&mut self) {
        assert!(self.daemon.is_none(), "the daemon runs already");
        assert!(
            Path::new("/dev/fuse").exists(),
            "/dev/fuse is missing: load the fuse module, or pass the device into the container"
        );
        let log = File::options().create(true).append(true).open(self.log_path()).expect("log");
        // A test that is killed takes its daemon along.
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "TERM"])
            .args(&self.launcher)
            .arg(binary())
            .arg("mount")
            .arg("--foreground");
        command.args(&self.options);
        match &self.bucket {
            Some(bucket) => command.args(["--edge", bucket, "--cache"]).arg(self.store()),
            None => command.arg(self.store()),
        };
        command.arg(self.mnt());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("log")).stderr(log);
        self.daemon =
            Some(command.spawn().expect("setpriv (package util-linux) starts the daemon"));
    }

    /// Whether both filesystems answer.
    pub fn is_usable(&self) -> bool {
        let mounted = mounts::below(&self.mnt());
        let nested = |mount: &mounts::Mount| mount.path == self.mnt().join("versions");
        mounted.iter().any(nested)
            && fs::read_dir(self.versions("")).is_ok()
            && fs::read_dir(self.tags("")).is_ok()
    }

    /// How the daemon ended, if it has.
    pub fn exit_status(&mut self) -> Option<ExitStatus> {
        let daemon = self.daemon.as_mut()?;
        let status = daemon.try_wait().expect("wait");
        if status.is_some() {
            self.daemon = None;
        }
        status
    }

    /// Waits until the daemon has ended by itself.
    pub fn wait_for_exit(&mut self) -> ExitStatus {
        let mut status = None;
        wait::until("the daemon ends", || {
            status = self.exit_status();
            status.is_some()
        });
        status.expect("set by the condition")
    }

    /// The process that guards the daemon. A daemon serves while its guard is still beginning.
    pub fn guard(&self) -> u32 {
        guard_of(self.pid())
    }

    /// Kills the daemon's guard, so that the mount stays when the daemon is killed as well.
    pub fn kill_guard(&self) {
        kill_process(process_id(self.guard()), Signal::KILL).expect("kill");
        wait::until("the guard has ended", || find_guard(self.pid()).is_none());
    }

    /// Kills the daemon: the store is as a crash leaves it, and the guard takes the dead mount away a moment
    /// later, unless it was killed, too.
    pub fn kill9(&mut self) {
        let mut daemon = self.daemon.take().expect("the daemon runs");
        daemon.kill().expect("kill");
        daemon.wait().expect("wait");
    }

    /// Kills the daemon and waits until its guard has taken the dead mount away.
    pub fn kill9_and_unmount(&mut self) {
        self.kill9();
        wait::until("the guard takes the mounts away", || mounts::below(&self.mnt()).is_empty());
    }

    /// Stops the daemon as a service manager does and asserts that it went cleanly.
    pub fn stop(&mut self) {
        self.signal(Signal::TERM);
        let status = self.wait_for_exit();
        assert!(status.success(), "the daemon stopped with {status}\n{}", self.log());
        let left = mounts::below(&self.mnt());
        assert!(left.is_empty(), "still mounted after a clean stop: {left:?}");
    }

    /// Stops the daemon cleanly and starts it again.
    pub fn restart(&mut self) {
        self.stop();
        self.mount();
    }

    /// Kills the daemon and mounts again, over the dead mount.
    pub fn crash(&mut self) {
        self.kill9();
        self.mount();
    }

    /// Sends `signal` to the daemon.
    pub fn signal(&self, signal: Signal) {
        kill_process(process_id(self.pid()), signal).expect("kill");
    }

    /// Runs a CLI verb against this store.
    pub fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(binary());
        command.args(arguments).env("CAIRN_STORE", self.store()).stdin(Stdio::null());
        // What imports remember goes with the test.
        command.env("XDG_CACHE_HOME", self.mount_home.path().join("cache"));
        command.output().expect("the binary runs")
    }

    /// Runs a CLI verb that must succeed; returns what it printed.
    #[track_caller]
    pub fn cli(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(
            output.status.success(),
            "cairn {arguments:?}: {}\n{}{}",
            output.status,
            text(&output.stdout),
            text(&output.stderr)
        );
        text(&output.stdout)
    }

    /// Runs a CLI verb that must fail; returns its message.
    #[track_caller]
    pub fn cli_fails(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(
            !output.status.success(),
            "cairn {arguments:?} succeeded: {}",
            text(&output.stdout)
        );
        text(&output.stderr)
    }

    /// Runs a CLI verb with `--json`.
    #[track_caller]
    pub fn json(&self, arguments: &[&str]) -> serde_json::Value {
        let printed = self.cli(&[arguments, &["--json"]].concat());
        serde_json::from_str(&printed).unwrap_or_else(|error| panic!("{error} in: {printed}"))
    }

    /// Makes a repository and an area in it; returns the area's path.
    pub fn area(&self, repository: &str, area: &str) -> PathBuf {
        if !self.staging(repository).exists() {
            fs::create_dir(self.staging(repository)).expect("mkdir of a repository");
        }
        let path = self.staging(repository).join(area);
        fs::create_dir(&path).expect("mkdir of an area");
        path
    }

    /// Publishes an area under its own name, as `mv` does.
    pub fn publish(&self, repository: &str, area: &str) -> std::io::Result<()> {
        let (name, _base) = area.split_once('@').unwrap_or((area, ""));
        fs::rename(self.staging(repository).join(area), self.tags(repository).join(name))
    }

    /// Regular files of the pool with their lengths, by path.
    pub fn pool(&self) -> Vec<(PathBuf, u64)> {
        let mut found = Vec::new();
        collect(&self.store().join("pool"), &mut found);
        found.sort();
        found
    }

    /// What the daemons of this store have logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// Where the web face of a daemon with `--http 0` listens.
    pub fn web_address(&self) -> SocketAddr {
        let mut address = None;
        wait::until("the web face says where it is", || {
            let log = self.log();
            let found = log.rsplit_once("web: listening at http://");
            address = found.and_then(|(_, rest)| rest.split('/').next().unwrap().parse().ok());
            address.is_some()
        });
        address.unwrap()
    }

    fn log_path(&self) -> PathBuf {
        // Not beside the store: its disk may be full, or fail.
        self.mount_home.path().join("daemon.log")
    }
}

impl Drop for Cairn {
    fn drop(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            let asked = kill_process(process_id(daemon.id()), Signal::TERM).is_ok();
            let ended =
                asked && wait::within(wait::PATIENCE, || !matches!(daemon.try_wait(), Ok(None)));
            if !ended {
                daemon.kill().ok();
                daemon.wait().ok();
            }
            if !ended && !std::thread::panicking() {
                let log = self.log();
                mounts::detach(&self.mnt());
                panic!("the daemon did not stop within {:?}\n{log}", wait::PATIENCE);
            }
        }
        let left = mounts::below(&self.mnt());
        if !left.is_empty() {
            // A daemon in the background, started by a test that has failed meanwhile.
            let mut unmount = Command::new(binary());
            unmount.args(["unmount", "--lazy"]).arg(self.mnt()).stdin(Stdio::null()).status().ok();
            mounts::detach(&self.mnt());
        }
        if std::thread::panicking() {
            eprintln!("settings: {:?}\nlog of the daemon:\n{}", self.settings, self.log());
        } else {
            assert!(left.is_empty(), "left mounted: {left:?}\n{}", self.log());
        }
    }
}

/// The guard of the daemon with this process id.
pub fn guard_of(daemon: u32) -> u32 {
    let mut found = None;
    wait::until("the daemon has a guard", || {
        found = find_guard(daemon);
        found.is_some()
    });
    found.expect("set by the condition")
}

fn find_guard(daemon: u32) -> Option<u32> {
    let processes = fs::read_dir("/proc").expect("/proc").flatten();
    let mut numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    numbers.find(|pid| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let has = |line: &str| status.lines().any(|found| found.starts_with(line));
        let parent = format!("PPid:\t{daemon}");
        status.lines().any(|line| line == parent) && has("Name:\tcairn-guard") && !has("State:\tZ")
    })
}

fn process_id(pid: u32) -> Pid {
    i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process id")
}

fn collect(directory: &Path, found: &mut Vec<(PathBuf, u64)>) {
    for entry in fs::read_dir(directory).expect("a directory of the pool") {
        let entry = entry.expect("an entry of the pool");
        let meta = entry.metadata().expect("stat in the pool");
        if meta.is_dir() {
            collect(&entry.path(), found);
        } else {
            found.push((entry.path(), meta.len()));
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
