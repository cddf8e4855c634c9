//! The thread that holds the daemon's end of the socket to its guard.
//!
//! Its table of descriptors is its own, and has nothing in it but that end: no other thread, and no program
//! that another thread starts, has a copy, so the end closes when this thread ends. It blocks all
//! signals, since a handler would use descriptors that are not in its table; and it logs nothing, since
//! standard error is not there either. Between two orders it sleeps where a kill reaches it.

use std::fs::File;
use std::io::{self, IoSlice};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crossbeam_channel::{Receiver, Sender, bounded};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use super::PROGRAM;
use super::message::{Charge, Message, Watched};
use crate::fuse::mount::connections::open_abort;
use crate::sys;

/// What this thread is asked to do.
#[derive(Debug)]
pub(super) enum Order {
    /// Open what ends the connection of a mount, say in `opened` whether that went well, and tell the guard
    /// of the mount once `is_ours` says yes, and say so by `opened` again.
    Watch { watched: Watched, opened: Sender<bool>, is_ours: Receiver<bool> },
    /// Tell the guard that it is not needed any more, and end.
    Bye,
}

/// The variable by which a service manager is told of the daemon; not for the guard.
const NOTIFY_SOCKET: &str = "NOTIFY_SOCKET";

/// Starts the thread, and the guard's process from it.
pub(super) fn start(program: &Path, charge: Charge, orders: Receiver<Order>) -> io::Result<Child> {
    let (sender, started) = bounded(1);
    let program = program.to_owned();
    let body = move || {
        let begun = begin(&program, charge);
        let (socket, child) = match begun {
            Ok((socket, child)) => (Ok(socket), Ok(child)),
            Err(error) => (Err(()), Err(error)),
        };
        // Whoever asked waits.
        if sender.send(child).is_ok()
            && let Ok(socket) = socket
        {
            keep(&socket, &orders);
        }
    };
    std::thread::Builder::new().name("guard-keeper".to_owned()).spawn(body)?;
    started.recv().unwrap_or_else(|_| Err(io::Error::other("its thread has ended")))
}

fn begin(program: &PathBuf, charge: Charge) -> io::Result<(UnixStream, Child)> {
    sys::block_signals()?;
    sys::leave_all_descriptors()?;
    // Descriptors 0 to 2, so that nothing else gets these numbers.
    let null = || File::options().read(true).write(true).open("/dev/null");
    let standard = [null()?, null()?, null()?];
    let flags = SocketFlags::CLOEXEC;
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    let ours = UnixStream::from(ours);
    let targets = charge.targets.clone();
    send(&ours, &Message::Charge(charge), None)?;
    let mut command = Command::new(program);
    // Of the targets only the first one is shown: where the store is mounted.
    command.arg0(PROGRAM).args(targets.first()).env_remove(NOTIFY_SOCKET).current_dir("/");
    command.stdin(theirs).stdout(Stdio::null()).stderr(Stdio::null());
    let child = command.spawn()?;
    // These three stay open as long as this thread.
    std::mem::forget(standard);
    Ok((ours, child))
}

fn keep(socket: &UnixStream, orders: &Receiver<Order>) {
    while let Ok(order) = orders.recv() {
        match order {
            Order::Watch { watched, opened, is_ours } => {
                let abort = open_abort(watched.device.1).ok();
                let asked = opened.send(abort.is_some());
                if asked.is_ok() && is_ours.recv() == Ok(true) {
                    // If the guard has ended, that is noticed by whoever waits for it.
                    drop(send(socket, &Message::Watch(watched), abort.as_ref()));
                    opened.send(true).unwrap_or_default();
                }
            }
            Order::Bye => return drop(send(socket, &Message::Bye, None)),
        }
    }
    // Nobody said "bye": the end of the socket is to come with the end of this process, not before.
    loop {
        std::thread::park();
    }
}

fn send(socket: &UnixStream, message: &Message, file: Option<&File>) -> io::Result<()> {
    let text = serde_json::to_vec(message)?;
    let files: Vec<_> = file.iter().map(|file| file.as_fd()).collect();
    sys::send_fds(socket, &[IoSlice::new(&text)], &files).map(drop)
}
