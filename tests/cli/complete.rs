//! Completion in a real bash: with the store of a daemon, of none, and of one that does not answer.

use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use cairn::control::client::SOCKET_NAME;

use crate::fake::{run, serve};

/// What bash offers at the end of `line`, as a user's shell asks for it, sorted.
fn offered(store: &Path, line: &str) -> Vec<String> {
    let script = r#"
        source <(cairn completions bash)
        read -ra COMP_WORDS <<<"$1"
        [[ $1 == *" " ]] && COMP_WORDS+=("")
        COMP_CWORD=$((${#COMP_WORDS[@]} - 1)) COMP_LINE=$1 COMP_POINT=${#1} COMP_TYPE=9
        complete -p cairn | grep -q _clap_complete_cairn || exit 1
        _clap_complete_cairn cairn "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
        [[ ${#COMPREPLY[@]} -eq 0 ]] || printf '%s\n' "${COMPREPLY[@]}"
    "#;
    let program = Path::new(env!("CARGO_BIN_EXE_cairn"));
    let path = std::env::var("PATH").unwrap();
    let output = Command::new("bash")
        .args(["--norc", "-c", script, "bash", line])
        .env("PATH", format!("{}:{path}", program.parent().unwrap().display()))
        .env("CAIRN_STORE", store)
        .current_dir("/")
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && errors.is_empty(), "{line}: {errors}");
    let mut lines: Vec<String> =
        String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

/// A store without a daemon: two repositories, three versions, two areas, a tag.
fn store(home: &Path) -> std::path::PathBuf {
    let (store, tree) = (home.join("store"), home.join("tree"));
    std::fs::create_dir(&tree).unwrap();
    let line = |args: &[&str]| {
        let output = run(&store, args);
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    line(&["init", store.to_str().unwrap()]);
    line(&["create", "docs"]);
    for number in 1..=3 {
        std::fs::write(tree.join("f"), number.to_string()).unwrap();
        line(&["import", tree.to_str().unwrap(), "web"]);
    }
    line(&["tag", "web/stable", "2"]);
    line(&["stage", "web/next"]);
    line(&["stage", "web/other@1"]);
    store
}

#[test]
fn bash_knows_what_is_in_the_store() {
    let home = tempfile::tempdir().unwrap();
    let store = store(home.path());
    for (line, expected) in [
        ("cairn versions ", &["docs", "web"][..]),
        ("cairn show w", &["web/"]),
        ("cairn show web/", &["web/1", "web/2", "web/3", "web/latest", "web/stable"]),
        ("cairn diff web/1 web/s", &["web/stable"]),
        ("cairn export web/l", &["web/latest"]),
        ("cairn cat web/s", &["web/stable"]),
        ("cairn log w", &["web"]),
        ("cairn commit web/", &["web/next", "web/other"]),
        ("cairn discard web/n", &["web/next"]),
        ("cairn stage web/", &[]),
        ("cairn tag web/s", &["web/stable"]),
        ("cairn tag web/new l", &["latest"]),
        ("cairn delete w", &["web", "web/"]),
        ("cairn undelete web/", &[]),
        ("cairn completions b", &["bash"]),
        ("cairn gc --dry", &["--dry-run"]),
        ("cairn commi", &["commit"]),
    ] {
        assert_eq!(offered(&store, line), expected, "{line}");
    }
    // The store that the line itself names comes before that of the variable.
    let elsewhere = Path::new("/nowhere");
    let named = format!("cairn --store {} show web/s", store.display());
    assert_eq!(offered(elsewhere, &named), ["web/stable"]);
    assert!(offered(elsewhere, "cairn show web/s").is_empty());
}

#[test]
fn a_daemon_is_asked_where_one_runs() {
    let running = serve();
    assert_eq!(offered(running.store.path(), "cairn versions w"), ["web"]);
}

#[test]
fn a_daemon_that_does_not_answer_holds_up_no_shell() {
    let home = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(home.path().join(SOCKET_NAME)).unwrap();
    let began = Instant::now();
    assert!(offered(home.path(), "cairn versions w").is_empty());
    // A command would wait ten seconds for the greeting.
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    drop(listener);
}
