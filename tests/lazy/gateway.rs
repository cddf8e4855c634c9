//! A server of S3 behind a line that counts requests, and that tests hold up, cut or spoil.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use support::wait;

use crate::server::Place;

/// What becomes of what passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Line {
    /// It passes.
    Whole,
    /// No answer passes until it is whole again.
    Silent,
    /// Connections end in the middle of an answer.
    Cut,
    /// Large answers have wrong bytes.
    Spoiled,
}

const LINES: [Line; 4] = [Line::Whole, Line::Silent, Line::Cut, Line::Spoiled];

#[derive(Debug, Default)]
struct Shared {
    line: AtomicU8,
    asked: Mutex<Vec<String>>,
}

impl Shared {
    fn line(&self) -> Line {
        LINES[usize::from(self.line.load(Ordering::SeqCst))]
    }
}

/// The server, and the line to it.
pub(crate) struct Gateway {
    pub(crate) place: Place,
    shared: Arc<Shared>,
}

impl Gateway {
    pub(crate) fn start() -> Self {
        let mut place = Place::server();
        let bucket = place.settings.bucket.as_mut().unwrap();
        let endpoint = bucket.endpoint.as_ref().unwrap().to_string();
        let server: SocketAddr =
            endpoint.trim_start_matches("http://").trim_end_matches('/').parse().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        bucket.endpoint = Some(format!("http://{address}").parse().unwrap());
        let shared = Arc::new(Shared::default());
        let of_line = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(server) = TcpStream::connect(server) else { continue };
                pass_both(client, server, &of_line);
            }
        });
        Self { place, shared }
    }

    /// The arguments of `cairn remote add NAME` that name it.
    pub(crate) fn arguments(&self) -> Vec<String> {
        self.place.arguments()
    }

    pub(crate) fn set(&self, line: Line) {
        self.shared.line.store(line as u8, Ordering::SeqCst);
    }

    /// Forgets what was asked so far.
    pub(crate) fn forget(&self) {
        self.shared.asked.lock().unwrap().clear();
    }

    /// The first lines of requests for packs and objects, each with its header `Range`.
    pub(crate) fn asked(&self) -> Vec<String> {
        let asked = self.shared.asked.lock().unwrap();
        let of_content = |line: &&String| line.contains("/packs/") || line.contains("/blobs/");
        asked.iter().filter(of_content).cloned().collect()
    }
}

fn pass_both(client: TcpStream, server: TcpStream, shared: &Arc<Shared>) {
    let (from, to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    let note = Arc::clone(shared);
    thread::spawn(move || {
        pass(from, to, |bytes| {
            if bytes.starts_with(b"GET ") {
                let head = String::from_utf8_lossy(bytes);
                let mut lines = head.lines();
                let first = lines.next().unwrap_or_default().to_owned();
                let range = lines.find(|line| line.to_lowercase().starts_with("range:"));
                note.asked.lock().unwrap().push(first + " " + range.unwrap_or_default());
            }
            true
        });
    });
    let shared = Arc::clone(shared);
    thread::spawn(move || {
        pass(server, client, |bytes| match shared.line() {
            Line::Whole => true,
            Line::Silent => {
                wait::until("the line speaks again", || shared.line() != Line::Silent);
                true
            }
            Line::Cut => false,
            Line::Spoiled => {
                // The head of an answer is shorter.
                bytes.iter_mut().skip(1024).for_each(|byte| *byte ^= 1);
                true
            }
        });
    });
}

/// Passes what comes, until `look` says no or one side ends.
fn pass(mut from: TcpStream, mut to: TcpStream, look: impl Fn(&mut [u8]) -> bool) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let read = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(_) => break,
        };
        if !look(&mut buffer[..read]) || to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    for stream in [from, to] {
        // It may have ended already.
        stream.shutdown(Shutdown::Both).unwrap_or_default();
    }
}
