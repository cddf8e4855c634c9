//! What the README tells to type, typed

use std::path::Path;
use std::process::Command;

use crate::toy::{MountDirectories, require_mounting};
use support::cairn::binary;

/// The page whose blocks are run.
const README: &str = include_str!("../../README.md");

/// The blocks of shell commands, each with the heading that it stands under.
fn blocks() -> Vec<(String, String)> {
    let (mut blocks, mut heading, mut block) = (Vec::new(), String::new(), None::<String>);
    for line in README.lines() {
        match &mut block {
            Some(text) if line == "```" => {
                blocks.push((heading.clone(), std::mem::take(text)));
                block = None;
            }
            Some(text) => {
                text.push_str(line);
                text.push('\n');
            }
            None if line == "```sh" => block = Some(String::new()),
            None => {
                if let Some(title) = line.strip_prefix("## ") {
                    title.clone_into(&mut heading);
                }
            }
        }
    }
    blocks
}

/// What `scripts/quickstart` leaves behind, but for the build: the binary where root's programs are,
/// a store in the home directory, mounted. In mount and process namespaces of the script's own, with
/// a layer over the directories that the blocks change, so that all of it ends with the script.
const QUICKSTART: &str = r#"
set -eu
cairn=$1 root=$2
export HOME=$root/home
unset CAIRN_STORE
mkdir "$root/layer" "$HOME"
mount -t tmpfs none "$root/layer"
for directory in /usr/sbin /usr/local/bin; do
    upper=$root/layer/$(basename "$directory")
    mkdir "$upper" "$upper.work"
    mount -t overlay overlay -o "lowerdir=$directory,upperdir=$upper,workdir=$upper.work" "$directory"
done
cp "$cairn" /usr/local/bin/cairn
export PATH=/usr/local/bin:$PATH
mkdir -p "$HOME/cairn/mnt"
# Exit status 1 says that there are differences, as the block is to show.
diff() { command diff "$@" || [ $? -eq 1 ]; }
cairn init "$HOME/cairn/store"
cairn mount "$HOME/cairn/store" "$HOME/cairn/mnt"
"#;

/// What must be so after the blocks.
const AFTER: &str = r#"
fail() { echo "FAILED: $*" >&2; exit 1; }
[ "$(cat "$HOME/restored/versions/tools/2/hello")" = hello ] || fail "the backup has no version 2"
cd /
# Others may have mounts of their own on this machine.
export CAIRN_STORE=$HOME/cairn/store
cairn unmount "$HOME/restored"
[ "$(cairn versions tools --json | grep -o '"number":[0-9]*' | tr -d '\n')" = '"number":2' ] || fail "$(cairn versions tools)"
mkdir "$HOME/other"
mount -t cairn "$HOME/backup" "$HOME/other" || fail "the links for mount(8) do not work"
cairn unmount "$HOME/other"
cairn unmount "$HOME/cairn/mnt"
"#;

#[test]
fn every_block_of_the_readme_runs_as_it_stands() {
    require_mounting();
    let blocks = blocks();
    let titles: Vec<&str> = blocks.iter().map(|(title, _)| title.as_str()).collect();
    assert_eq!(
        titles,
        ["Five minutes", "Keeping and deleting", "Backup", "At boot: fstab, systemd"]
    );
    let mut script = QUICKSTART.to_owned();
    for (title, block) in &blocks {
        // The shell stops at the first command that fails, and the trace names it.
        script.push_str(&format!("echo '== {title}' >&2\nset -x\n{block}set +x\n"));
    }
    script.push_str(AFTER);
    let place = MountDirectories::new();
    let root = place.root().canonicalize().unwrap();
    let output = Command::new("unshare")
        .args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"])
        .args(["bash", "-c", &script, "bash", binary()])
        .arg(&root)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {text}", output.status);
    assert!(text.contains("using the store"), "no command says which store it took: {text}");
    assert!(Path::new("/usr/local/bin").exists());
}
