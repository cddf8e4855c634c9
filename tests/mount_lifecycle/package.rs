//! The Debian package (O5): built from this program, installed into a root of its own, and looked at

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::toy::require_root;
use support::cairn::binary;

/// Runs a program that must succeed; returns what it printed.
#[track_caller]
fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn o5_the_package_installs_what_belongs_to_it() {
    require_root();
    let home = tempfile::tempdir().unwrap();
    let root = home.path().join("root");
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut deb = Command::new(package.join("scripts/deb"));
    deb.arg("--program")
        .arg(binary())
        .arg("--output")
        .arg(home.path())
        .args(["--compression", "none"]);
    let built = run(&mut deb);
    let built = built.lines().last().unwrap();
    // dpkg itself unpacks it, and knows it as installed.
    let admin = root.join("var/lib/dpkg");
    for directory in ["info", "updates", "triggers"] {
        fs::create_dir_all(admin.join(directory)).unwrap();
    }
    fs::write(admin.join("status"), "").unwrap();
    let mut dpkg = Command::new("dpkg");
    dpkg.arg("--root").arg(&root).args(["--force-depends", "--install"]).arg(built);
    run(&mut dpkg);
    let mut query = Command::new("dpkg-query");
    query.arg(format!("--admindir={}", admin.display()));
    let shown = run(query.args(["-W", "-f", "${db:Status-Status} ${Version} ${Depends}", "cairn"]));
    let version = env!("CARGO_PKG_VERSION");
    assert!(shown.starts_with(&format!("installed {version}-1 libc6 (>= ")), "{shown}");

    let program = root.join("usr/bin/cairn");
    assert_eq!(run(Command::new(&program).arg("--version")), format!("cairn {version}\n"));
    for name in ["mount.cairn", "mount.fuse.cairn", "umount.fuse.cairn"] {
        let link = fs::read_link(root.join("usr/sbin").join(name)).unwrap();
        assert_eq!(link, Path::new("/usr/bin/cairn"));
    }
    for page in ["cairn", "cairn-mount", "cairn-log"] {
        let page = root.join(format!("usr/share/man/man1/{page}.1.gz"));
        let text = run(Command::new("man")
            .arg("-l")
            .arg(&page)
            .env("MANPAGER", "cat")
            .env("MANWIDTH", "80"));
        assert!(text.contains("NAME") && text.contains("cairn"), "{text}");
    }
    for script in [
        "bash-completion/completions/cairn",
        "zsh/vendor-completions/_cairn",
        "fish/vendor_completions.d/cairn.fish",
    ] {
        let text = fs::read_to_string(root.join("usr/share").join(script)).unwrap();
        assert!(text.contains("CAIRN_COMPLETE"), "{script}");
    }
    let unit = root.join("usr/lib/systemd/system/cairn@.service");
    let text = fs::read_to_string(&unit).unwrap();
    assert!(
        text.contains("ExecStart=/usr/bin/cairn mount") && !text.contains("/usr/local"),
        "{text}"
    );
    // systemd looks for the program where this machine may not have it.
    let verified = home.path().join("cairn@test.service");
    fs::write(&verified, text.replace("/usr/bin/cairn", binary())).unwrap();
    let output = Command::new("systemd-analyze").arg("verify").arg(&verified).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !said.contains("cairn@"), "{said}");
    let files = run(Command::new("dpkg-deb").arg("-c").arg(built));
    for line in files.lines() {
        assert!(line.contains(" root/root "), "{line}");
    }
    let mode = fs::metadata(&program).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o755);
    assert!(root.join("usr/share/doc/cairn/copyright").exists());
}
