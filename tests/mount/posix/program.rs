//! Programs that people run in a working directory

use std::fs;
use std::path::Path;
use std::process::Command;

use support::{Area, tree};

#[track_caller]
fn shell(directory: &Path, script: &str) -> String {
    let output = Command::new("bash")
        .args(["-euo", "pipefail", "-c", script])
        .current_dir(directory)
        .output();
    let output = output.unwrap();
    assert!(
        output.status.success(),
        "{script}\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A small tree with every kind of thing that an archive keeps.
fn sample(root: &Path) {
    shell(
        root,
        "mkdir -p src/deep/er empty; \
         for i in $(seq 50); do echo content $i > src/f$i; done; \
         head -c 300000 /dev/urandom > src/deep/er/big; \
         ln src/f1 src/deep/hard; ln -s ../f2 src/deep/soft; ln -s /nowhere dangling; \
         mkfifo src/fifo; chmod 600 src/f3; chmod 4755 src/f4; chown 12:34 src/f5; \
         setfattr -n user.note -v hello src/f6; truncate -s 1M src/sparse; touch src/none; \
         find . -depth -exec touch -h -d '2001-02-03 04:05:06.123456789' {} +; \
         touch -h -d '2002-02-02 02:02:02.222' src/deep/soft src",
    );
}

#[test]
fn rsync_in_and_out_again() {
    let area = Area::new();
    let source = tempfile::tempdir().unwrap();
    sample(source.path());
    let copy = area.directory("copy");
    let sync = format!("rsync -aHAX {}/ {}/", source.path().display(), copy.display());
    shell(area.root(), &sync);
    tree::assert_same_below(source.path(), &copy);
    let compare = sync.replace("-aHAX", "-aHAXn --checksum -i --delete");
    assert_eq!(shell(area.root(), &compare), "");
}

#[test]
fn tar_out_and_in() {
    let area = Area::new();
    let from = area.directory("from");
    sample(&from);
    area.directory("to");
    shell(area.root(), "tar --xattrs -C from -cf all.tar . && tar --xattrs -C to -xpf all.tar");
    tree::assert_same_below(&from, &area.path("to"));
}

#[test]
fn cp_a_makes_an_equal_tree() {
    let area = Area::new();
    let from = area.directory("from");
    sample(&from);
    shell(area.root(), "cp -a from to");
    tree::assert_same_below(&from, &area.path("to"));
}

#[test]
fn sqlite_keeps_a_database() {
    let area = Area::new();
    let path = area.path("data.db");
    for mode in ["delete", "wal"] {
        let connection = rusqlite::Connection::open(&path).unwrap();
        connection.pragma_update(None, "journal_mode", mode).unwrap();
        connection.execute_batch("CREATE TABLE IF NOT EXISTS t(x)").unwrap();
        for value in 0..50 {
            connection.execute("INSERT INTO t VALUES (?1)", [value]).unwrap();
        }
    }
    area.settle(&path);
    let connection = rusqlite::Connection::open(&path).unwrap();
    let count: i64 = connection.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap();
    assert_eq!(count, 100);
}

#[test]
fn a_compiler_builds_out_of_tree() {
    let area = Area::new();
    let source = area.directory("src");
    fs::create_dir(area.path("build")).unwrap();
    for unit in 0..10 {
        let text = format!("int f{unit}(void) {{ return {unit}; }}\n");
        fs::write(source.join(format!("u{unit}.c")), text).unwrap();
    }
    fs::write(
        source.join("main.c"),
        "#include <stdio.h>\nint f7(void);\nint main(void) { printf(\"%d\\n\", f7()); return 0; }\n",
    )
    .unwrap();
    let built = shell(
        &area.path("build"),
        "for c in ../src/*.c; do gcc -c $c -o $(basename $c .c).o; done; \
         ar rc libu.a u*.o; gcc main.o libu.a -o program; ./program",
    );
    assert_eq!(built, "7\n");
}

#[test]
fn sed_in_place_and_shell_redirections() {
    let area = Area::new();
    area.file("f", "one\ntwo\n");
    shell(area.root(), "sed -i s/two/three/ f; echo four >> f; cat < f > g; (cat f; cat g) > h");
    assert_eq!(fs::read_to_string(area.path("g")).unwrap(), "one\nthree\nfour\n");
    assert_eq!(fs::read_to_string(area.path("h")).unwrap().lines().count(), 6);
}
