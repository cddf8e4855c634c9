//! What a terminal shows while a command works. `script` gives the command one.

use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

/// Longer than anything here takes; a test that waits so long has failed.
const PATIENCE: Duration = Duration::from_secs(120);

/// Small files in the archive: more than one delivery of an import holds.
const FILES: usize = 6000;

/// An archive of files of 1 KiB that all differ.
fn archive() -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for number in 0..FILES {
        let content = format!("{number:0>1024}");
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, format!("f{number}"), content.as_bytes()).unwrap();
    }
    builder.into_inner().unwrap()
}

/// Runs a command of cairn at a terminal until what it prints contains `wanted`, then runs `then`, waits
/// for its end and returns all that it printed.
fn at_terminal(
    line: &str,
    store: &std::path::Path,
    wanted: &[&str],
    then: impl FnOnce(),
) -> String {
    let line = format!("{} {line}", env!("CARGO_BIN_EXE_cairn"));
    let mut child = Command::new("script")
        .args(["-qefc", &line, "/dev/null"])
        .env("CAIRN_STORE", store)
        .env("TERM", "xterm")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(read @ 1..) = stdout.read(&mut buffer) {
            if sender.send(buffer[..read].to_vec()).is_err() {
                return;
            }
        }
    });
    let mut seen = Vec::new();
    let mut then = Some(then);
    let deadline = Instant::now() + PATIENCE;
    loop {
        let text = String::from_utf8_lossy(&seen).into_owned();
        if wanted.iter().all(|wanted| text.contains(wanted))
            && let Some(then) = then.take()
        {
            then();
        }
        match receiver.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(more) => seen.extend(more),
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => break,
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => panic!("{text}"),
        }
    }
    let text = String::from_utf8_lossy(&seen).into_owned();
    assert!(child.wait().unwrap().success(), "{text}");
    assert!(then.is_none(), "{text}");
    text
}

#[test]
fn an_import_shows_its_rate_and_an_archive_in_a_file_its_total() {
    let home = tempfile::tempdir().unwrap();
    let (store, pipe) = (home.path().join("store"), home.path().join("pipe"));
    assert!(crate::fake::run(&store, &["init", store.to_str().unwrap()]).status.success());
    let archive = archive();

    // The last bytes come when the rate was seen: until then the import goes on.
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let (go, wait) = channel::<()>();
    let (bytes, target) = (archive.clone(), pipe.clone());
    let writer = std::thread::spawn(move || {
        let mut pipe = std::fs::OpenOptions::new().write(true).open(target).unwrap();
        let (first, last) = bytes.split_at(bytes.len() - 1024);
        pipe.write_all(first).unwrap();
        wait.recv_timeout(PATIENCE).unwrap();
        pipe.write_all(last).unwrap();
    });
    let line = format!("import - web < {}", pipe.display());
    let text = at_terminal(&line, &store, &["importing: ", "iB/s"], || go.send(()).unwrap());
    writer.join().unwrap();
    assert!(text.contains("6000 files, 5.9 MiB"), "{text}");

    // The pipe has no length. A file has, and an import of it shows how much is left; it may end before
    // a second line is drawn, but not before the first.
    let file = home.path().join("a.tar");
    std::fs::write(&file, &archive).unwrap();
    let line = format!("import {} docs", file.display());
    let text = at_terminal(&line, &store, &["importing: ", " of ", " left"], || ());
    assert!(text.contains("6000 already in the store"), "{text}");
}
