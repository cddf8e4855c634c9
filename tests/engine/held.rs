//! H4: the rows that wait for content, and only those, as a crash would find them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cairn::engine::Then;
use cairn::engine::request::Request;
use cairn::engine::staging::node::Node;
use cairn::engine::staging::state::Child;
use cairn::engine::stop_point::StopPoint;
use cairn::model::id::{AreaId, NodeId};
use cairn::model::kind::FileKind;
use cairn::model::name::EntryName;
use cairn::model::time::Timestamp;
use cairn::store::catalog::NodeData;
use crossbeam_channel::bounded;

use crate::world::World;
use support::random::Random;
use support::wait;

/// What the catalog has of an area: its files by path with the length of their content. Every row
/// must be reachable, and every name must have its node.
fn catalog(world: &World, area: AreaId) -> BTreeMap<String, u64> {
    let flush = |reply| Request::FlushNodes { nodes: BTreeSet::new(), reply };
    world.engine.call(flush).unwrap();
    let (nodes, names) =
        world.engine.query(|reader| Ok((reader.nodes(area)?, reader.names(area)?))).unwrap();
    let nodes: BTreeMap<NodeId, _> = nodes.into_iter().map(|row| (row.id, row)).collect();
    let mut files = BTreeMap::new();
    let mut reached = BTreeSet::from([NodeId(area.0)]);
    let mut queue = vec![(NodeId(area.0), String::new())];
    while let Some((directory, path)) = queue.pop() {
        for (_, name, node) in names.iter().filter(|(parent, ..)| *parent == directory) {
            let Some(node) = *node else { continue };
            let path = format!("{path}/{}", String::from_utf8_lossy(name.as_bytes()));
            let row = nodes.get(&node).unwrap_or_else(|| panic!("{path} has no node"));
            reached.insert(node);
            match row.kind {
                FileKind::Directory => queue.push((node, path)),
                _ => {
                    assert!(row.size == 0 || row.data != NodeData::Empty);
                    files.insert(path, row.size);
                }
            }
        }
    }
    for id in nodes.keys() {
        assert!(reached.contains(id), "{id} cannot be reached: {names:?}");
    }
    files
}

fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

/// A directory by its path.
fn directory(world: &World, area: AreaId, path: &str) -> NodeId {
    path.split('/').filter(|name| !name.is_empty()).fold(NodeId(area.0), |parent, name| {
        world.engine.resolve(parent, name.as_bytes()).unwrap().unwrap()
    })
}

fn names<'a>(world: &World, area: AreaId, path: &'a str) -> (NodeId, EntryName, &'a str) {
    let (parent, name) = split(path);
    (directory(world, area, parent), EntryName::new(name.as_bytes()).unwrap(), name)
}

fn rename(world: &World, area: AreaId, from: &str, to: &str) {
    let ((from, from_name, _), (to, to_name, _)) =
        (names(world, area, from), names(world, area, to));
    let now = Timestamp::now();
    world.engine.staging.change(|state, dirty| {
        state.rename(dirty, (from, &from_name), (to, &to_name), now);
    });
}

fn exchange(world: &World, area: AreaId, first: &str, second: &str) {
    let ((from, from_name, _), (to, to_name, _)) =
        (names(world, area, first), names(world, area, second));
    let now = Timestamp::now();
    world.engine.staging.change(|state, dirty| {
        state.exchange(dirty, (from, &from_name), (to, &to_name), now);
    });
}

fn node(world: &World, area: AreaId, path: &str) -> NodeId {
    let (parent, _, name) = names(world, area, path);
    world.engine.resolve(parent, name.as_bytes()).unwrap().unwrap()
}

/// Has a file or directory synced; the answer comes.
fn sync_file(world: &World, area: AreaId, path: &str) {
    let id = node(world, area, path);
    let content = {
        let state = world.engine.staging.read();
        state.node(id).and_then(Node::content).map(Arc::clone)
    };
    let (send, receive) = bounded(1);
    let then = Then::new(move |result| send.send(result).unwrap());
    match content {
        Some(content) => world.engine.sync_file(content, then),
        None => world.engine.sync_directory(id, then),
    }
    receive.recv_timeout(wait::PATIENCE).expect("the sync is answered").unwrap();
}

/// Files with old content in the catalog; their lengths tell them apart.
fn with_files(files: &[(&str, usize)]) -> (World, AreaId) {
    let world = World::with_repository();
    let area = world.stage("work");
    for (path, length) in files {
        world.write(area, path, &vec![b'o'; *length]);
        world.wait_sealed(area, path);
    }
    world.engine.call(|reply| Request::Flush { reply }).unwrap();
    (world, area)
}

#[track_caller]
fn is(world: &World, area: AreaId, expected: &[(&str, u64)]) {
    let expected: BTreeMap<String, u64> =
        expected.iter().map(|(path, size)| ((*path).to_owned(), *size)).collect();
    assert_eq!(catalog(world, area), expected);
}

#[test]
fn a_replacement_waits_for_its_content_and_nothing_else_does() {
    let (world, area) = with_files(&[("f", 10)]);
    let other = world.stage("other");
    let hold = world.engine.stop_points.hold(StopPoint::SealHashed);
    world.write(area, "new", b"new content");
    rename(&world, area, "new", "f");
    is(&world, area, &[("/f", 10)]);
    world.link(area, "f", "g");
    is(&world, area, &[("/f", 10)]);
    // Names without content, and what others sync, are written.
    directory(&world, area, "");
    world.write(other, "d/x", b"strange");
    sync_file(&world, other, "d/x");
    sync_file(&world, other, "d");
    is(&world, other, &[("/d/x", 7)]);
    drop(hold);
    wait::until("the new content is journalled", || {
        catalog(&world, area) == BTreeMap::from([("/f".to_owned(), 11), ("/g".to_owned(), 11)])
    });
}

#[test]
fn a_chain_of_renames_is_written_as_one() {
    let (world, area) = with_files(&[("b", 20), ("c", 30)]);
    let hold = world.engine.stop_points.hold(StopPoint::SealHashed);
    world.write(area, "a", b"new content");
    rename(&world, area, "a", "b");
    rename(&world, area, "b", "c");
    is(&world, area, &[("/b", 20), ("/c", 30)]);
    // Whoever syncs it has it written as a whole, although the seal does not end.
    sync_file(&world, area, "c");
    is(&world, area, &[("/c", 11)]);
    drop(hold);
}

#[test]
fn exchanged_names_and_directories_wait_together() {
    let (world, area) = with_files(&[("d/x", 10), ("e/y", 20)]);
    let hold = world.engine.stop_points.hold(StopPoint::SealHashed);
    world.write(area, "new", b"new content");
    exchange(&world, area, "new", "d");
    is(&world, area, &[("/d/x", 10), ("/e/y", 20)]);
    // Below what waits: it would be beside the root.
    rename(&world, area, "e", "new/e");
    is(&world, area, &[("/d/x", 10), ("/e/y", 20)]);
    sync_file(&world, area, "new/e/y");
    is(&world, area, &[("/d", 11), ("/new/e/y", 20), ("/new/x", 10)]);
    drop(hold);
}

#[test]
fn a_directory_goes_after_the_names_that_wait_in_it() {
    let (world, area) = with_files(&[("d/new", 10), ("f", 20)]);
    let hold = world.engine.stop_points.hold(StopPoint::SealHashed);
    world.write(area, "d/new", b"new content");
    rename(&world, area, "d/new", "f");
    world.remove(area, "d");
    is(&world, area, &[("/d/new", 10), ("/f", 20)]);
    sync_file(&world, area, "f");
    is(&world, area, &[("/f", 11)]);
    drop(hold);
}

#[test]
fn what_was_deleted_waits_for_nothing() {
    let (world, area) = with_files(&[("f", 10)]);
    let hold = world.engine.stop_points.hold(StopPoint::SealHashed);
    world.write(area, "new", b"new content");
    rename(&world, area, "new", "f");
    world.remove(area, "f");
    is(&world, area, &[]);
    drop(hold);
}

#[test]
fn a_file_that_is_replaced_again_and_again_is_not_left_behind() {
    let (world, area) = with_files(&[("f", 10)]);
    let done = std::sync::atomic::AtomicBool::new(false);
    let done = &done;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0_usize.. {
                if done.load(std::sync::atomic::Ordering::Relaxed) {
                    return;
                }
                world.write(area, "new", &vec![b'n'; 100 + round % 100]);
                rename(&world, area, "new", "f");
                // No faster than the requests of a mount can come.
                let paced = Instant::now() + Duration::from_millis(1);
                while Instant::now() < paced {
                    std::thread::yield_now();
                }
            }
        });
        wait::until("a later content is journalled", || {
            let found = catalog(&world, area);
            let size = found.get("/f").copied();
            assert!(size.is_some_and(|size| size == 10 || size >= 100), "{found:?}");
            size != Some(10)
        });
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

/// One random step among directories and files; files are never empty once they are closed.
fn step(world: &World, area: AreaId, random: &mut Random, files: &mut Vec<String>) {
    const DIRECTORIES: [&str; 4] = ["", "d/", "e/", "d/s/"];
    let name = |random: &mut Random| {
        let directory = random.pick(&DIRECTORIES);
        format!("{directory}{}", random.below(4))
    };
    let exists = |path: &str| {
        let (parent, _, name) = names(world, area, path);
        world.engine.resolve(parent, name.as_bytes()).unwrap().is_some()
    };
    match random.below(6) {
        0 | 1 => {
            let path = name(random);
            let length = 1 + random.below(60_000);
            world.write(area, &path, &vec![b'x'; length]);
            files.push(path);
        }
        2 | 3 => {
            let (from, to) = (name(random), name(random));
            if from != to && exists(&from) {
                rename(world, area, &from, &to);
            }
        }
        4 => {
            let (from, to) = (name(random), name(random));
            if from != to && exists(&from) && exists(&to) {
                exchange(world, area, &from, &to);
            }
        }
        _ => {
            let path = name(random);
            if exists(&path) {
                world.remove(area, &path);
            }
        }
    }
}

#[test]
fn every_moment_is_old_or_new() {
    let (world, area) = with_files(&[("d/s/keep", 1), ("e/keep", 1)]);
    for seed in 1..4 {
        let mut random = Random::new(seed);
        let mut files = Vec::new();
        let mut hold = None;
        for round in 0..120 {
            if round % 7 == 0 {
                hold = match hold.take() {
                    None => Some(world.engine.stop_points.hold(StopPoint::SealHashed)),
                    Some(_) => None,
                };
            }
            step(&world, area, &mut random, &mut files);
            // Nothing in between: no empty file, no name without its node, nothing out of reach.
            for (path, size) in catalog(&world, area) {
                assert!(size > 0, "seed {seed}, round {round}: {path} is empty");
            }
        }
        drop(hold);
        let in_memory = |path: &String| {
            let (parent, _, name) = names(&world, area, path);
            let child = world.engine.staging.read().child(parent, name.as_bytes());
            matches!(child, Some(Child::Node(_)))
        };
        files.sort();
        files.dedup();
        files.retain(in_memory);
        wait::until("all that is there is journalled", || {
            let found = catalog(&world, area);
            files.iter().all(|path| found.contains_key(&format!("/{path}")))
        });
    }
}

fn may_stop(world: &World) -> bool {
    let (sender, answer) = bounded(1);
    world.engine.may_stop(sender);
    answer.recv().unwrap()
}

#[test]
fn what_cannot_be_saved_is_named_and_kept() {
    let (world, area) = with_files(&[("f", 10)]);
    let hold = world.engine.stop_points.hold(StopPoint::SealHashed);
    // Nothing can be made where the area's private files belong.
    let directory = world.engine.layout.area(area);
    std::fs::write(&directory, "in the way").unwrap();
    world.write(area, "new", b"new content");
    rename(&world, area, "new", "f");
    let remaining = world.engine.save().unwrap();
    assert_eq!((remaining.count, remaining.files), (1, vec![["web", "work", "f"].join("/")]));
    assert!(!may_stop(&world));
    is(&world, area, &[("/f", 10)]);
    std::fs::remove_file(&directory).unwrap();
    assert!(may_stop(&world));
    is(&world, area, &[("/f", 11)]);
    drop(hold);
}
