//! Names for the completion of a command line, from a daemon and from a store that nobody has open.

use cairn::control::names::NamesOf;
use cairn::control::protocol::Request;
use cairn::control::reply::Reply;
use cairn::control::service::Attachment;
use cairn::daemon::service::open_glance;
use cairn::model::name::RepoName;

use crate::world::{World, caller};

fn web() -> RepoName {
    "web".parse().unwrap()
}

/// What is asked, and what it is answered with in the store of [`store`].
fn expected() -> Vec<(NamesOf, &'static str, &'static [&'static str])> {
    vec![
        (NamesOf::Repositories, "", &["web"]),
        (NamesOf::Repositories, "x", &[]),
        (NamesOf::Versions(web()), "", &["v1", "v3", "latest", "3", "1"]),
        (NamesOf::Versions(web()), "v", &["v1", "v3"]),
        (NamesOf::Tags(web()), "", &["v1", "v3"]),
        (NamesOf::Areas(web()), "", &["more", "work"]),
        (NamesOf::Deleted(web()), "", &["2"]),
    ]
}

/// Versions 1 and 3, version 2 deleted, and two areas.
fn store() -> World {
    let world = World::with_repository();
    for name in ["v1", "v2", "v3"] {
        world.publish(name, &[("f", name.as_bytes())]);
    }
    world.delete(&["2"], false).unwrap();
    world.stage("work");
    world.stage("more@1");
    world
}

#[test]
fn a_daemon_lists_names() {
    let world = store();
    for (of, prefix, names) in expected() {
        let request = Request::Names { of: of.clone(), prefix: prefix.to_owned() };
        assert_eq!(world.ask(request).unwrap(), Reply::Names(strings(names)), "{of:?} {prefix}");
    }
    let none = NamesOf::Tags("none".parse().unwrap());
    assert!(world.ask(Request::Names { of: none, prefix: String::new() }).is_err());
}

#[test]
fn names_of_a_store_that_is_not_open_are_read_without_a_lock() {
    let closed = store().close();
    let store = closed.path();
    let before = listing(&store);
    let glance = open_glance(&store).unwrap();
    for (of, prefix, names) in expected() {
        let request = Request::Names { of: of.clone(), prefix: prefix.to_owned() };
        let answer = glance.call(caller(1), request, Attachment::none(), &mut |_| {});
        assert_eq!(answer.unwrap().0, Reply::Names(strings(names)), "{of:?} {prefix}");
    }
    assert_eq!(listing(&store), before, "nothing was made or changed");
    // Whoever opens it now finds it free.
    drop(cairn::store::Store::open(&store).unwrap());
    assert!(open_glance(std::path::Path::new("/nowhere")).is_err());
}

fn strings(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// Names, lengths and times of the files of the store's directory.
fn listing(store: &std::path::Path) -> Vec<(std::ffi::OsString, u64, std::time::SystemTime)> {
    let entries = std::fs::read_dir(store).unwrap().map(Result::unwrap);
    let mut files: Vec<_> = entries
        .map(|entry| {
            let metadata = entry.metadata().unwrap();
            (entry.file_name(), metadata.len(), metadata.modified().unwrap())
        })
        .collect();
    files.sort();
    files
}
