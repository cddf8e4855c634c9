//! Pushes that are signed, and who believes them (D4, H51)

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::json;
use support::Cairn;
use support::cairn::binary;
use support::wait::until;

use crate::edge::Edge;
use crate::shared::{Bucket, files, import, result};

/// SSH keys in a directory.
struct Keys {
    directory: PathBuf,
}

impl Keys {
    fn new(cairn: &Cairn) -> Self {
        let directory = cairn.scratch().join("keys");
        fs::create_dir_all(&directory).unwrap();
        Self { directory }
    }

    /// A new key, with that passphrase.
    fn make(&self, name: &str, kind: &[&str], passphrase: &str) -> PathBuf {
        let file = self.directory.join(name);
        let mut command = Command::new("ssh-keygen");
        command.args(["-q", "-N", passphrase, "-C", name, "-f"]).arg(&file).args(kind);
        let output = command.stdin(Stdio::null()).output().expect("ssh-keygen is there");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        file
    }

    /// A list of those who may sign.
    fn allow(&self, keys: &[&Path]) -> PathBuf {
        let line = |key: &&Path| {
            let key = fs::read_to_string(key.with_extension("pub")).unwrap();
            format!("{} {key}", key.split(' ').next_back().unwrap().trim())
        };
        let path = self.directory.join("allowed_signers");
        fs::write(&path, keys.iter().map(line).collect::<String>()).unwrap();
        path
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn require(cairn: &Cairn, list: &Path) {
    let list = ["--allowed-signers", text(list), "--require-signed"];
    cairn.cli(&[&["remote", "set", "store"], &list[..]].concat());
}

#[test]
fn d4_a_reader_takes_what_an_allowed_key_signed_and_nothing_else() {
    let bucket = Bucket::new();
    let (one, two) = (bucket.store(), bucket.store());
    let keys = Keys::new(&one);
    let alice = keys.make("alice", &["-t", "ed25519"], "");
    let bob = keys.make("bob", &["-t", "ecdsa", "-b", "256"], "");
    let mallory = keys.make("mallory", &["-t", "rsa", "-b", "2048"], "");
    let list = keys.allow(&[&alice, &bob]);
    require(&two, &list);

    let source = one.scratch().join("source");
    files(&source, 1, 3, 1000);
    import(&one, &source, "lib");
    let pushed = result(&one, &["push", "lib", "store", "--sign", text(&alice)]);
    assert_eq!(pushed["numbers"], json!([1]));
    assert_eq!(result(&two, &["pull", "lib", "store"])["numbers"], json!([1]));

    // The key of the settings signs where no other one is named: tags, too.
    one.cli(&["remote", "set", "store", "--sign-key", text(&bob)]);
    assert!(one.cli(&["remote", "show", "store"]).contains("signs with"));
    one.cli(&["tag", "lib/stable", "1"]);
    files(&source, 2, 3, 1000);
    import(&one, &source, "lib");
    one.cli(&["push", "lib", "store"]);
    let pulled = result(&two, &["pull", "lib", "store"]);
    assert_eq!((&pulled["numbers"], &pulled["changed_tags"]), (&json!([2]), &json!(["stable"])));

    // Somebody else publishes: the reader stops there, says who it was, and has all from before.
    files(&source, 3, 3, 1000);
    import(&one, &source, "lib");
    one.cli(&["push", "lib", "store", "--sign", text(&mallory)]);
    let error = two.cli_fails(&["pull", "lib", "store"]);
    assert!(error.contains("not in the file of allowed signers") && error.contains("SHA256:"));
    assert_eq!(two.json(&["versions", "lib"]).as_array().unwrap().len(), 2);
    let found = two.run(&["remote", "fsck", "store"]);
    assert!(!found.status.success());
    assert!(String::from_utf8_lossy(&found.stdout).contains("SHA256:"), "{found:?}");
    // Once that key is allowed, it goes on.
    keys.allow(&[&alice, &bob, &mallory]);
    assert_eq!(result(&two, &["pull", "lib", "store"])["numbers"], json!([3]));
    two.cli(&["remote", "fsck", "store"]);

    // And who does not ask takes everything.
    let three = bucket.store();
    assert_eq!(result(&three, &["pull", "lib", "store"])["numbers"], json!([1, 2, 3]));
}

#[test]
fn d4_where_signatures_are_required_nothing_unsigned_is_published_or_read() {
    let bucket = Bucket::new();
    let (one, two) = (bucket.store(), bucket.store());
    let keys = Keys::new(&one);
    let alice = keys.make("alice", &["-t", "ed25519"], "");
    let mallory = keys.make("mallory", &["-t", "ed25519"], "");
    let list = keys.allow(&[&alice]);
    let error = one.cli_fails(&["remote", "set", "store", "--require-signed"]);
    assert!(error.contains("--allowed-signers"), "{error}");
    let missing = keys.directory.join("missing");
    one.cli_fails(&["remote", "set", "store", "--allowed-signers", text(&missing)]);
    require(&one, &list);

    let source = one.scratch().join("source");
    files(&source, 1, 3, 1000);
    import(&one, &source, "lib");
    let error = one.cli_fails(&["push", "lib", "store"]);
    assert!(error.contains("no key to sign with") && error.contains("--sign KEY"), "{error}");
    let error = one.cli_fails(&["push", "lib", "store", "--sign", text(&mallory)]);
    assert!(error.contains("would not be believed"), "{error}");
    assert_eq!(bucket.events("lib"), 0);

    // A stranger made the repository there before anybody asked for signatures.
    files(&two.scratch().join("source"), 2, 3, 1000);
    import(&two, &two.scratch().join("source"), "tools");
    two.cli(&["push", "tools", "store"]);
    let error = one.cli_fails(&["pull", "tools", "store"]);
    assert!(error.contains("it is not signed"), "{error}");
    assert!(one.cli_fails(&["versions", "tools"]).contains("tools"), "nothing was made of it");

    one.cli(&["remote", "set", "store", "--no-require-signed"]);
    assert_eq!(result(&one, &["pull", "tools", "store"])["numbers"], json!([1]));
    one.cli(&["remote", "set", "store", "--no-allowed-signers", "--no-sign-key"]);
    one.cli(&["push", "lib", "store"]);
}

/// Whoever may write into the bucket cannot have their index believed by a push that signs.
#[test]
fn h51_a_signed_push_uses_nothing_that_a_stranger_left_in_the_bucket() {
    let bucket = Bucket::new();
    let (one, stranger) = (bucket.store(), bucket.store());
    let keys = Keys::new(&one);
    let alice = keys.make("alice", &["-t", "ed25519"], "");
    require(&one, &keys.allow(&[&alice]));
    let source = one.scratch().join("source");
    files(&source, 1, 10, 10_000);
    import(&one, &source, "lib");
    one.cli(&["push", "lib", "store", "--sign", text(&alice)]);
    let before = bucket.content_bytes();

    // The same contents as the next version will have, uploaded by somebody else, and no event says so.
    files(&source, 2, 10, 10_000);
    stranger.cli(&["pull", "lib", "store"]);
    import(&stranger, &source, "lib");
    stranger.cli(&["push", "lib", "store"]);
    fs::remove_file(bucket.path().join("log/lib/0000000000000002")).unwrap();
    let left = bucket.content_bytes();
    assert!(left > before + 100_000, "{before} {left}");
    import(&one, &source, "lib");
    one.cli(&["push", "lib", "store", "--sign", text(&alice)]);
    assert!(bucket.content_bytes() >= left + 100_000, "uploaded again");
    // What a believed version names is used.
    let now = bucket.content_bytes();
    files(&source, 3, 1, 1000);
    import(&one, &source, "lib");
    one.cli(&["push", "lib", "store", "--sign", text(&alice)]);
    assert!(bucket.content_bytes() < now + 50_000);
    let reader = bucket.store();
    require(&reader, &keys.directory.join("allowed_signers"));
    assert_eq!(result(&reader, &["pull", "lib", "store"])["numbers"], json!([1, 2, 3]));
}

#[test]
fn d6_a_collection_signs_what_it_decides() {
    let bucket = Bucket::new();
    let one = bucket.store();
    let keys = Keys::new(&one);
    let alice = keys.make("alice", &["-t", "ed25519"], "");
    require(&one, &keys.allow(&[&alice]));
    let source = one.scratch().join("source");
    files(&source, 1, 3, 1000);
    import(&one, &source, "lib");
    one.cli(&["push", "lib", "store", "--sign", text(&alice)]);
    one.cli(&["remote", "gc", "store", "--dry-run"]);
    one.cli(&["remote", "gc", "store", "--sign", text(&alice)]);
    one.cli(&["remote", "fsck", "store", "--content"]);
}

/// An agent of SSH, which ends with this.
struct Agent {
    process: Child,
    socket: PathBuf,
}

impl Agent {
    fn start(directory: &Path) -> Self {
        let socket = directory.join("agent");
        let mut command = Command::new("ssh-agent");
        command.arg("-D").arg("-a").arg(&socket).stdin(Stdio::null()).stdout(Stdio::null());
        let process = command.spawn().expect("ssh-agent is there");
        let agent = Self { process, socket };
        until("the agent answers", || UnixStream::connect(&agent.socket).is_ok());
        agent
    }

    /// Gives it a key, or takes all from it.
    fn run(&self, arguments: &[&str]) {
        let mut command = Command::new("ssh-add");
        command.args(arguments).env("SSH_AUTH_SOCK", &self.socket).stdin(Stdio::null());
        assert!(command.status().unwrap().success());
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

#[test]
fn d4_a_key_with_a_passphrase_signs_by_the_agent_of_the_caller() {
    let bucket = Bucket::new();
    let one = bucket.mounted();
    let keys = Keys::new(&one);
    let alice = keys.make("alice", &["-t", "ed25519"], "");
    let public = alice.with_extension("pub");
    require(&one, &keys.allow(&[&alice]));
    let agent = Agent::start(&keys.directory);
    agent.run(&["-q", text(&alice)]);
    // From now on nobody has the key without the passphrase but the agent.
    let locked = ["-q", "-p", "-N", "secret", "-P", "", "-f", text(&alice)];
    assert!(Command::new("ssh-keygen").args(locked).status().unwrap().success());

    let source = one.scratch().join("source");
    files(&source, 1, 3, 1000);
    import(&one, &source, "lib");
    let error = one.cli_fails(&["push", "lib", "store", "--sign", text(&alice)]);
    assert!(error.contains("passphrase") && error.contains("ssh-add"), "{error}");
    let push = || {
        let mut command = Command::new(binary());
        command.args(["push", "lib", "store", "--sign"]).arg(&public);
        command.env("CAIRN_STORE", one.store()).env("SSH_AUTH_SOCK", &agent.socket);
        command.stdin(Stdio::null()).output().unwrap()
    };
    let output = push();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    files(&source, 2, 3, 1000);
    import(&one, &source, "lib");
    agent.run(&["-q", "-D"]);
    let output = push();
    assert!(!output.status.success());
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("cannot sign with"), "{error}");
    assert_eq!(bucket.events("lib"), 1);
}

#[test]
fn d4_an_edge_shows_what_an_allowed_key_signed_and_goes_on_when_another_one_is_allowed() {
    let bucket = Bucket::new();
    let one = bucket.store();
    let keys = Keys::new(&one);
    let alice = keys.make("alice", &["-t", "ed25519"], "");
    let bob = keys.make("bob", &["-t", "ed25519"], "");
    let list = keys.allow(&[&alice]);
    let source = one.scratch().join("source");
    let publish = |seed, key: &Path| {
        files(&source, seed, 3, 1000);
        import(&one, &source, "lib");
        one.cli(&["push", "lib", "store", "--sign", text(key)]);
    };
    publish(1, &alice);
    let options = ["--poll", "1h", "--allowed-signers", text(&list), "--require-signed"];
    let mut edge = Edge::start(&bucket, &options);
    edge.refresh();
    publish(2, &bob);
    let refused = edge.cairn.cli_fails(&["refresh", "--wait"]);
    assert!(refused.contains("not in the file of allowed signers"), "{refused}");
    assert_eq!(edge.numbers("lib"), [1].into());
    // What was believed before stays so when its key goes, also after a restart.
    keys.allow(&[&bob]);
    edge.cairn.restart();
    edge.refresh();
    assert_eq!(edge.numbers("lib"), [1, 2].into());
    edge.end();
}
