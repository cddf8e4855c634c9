//! Catalogs with wrong rows, and catalogs with wrong bytes: whatever can be opened is checked,
//! read, changed, collected and repaired, or refuses that with an error.

use std::path::Path;
use std::sync::Arc;

use cairn::control::protocol::Request;
use cairn::control::service::{Attachment, Service};
use cairn::daemon::service::{DaemonFacts, StoreService};
use cairn::engine::Engine;
use cairn::engine::event::NoObserver;
use cairn::engine::fsck::{Options, bare, steps};
use cairn::store::Store;
use cairn::store::catalog::TABLES;
use cairn::store::layout::Layout;
use rusqlite::types::Value;

use super::input::Input;
use super::{Target, message, store};
use crate::world::caller;

pub(crate) const TARGET: Target = Target { run, seeds };

pub(crate) fn run(data: &[u8]) {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("store");
    store::write(&path);
    let mut input = Input::new(data);
    if input.byte() < 0xe0 {
        damage_rows(&Layout::new(&path).catalog(), &mut input);
    } else {
        damage_bytes(&Layout::new(&path).catalog(), &mut input);
    }
    check(&path, false);
    use_it(&path);
    check(&path, true);
    use_it(&path);
}

/// Looks at all of it as it lies there, and repairs what can be.
fn check(path: &Path, repair: bool) {
    let Ok(mut store) = Store::open(path) else { return };
    let mut findings = Vec::new();
    let options = Options { full: true, files: true };
    let checked =
        bare::check(&mut store, options, &mut |finding| findings.push(finding), &mut |_, _, _| {});
    for finding in &findings {
        assert!(!finding.to_string().is_empty());
        let _paths = finding.losses();
    }
    if repair && checked.is_ok() {
        for step in findings.iter().flat_map(steps) {
            let _done = bare::repair(&mut store, &step);
        }
        let _durable = bare::finish(&store);
    }
}

/// Does everything that a daemon without a mount does.
fn use_it(path: &Path) {
    let Ok(engine) = Engine::start(path, Arc::new(NoObserver)) else { return };
    let service = StoreService::new(Arc::clone(&engine), || {}, DaemonFacts::default());
    let areas: Vec<_> = engine
        .registry
        .all()
        .iter()
        .flat_map(|r| r.areas.values().copied().collect::<Vec<_>>())
        .collect();
    for area in areas {
        let _loaded = engine.load_area(area);
    }
    for request in message::requests() {
        if !matches!(request, Request::CreateRepository { .. }) {
            let attachment = Attachment::of_payload(b"data".to_vec());
            let _answer = service.call(caller(1), request, attachment, &mut |_| {});
        }
    }
    service.disconnected(caller(1).connection);
    drop(service);
    let _stopped = engine.stop();
}

/// Puts other values into some columns. The types that the schema asks for do not hold: a disk
/// that fails does not ask either.
fn damage_rows(catalog: &Path, input: &mut Input<'_>) {
    let connection = rusqlite::Connection::open(catalog).unwrap();
    connection.pragma_update(None, "ignore_check_constraints", true).unwrap();
    connection.pragma_update(None, "writable_schema", true).unwrap();
    let edit =
        "UPDATE sqlite_schema SET sql = replace(replace(sql, ') STRICT, ', ') '), ') STRICT', ')')";
    connection.execute(edit, []).unwrap();
    drop(connection);
    let connection = rusqlite::Connection::open(catalog).unwrap();
    connection.pragma_update(None, "ignore_check_constraints", true).unwrap();
    for _ in 0..=input.below(3) {
        // A unique index or NOT NULL may refuse it.
        let _changed = damage_row(&connection, input);
    }
    connection.close().unwrap();
}

fn damage_row(connection: &rusqlite::Connection, input: &mut Input<'_>) -> rusqlite::Result<()> {
    let table = TABLES[input.below(TABLES.len())];
    let mut statement = connection.prepare(&format!("SELECT * FROM {table}"))?;
    let columns: Vec<String> = statement.column_names().map(str::to_owned).collect();
    let mut rows = statement.query([])?;
    let mut values: Vec<Vec<Value>> = Vec::new();
    while let Some(row) = rows.next()? {
        values.push((0..columns.len()).map(|column| row.get_unwrap(column)).collect());
    }
    drop(rows);
    if values.is_empty() {
        return Ok(());
    }
    let row = &values[input.below(values.len())];
    let same: Vec<String> =
        columns.iter().zip(1..).map(|(name, index)| format!("{name} IS ?{index}")).collect();
    let same = same.join(" AND ");
    if input.byte() < 0x10 {
        let delete = format!("DELETE FROM {table} WHERE {same}");
        connection.execute(&delete, rusqlite::params_from_iter(row))?;
        return Ok(());
    }
    let column = input.below(columns.len());
    let other = &values[input.below(values.len())];
    let value = damaged(&row[column], &other[input.below(columns.len())], input);
    let update =
        format!("UPDATE {table} SET {} = ?{} WHERE {same}", columns[column], columns.len() + 1);
    connection.execute(&update, rusqlite::params_from_iter(row.iter().chain([&value])))?;
    Ok(())
}

fn damaged(value: &Value, other: &Value, input: &mut Input<'_>) -> Value {
    let edges = [0, 1, -1, 2, 3, 255, 65536, 1 << 32, 1_000_000_000, i64::MAX, i64::MIN];
    match input.below(8) {
        0 => Value::Null,
        1 | 2 => Value::Integer(edges[input.below(edges.len())]),
        3 => Value::Text(String::from_utf8_lossy(input.take(12)).into_owned()),
        4 => other.clone(),
        5 => Value::Real(1e300),
        _ => match value {
            Value::Integer(number) => {
                Value::Integer(number.wrapping_add(i64::from(input.byte()) - 128))
            }
            Value::Blob(bytes) if !bytes.is_empty() => {
                let mut bytes = bytes.clone();
                let at = input.below(bytes.len());
                bytes[at] ^= input.byte();
                bytes.truncate(bytes.len() - usize::from(input.byte() & 1));
                Value::Blob(bytes)
            }
            Value::Text(text) => {
                Value::Text(format!("{text}{}", String::from_utf8_lossy(input.take(2))))
            }
            _ => Value::Blob(input.take(32).to_vec()),
        },
    }
}

fn damage_bytes(catalog: &Path, input: &mut Input<'_>) {
    let mut bytes = std::fs::read(catalog).unwrap();
    for _ in 0..=input.below(8) {
        let at = (usize::from(input.short()) * 16 + input.below(16)) % bytes.len();
        bytes[at] = input.byte();
    }
    std::fs::write(catalog, bytes).unwrap();
}

/// Random decisions: any bytes are some damage.
fn seeds() -> Vec<Vec<u8>> {
    let mut stream = blake3::Hasher::new().finalize_xof();
    (0..12)
        .map(|_| {
            let mut bytes = vec![0; 40];
            stream.fill(&mut bytes);
            bytes
        })
        .collect()
}
