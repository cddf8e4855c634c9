//! A store of the first schema is opened by this release, and the migration is interrupted

use std::fs;
use std::path::Path;

use rusqlite::Connection;

use crate::step::spread;
use support::tree::{self, Tree};
use support::{Cairn, content, fsck, wait};

const FAULT: &str = "CAIRN_FAULT";
const FIRST_SCHEMA: &str = include_str!("../../src/store/catalog/migration_1.sql");

/// A store that the first release could have left, and what is in it.
struct Old {
    cairn: Cairn,
    version: Tree,
    area: Tree,
}

impl Old {
    fn new() -> Self {
        let mut cairn = Cairn::start();
        for number in [1_u64, 2] {
            let area = cairn.area("lib", &format!("v{number}"));
            fs::create_dir(area.join("d")).unwrap();
            fs::write(area.join("d/f"), content::bytes(number, 300_000)).unwrap();
            fs::write(area.join("same"), "same").unwrap();
            cairn.publish("lib", &format!("v{number}")).unwrap();
        }
        std::os::unix::fs::symlink("1", cairn.tags("lib/kept")).unwrap();
        let area = cairn.area("lib", "open@latest");
        fs::write(area.join("new"), content::bytes(3, 2_000_000)).unwrap();
        fs::write(area.join("same"), "changed").unwrap();
        let version = tree::read(&cairn.versions("lib/1"));
        let area = tree::read(&area);
        cairn.stop();
        take_back_to_first(&cairn.store().join("catalog.db"));
        Self { cairn, version, area }
    }

    /// All of it is there, in the schema of this release, and what came with that works.
    fn check(mut self) {
        self.cairn.set_env(FAULT, None);
        self.cairn.mount();
        let same = |expected: &Tree, place: &Path| {
            let lines = tree::differences(expected, &tree::read(place));
            assert!(lines.is_empty(), "{} differs:\n{}", place.display(), lines.join("\n"));
        };
        same(&self.version, &self.cairn.tags("lib/kept").canonicalize().unwrap());
        same(&self.area, &self.cairn.staging("lib/open@latest"));
        self.cairn.cli(&["policy", "lib", "--keep-unreleased", "9"]);
        self.cairn.cli(&["quota", "lib", "--bytes", "1G"]);
        self.cairn.publish("lib", "open@latest").unwrap();
        self.cairn.cli(&["delete", "lib/2"]);
        self.cairn.cli(&["undelete", "lib/2"]);
        self.cairn.stop();
        fsck::check_clean_store(&self.cairn.store());
    }
}

/// Writes the rows of a catalog into one of the first schema.
fn take_back_to_first(catalog: &Path) {
    let old = catalog.with_extension("old");
    let connection = Connection::open(&old).unwrap();
    let text = |sql: &str| -> String { connection.query_row(sql, [], |row| row.get(0)).unwrap() };
    connection.execute_batch("PRAGMA page_size = 4096; PRAGMA journal_mode = WAL").unwrap();
    connection.execute_batch(FIRST_SCHEMA).unwrap();
    connection.execute_batch(&format!("ATTACH '{}' AS new", catalog.display())).unwrap();
    let id: i64 = connection.query_row("PRAGMA new.application_id", [], |row| row.get(0)).unwrap();
    let tables = text("SELECT group_concat(name) FROM sqlite_schema WHERE type = 'table'");
    for table in tables.split(',').filter(|name| !name.starts_with("sqlite_")) {
        let columns = text(&format!("SELECT group_concat(name) FROM pragma_table_info('{table}')"));
        // One column has another name by now.
        let found = columns.replace("damaged", "state");
        let copy = format!("INSERT INTO main.{table}({columns}) SELECT {found} FROM new.{table}");
        connection.execute_batch(&copy).unwrap();
    }
    connection
        .execute_batch(&format!(
            "DELETE FROM meta WHERE key = 'totals'; DETACH new; PRAGMA application_id = {id}; PRAGMA user_version = 1;
             PRAGMA wal_checkpoint(TRUNCATE)"
        ))
        .unwrap();
    drop(connection);
    fs::rename(&old, catalog).unwrap();
    for suffix in ["-wal", "-shm"] {
        fs::remove_file(format!("{}{suffix}", catalog.display())).ok();
    }
}

/// The steps of an open that migrates.
fn steps() -> Vec<usize> {
    let mut old = Old::new();
    let record = old.cairn.scratch().join("steps");
    old.cairn.set_env(FAULT, Some(&format!("count:{}", record.display())));
    old.cairn.mount();
    old.cairn.kill9_and_unmount();
    let names = fs::read_to_string(&record).unwrap();
    assert!(names.lines().any(|name| name == "catalog migration"), "{names}");
    spread(names.lines().count(), 0)
}

fn opened_with(fault: &str) {
    let mut old = Old::new();
    old.cairn.set_env(FAULT, Some(fault));
    if old.cairn.try_mount().is_none() {
        // The step may come right after the start, or not at all.
        let ended = wait::within(wait::SETTLE / 4, || old.cairn.exit_status().is_some());
        if !ended {
            old.cairn.kill9();
        }
    }
    old.check();
}

#[test]
fn interrupted_or_failing_at_each_step() {
    for step in steps() {
        for fault in ["kill", "kill-after", "eio", "enospc"] {
            opened_with(&format!("{fault}:{step}"));
        }
    }
}
