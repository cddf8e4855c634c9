//! A tree goes in and out through both doors of a store: a command that opens it for itself, and a
//! command that asks the daemon over its socket.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;

use cairn::archive::control_sink::{ControlExport, ControlImport};
use cairn::archive::export::{LinkMode, export_directory};
use cairn::archive::import::{DirectoryImport, import_directory};
use cairn::archive::observer::Unobserved;
use cairn::control::client::{Connection, SOCKET_NAME};
use cairn::control::server::Server;
use cairn::daemon::service::{DaemonFacts, StoreService, open_local};
use cairn::engine::Engine;
use cairn::engine::event::NoObserver;
use cairn::model::import::ImportOptions;

use support::{content, tree};

fn make_tree(top: &Path) {
    fs::create_dir_all(top.join("d/deep/er")).unwrap();
    fs::write(top.join("empty"), "").unwrap();
    fs::write(top.join("small"), "small").unwrap();
    fs::write(top.join("d/same"), "small").unwrap();
    fs::write(top.join("d/deep/large"), content::bytes(9, 700_000)).unwrap();
    fs::hard_link(top.join("d/deep/large"), top.join("large-too")).unwrap();
    symlink("d/nowhere", top.join("symlink")).unwrap();
    fs::set_permissions(top.join("small"), fs::Permissions::from_mode(0o4711)).unwrap();
    fs::set_permissions(top.join("d/deep/er"), fs::Permissions::from_mode(0o700)).unwrap();
}

fn import(connection: &mut Connection, top: &Path) -> bool {
    let options = ImportOptions {
        repository: "web".parse().unwrap(),
        create: true,
        mirror: true,
        message: String::new(),
        author: None,
        tag: None,
    };
    let mut sink = ControlImport::begin(connection, options, false).unwrap();
    import_directory(top, DirectoryImport::default(), &mut sink, &mut Unobserved).unwrap();
    sink.into_commit().unwrap().changed
}

fn round_trip(connection: &mut Connection) {
    let home = tempfile::tempdir().unwrap();
    let (source, target) = (home.path().join("source"), home.path().join("target"));
    make_tree(&source);
    assert!(import(connection, &source));
    assert!(!import(connection, &source), "nothing changed");
    let (repository, version) = ("web".parse().unwrap(), "latest".parse().unwrap());
    let mut export = ControlExport::begin(connection, repository, version).unwrap();
    export_directory(&mut export, &target, LinkMode::Copy, &mut |_| {}).unwrap();
    tree::assert_same_below(&source, &target);
}

#[test]
fn a_tree_goes_through_a_store_opened_for_it() {
    let store = tempfile::tempdir().unwrap();
    cairn::store::init(store.path()).unwrap();
    let mut connection = Connection::open(store.path(), open_local).unwrap();
    assert_eq!(connection.daemon_pid(), None);
    round_trip(&mut connection);
    // The engine ends with the service: the store can be opened again.
    drop(connection);
    Connection::open(store.path(), open_local).unwrap();
}

#[test]
fn a_tree_goes_through_the_socket() {
    let store = tempfile::tempdir().unwrap();
    cairn::store::init(store.path()).unwrap();
    let engine = Engine::start(store.path(), Arc::new(NoObserver)).unwrap();
    let service = StoreService::new(Arc::clone(&engine), || {}, DaemonFacts::default());
    let server = Server::start(&store.path().join(SOCKET_NAME), Arc::new(service)).unwrap();
    let mut connection = Connection::open(store.path(), open_local).unwrap();
    assert!(connection.daemon_pid().is_some());
    round_trip(&mut connection);
    drop(connection);
    server.stop();
    engine.stop().unwrap();
}
