//! A live control server: requests one after the other, then bytes that are no requests. Whatever
//! came, it answers the next client.

use std::cell::RefCell;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use cairn::control::frame::{receive, send};
use cairn::control::protocol::{Request, ServerMessage};
use cairn::control::server::{Server, decode};
use cairn::daemon::service::{DaemonFacts, StoreService};

use super::{Target, message};
use crate::world::World;

pub(crate) const TARGET: Target = Target { run, seeds };

/// No request takes longer, but for those that wait because they are asked to.
const PATIENCE: Duration = Duration::from_secs(150);

struct Daemon {
    socket: std::path::PathBuf,
    _server: Server,
    world: World,
}

impl Daemon {
    fn start() -> Self {
        let world = World::with_repository();
        world.publish("one", &[("a", b"one"), ("d/b", b"two")]);
        let socket = world.engine.layout.control_socket();
        let engine = Arc::clone(&world.engine);
        let service = StoreService::new(engine, || {}, DaemonFacts::default());
        let _server = Server::start(&socket, Arc::new(service)).unwrap();
        Self { socket, _server, world }
    }

    fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(&self.socket).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        assert!(matches!(answer(&stream), Some(ServerMessage::Hello(_))));
        stream
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _stopped = self.world.engine.stop();
    }
}

thread_local! {
    static DAEMON: RefCell<Option<Daemon>> = const { RefCell::new(None) };
}

pub(crate) fn run(data: &[u8]) {
    DAEMON.with_borrow_mut(|daemon| {
        let daemon = daemon.get_or_insert_with(Daemon::start);
        ask(&daemon.connect(), data);
        let mut raw = daemon.connect();
        // The server may have hung up.
        let _written = raw.write_all(data);
        let _shut = raw.shutdown(Shutdown::Write);
        let _read = raw.read_to_end(&mut Vec::new());
        let last = daemon.connect();
        let status = serde_json::to_vec(&Request::Status).unwrap();
        send(&last, &status, b"", &[]).unwrap();
        assert!(matches!(answer(&last), Some(ServerMessage::Reply(_))));
    });
}

/// Asks each line as a request.
fn ask(stream: &UnixStream, data: &[u8]) {
    for line in data.split(|byte| *byte == b'\n').take(8) {
        if let Ok(Request::Wait { seconds: 1.., .. }) = decode(line) {
            continue;
        }
        send(stream, line, b"data", &[]).unwrap();
        while let Some(ServerMessage::Progress(_)) = answer(stream) {}
    }
}

/// The next message; `None` when the server has hung up.
fn answer(stream: &UnixStream) -> Option<ServerMessage> {
    let frame = receive(stream).unwrap()?;
    Some(serde_json::from_slice(&frame.json).unwrap())
}

/// Single requests, and conversations.
fn seeds() -> Vec<Vec<u8>> {
    let lines: Vec<Vec<u8>> =
        message::requests().iter().map(|request| serde_json::to_vec(request).unwrap()).collect();
    let conversations = lines.windows(5).map(|window| window.join(&b'\n'));
    let mut seeds: Vec<Vec<u8>> = conversations.collect();
    seeds.extend(lines.iter().cloned());
    seeds
}
