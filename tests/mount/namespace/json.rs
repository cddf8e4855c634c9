//! `--json` of every command on a small store: one line each, known names, one type for each name, each
//! time in both forms (`docs/json.md`).

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;

use support::http::Site;
use support::{Cairn, schema};

/// Runs commands with `--json`, and remembers which.
struct Runner<'a> {
    cairn: &'a Cairn,
    verbs: BTreeSet<String>,
}

impl Runner<'_> {
    /// Runs a command that must succeed; returns what it printed, which has been checked.
    #[track_caller]
    fn all(&mut self, arguments: &[&str]) -> Vec<Value> {
        let printed = self.cairn.cli(&[arguments, &["--json"]].concat());
        self.verbs.insert(arguments[0].to_owned());
        let documents = schema::documents(arguments[0], &printed);
        assert!(!documents.is_empty(), "{arguments:?} prints nothing");
        documents
    }

    /// [`Runner::all`] of a command that prints one document.
    #[track_caller]
    fn one(&mut self, arguments: &[&str]) -> Value {
        let mut documents = self.all(arguments);
        assert_eq!(documents.len(), 1, "{arguments:?}");
        documents.remove(0)
    }

    /// [`Runner::all`] of a command that prints lines of progress, and then its result.
    #[track_caller]
    fn last(&mut self, arguments: &[&str]) -> Value {
        let mut documents = self.all(arguments);
        let result = documents.pop().unwrap();
        assert!(documents.iter().all(|line| line["type"] == "progress"), "{arguments:?}");
        assert_eq!(result["type"], "result", "{arguments:?}");
        result
    }

    /// Runs a command that must fail; returns the error, which has been checked.
    #[track_caller]
    fn error(&mut self, arguments: &[&str], kind: &str) -> Value {
        let output = self.cairn.run(&[arguments, &["--json"]].concat());
        assert!(output.stdout.is_empty(), "{arguments:?}");
        schema::error(&String::from_utf8_lossy(&output.stderr), kind)
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn every_command_prints_what_the_rules_allow() {
    let cairn = Cairn::start();
    let scratch = cairn.scratch();
    let mut run = Runner { cairn: &cairn, verbs: BTreeSet::new() };
    stores(&mut run, &scratch);
    publish(&mut run, &scratch);
    change(&mut run);
    upkeep(&mut run, &scratch);
    remotes(&mut run);
    profiles(&mut run, &scratch);
    buckets(&mut run, &scratch);
    serve(&mut run);
    errors(&mut run);
    let known: BTreeSet<String> = cairn::cli::command()
        .get_subcommands()
        .map(|verb| verb.get_name().to_owned())
        .filter(|name| name != "help")
        .collect();
    assert_eq!(run.verbs, known, "every command is run here");
}

/// A command that says one thing and goes on until it is stopped.
#[cfg(feature = "net")]
fn serve(run: &mut Runner<'_>) {
    let other = Cairn::unmounted();
    let mut command = std::process::Command::new(support::cairn::binary());
    command.arg("serve").arg(other.store()).args(["--http", "0", "--json"]);
    let mut served = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    let mut output = std::io::BufReader::new(served.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut output, &mut line).unwrap();
    served.kill().unwrap();
    served.wait().unwrap();
    let told = schema::documents("serve", &line).remove(0);
    assert_eq!(told["store"], text(&other.store()));
    run.verbs.insert("serve".to_owned());
}

/// Without the network it only says so.
#[cfg(not(feature = "net"))]
fn serve(run: &mut Runner<'_>) {
    let other = Cairn::unmounted();
    run.error(&["serve", text(&other.store())], "failed");
    run.verbs.insert("serve".to_owned());
}

/// What makes, mounts and unmounts a store, and what needs none.
fn stores(run: &mut Runner<'_>, scratch: &Path) {
    let (store, mnt) = (scratch.join("other store"), scratch.join("other"));
    fs::create_dir(&mnt).unwrap();
    let (store, mnt) = (text(&store), text(&mnt));
    assert_eq!(run.one(&["init", store])["store"], store);
    let mounted = run.one(&["mount", store, mnt]);
    let unmounted = run.one(&["unmount", mnt]);
    assert_eq!(mounted, unmounted);
    assert_eq!((&mounted["store"], &mounted["mount"]), (&store.into(), &mnt.into()));
    assert_eq!(run.one(&["completions", "bash"])["shell"], "bash");
    assert!(run.one(&["man"])["page"].as_str().unwrap().contains("cairn"));
    run.one(&["man", text(&scratch.join("pages"))]);
}

/// Four versions, two of them with a name.
fn publish(run: &mut Runner<'_>, scratch: &Path) {
    let source = scratch.join("source");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("f"), "imported").unwrap();
    assert_eq!(run.one(&["create", "web", "--mode", "750"])["mode"], "0750");
    let area = run.one(&["stage", "web/b1"]);
    let directory = Path::new(area["directory"].as_str().unwrap());
    fs::write(directory.join("f"), "one").unwrap();
    assert_eq!(run.one(&["areas"])[0]["area"], "b1");
    let commit = run.one(&["commit", "web/b1", "-m", "first"]);
    assert_eq!((&commit["changed"], &commit["version"]["number"]), (&true.into(), &1.into()));
    let imported = run.one(&["import", text(&source), "web", "--tag", "b2"]);
    assert_eq!((&imported["changed"], &imported["file_count"]), (&true.into(), &1.into()));
    let again = run.one(&["import", text(&source), "web"]);
    assert_eq!(again["changed"], false);
    run.one(&["stage", "web/gone"]);
    assert_eq!(run.one(&["discard", "web/gone"])["area"], "gone");
    run.one(&["export", "web/1", text(&scratch.join("exported"))]);
    run.one(&["export", "web/1", text(&scratch.join("exported.tar.zst"))]);
    run.one(&["restore", "web/1/f", text(&scratch.join("restored"))]);
}

/// What changes versions and repositories, and what lists them.
fn change(run: &mut Runner<'_>) {
    assert_eq!(run.one(&["list"])[0]["version_count"], 2);
    assert_eq!(run.one(&["versions", "web"])[1]["name"], "b2");
    assert_eq!(run.one(&["show", "web/1"])["message"], "first");
    assert_eq!(run.all(&["diff", "web/1", "web/2"])[0]["change"], "M");
    assert_eq!(run.one(&["diff", "web/1", "web/2", "--stat"])["modified_count"], 1);
    let log = run.all(&["log", "web"]);
    assert_eq!((&log[0]["since"], &log[1]["since"]), (&1.into(), &serde_json::Value::Null));
    assert_eq!(run.one(&["log", "web", "f", "-n", "1"])["change"], "M");
    assert_eq!(run.one(&["find", "web", "f"])["version_ranges"][0]["to"], 2);
    assert_eq!(run.one(&["cat", "web/1/f"])["content"], "one");
    assert_eq!(run.one(&["tag", "web/stable", "2"])["tag"], "stable");
    assert!(run.one(&["tag", "web"]).as_array().unwrap().len() > 1);
    assert_eq!(run.one(&["tag", "--delete", "web/stable"])["tag"], "stable");
    assert_eq!(run.one(&["release", "web/1"])[0]["numbers"][0], 1);
    run.one(&["release", "web/1", "--undo"]);
    assert_eq!(run.one(&["lock", "web/1"])[0]["locked"], true);
    run.one(&["lock", "web/1", "--undo"]);
    assert_eq!(run.one(&["delete", "web/1", "--force"])[0]["numbers"][0], 1);
    assert_eq!(run.one(&["undelete", "web"])[0]["number"], 1);
    // What was deleted is shown before it comes back.
    assert_eq!(run.one(&["du", "web"])["versions"][0]["is_deleted"], true);
    assert_eq!(run.one(&["undelete", "web/1"])[0]["numbers"][0], 1);
    run.one(&["create", "old"]);
    assert_eq!(run.one(&["delete", "old"])[0]["repository_deleted"], true);
    assert_eq!(run.one(&["undelete", "old"])[0]["repository"], "old");
    assert_eq!(run.one(&["wait", "web", "--after", "1"])["number"], 2);
}

/// What others publish.
fn remotes(run: &mut Runner<'_>) {
    let server = Site::of(&[("a", b"12"), ("b", b"3")]).serve();
    let url = server.url("/");
    let added = run.one(&["remote", "add", "origin", "sums", &url]);
    assert_eq!((&added[0]["remote"], &added[0]["kind"]), (&"origin".into(), &"sums".into()));
    assert_eq!(run.one(&["remote", "list"]), added);
    assert_eq!(run.one(&["remote", "show", "origin"]), added);
    assert_eq!(run.one(&["remote", "set", "origin", "--connections", "2"])[0]["connections"], 2);
    assert_eq!(run.one(&["remote", "test", "origin"])["declared_file_count"], 2);
    let planned = run.last(&["sync", "mirrored", "origin", "--mirror", "--dry-run"]);
    assert_eq!(planned["events"][0]["path"], "a");
    let synced = run.last(&["sync", "mirrored", "origin", "--mirror"]);
    assert_eq!(
        (&synced["version"]["number"], &synced["fetched_file_count"]),
        (&1.into(), &2.into())
    );
    let job = run.one(&["sync", "other", "origin", "--detach"])["job"].to_string();
    let waited = run.last(&["wait", "--job", &job]);
    assert_eq!((&waited["type"], &waited["repository"]), (&"result".into(), &"other".into()));
    let jobs = run.one(&["jobs"]);
    assert_eq!((&jobs[2]["state"], &jobs[2]["number"]), (&"done".into(), &1.into()));
    assert_eq!(run.one(&["prefetch", "mirrored"])[0]["present_file_count"], 2);
    assert_eq!(run.one(&["reclaim", "--dry-run"])["reclaimed_content_count"], 0);
    assert_eq!(run.one(&["remote", "remove", "origin"])["remote"], "origin");
}

/// What a command opens of a version.
fn profiles(run: &mut Runner<'_>, scratch: &Path) {
    let file = scratch.join("opened");
    let record = ["profile", "record", "web/1", text(&file), "--json", "--", "true"];
    let recorded = schema::documents("profile", &run.cairn.cli(&record));
    assert_eq!((&recorded[0]["file_count"], &recorded[0]["succeeded"]), (&0.into(), &true.into()));
    assert_eq!(run.one(&["profile", "show", text(&file)])["repository"], "web");
}

/// What goes to a bucket and comes from there.
fn buckets(run: &mut Runner<'_>, scratch: &Path) {
    run.one(&["remote", "add", "shared", "bucket", text(&scratch.join("bucket"))]);
    let pushed = run.last(&["push", "web", "shared"]);
    assert_eq!((&pushed["repository"], &pushed["changed"]), (&"web".into(), &true.into()));
    assert_eq!(run.last(&["pull", "web", "shared"])["changed"], false);
    assert_eq!(run.one(&["remote", "accept", "shared", "web"])["repository"], "web");
    let mut edge = Cairn::edge(text(&scratch.join("bucket")), &scratch.join("cache"));
    edge.set_arguments(&["--repo", "web"]);
    edge.mount();
    let told = schema::documents("refresh", &edge.cli(&["refresh", "--wait", "--json"])).remove(0);
    assert_eq!((&told["chosen"][0], &told["missing_version_count"]), (&"web".into(), &0.into()));
    run.verbs.insert("refresh".to_owned());
    let status = schema::documents("status", &edge.cli(&["status", "--json"])).remove(0);
    assert_eq!(status["edge"]["bucket_id"], told["bucket_id"]);
    let remotes = schema::documents("remote", &edge.cli(&["remote", "list", "--json"])).remove(0);
    assert_eq!(remotes[0]["edge"]["bucket_id"], told["bucket_id"]);
}

/// Retention, quotas, collection, checks, and the store as a whole.
fn upkeep(run: &mut Runner<'_>, scratch: &Path) {
    run.one(&["policy", "web"]);
    let policy = ["policy", "web", "--keep-unreleased", "5", "--keep-within", "1d"];
    let shown = run.one(&[&policy[..], &["--expire-areas", "2d"]].concat());
    assert_eq!(shown["policy"]["keep_within_ms"], 86_400_000);
    run.one(&["stage", "web/open"]);
    assert!(run.one(&["areas", "web"])[0]["expires"].is_string());
    run.one(&["policy", "web", "--clear"]);
    assert!(run.one(&["quota", "web"])["quota_bytes"].is_null());
    // So small that the status tells of it.
    run.one(&["quota", "web", "--bytes", "1"]);
    assert_eq!(run.one(&["gc", "--full", "--dry-run"])["finished"], true);
    run.one(&["gc", "--full", "--wait", "--protect", "0"]);
    assert!(run.one(&["du"])["repositories"][0]["version_count"].is_u64());
    let why = run.one(&["why", "web/1/f"]);
    assert_eq!(why["holders"][0]["paths"][0], "f");
    assert_eq!(run.all(&["fsck", "--full"])[0]["left_count"], 0);
    let backup = run.one(&["backup", text(&scratch.join("backup"))]);
    assert_eq!(backup["left_out_area_count"], 1);
    let status = run.one(&["status"]);
    assert!(status["last_run"]["began"].is_string(), "{status}");
    assert_eq!(status["quotas"][0]["repository"], "web");
    assert_eq!(status["problems"][0]["severity"], "warning");
    run.one(&["quota", "web", "--clear"]);
    assert_eq!(run.one(&["top", "--once"])["now"]["state"], "ok");
    assert_eq!(run.one(&["doctor"])["store"], text(&run.cairn.store()));
}

fn errors(run: &mut Runner<'_>) {
    run.error(&["show", "web/99"], "not_found");
    run.error(&["create", "web"], "failed");
    let usage = run.error(&["import"], "usage");
    assert!(usage["message"].as_str().unwrap().ends_with("<DIR|TAR> <REPO>"), "{usage}");
    let area = run.cairn.staging("web/open");
    let file = fs::File::create(area.join("f")).unwrap();
    let open = run.error(&["commit", "web/open"], "busy");
    assert_eq!(open["detail"]["open_files"][0], "f");
    drop(file);
    run.one(&["stage", "web/stale", "--from", "1"]);
    let stale = run.error(&["commit", "web/stale"], "conflict");
    assert_eq!(stale["detail"]["stale_base"]["between"][0]["number"], 2);
}
