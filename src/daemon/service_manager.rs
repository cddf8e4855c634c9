//! Telling the service manager how the daemon is: the protocol of sd_notify(3).
//!
//! A datagram of `NAME=VALUE` lines to the unix socket that `NOTIFY_SOCKET` names, where `@` stands
//! for the zero byte of an abstract address. Without the variable nobody listens. What cannot be
//! told is logged: the manager then goes by its time limits.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Names the socket. Not for programs that the daemon starts.
pub(super) const VARIABLE: &str = "NOTIFY_SOCKET";

/// The service manager, if one listens.
#[derive(Debug)]
pub(super) struct ServiceManager(Option<(UnixDatagram, SocketAddr)>);

impl ServiceManager {
    /// The one that started this process.
    pub(super) fn from_environment() -> Self {
        let Some(name) = std::env::var_os(VARIABLE).filter(|name| !name.is_empty()) else {
            return Self(None);
        };
        match reach(&name) {
            Ok(found) => Self(Some(found)),
            Err(error) => {
                log::warn!("cannot reach the service manager at {}: {error}", name.display());
                Self(None)
            }
        }
    }

    /// The mount is usable.
    pub(super) fn ready(&self, status: &str) {
        self.tell(&format!("READY=1\nSTATUS={}", one_line(status)));
    }

    /// The daemon has begun to stop.
    pub(super) fn stopping(&self, status: &str) {
        self.tell(&format!("STOPPING=1\nSTATUS={}", one_line(status)));
    }

    fn tell(&self, text: &str) {
        if let Some((socket, address)) = &self.0
            && let Err(error) = socket.send_to_addr(text.as_bytes(), address)
        {
            log::warn!("cannot tell the service manager: {error}");
        }
    }
}

fn reach(name: &OsStr) -> io::Result<(UnixDatagram, SocketAddr)> {
    let address = match name.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(name)?,
    };
    let socket = UnixDatagram::unbound()?;
    // A service manager that does not read its socket must not hold up the daemon.
    socket.set_nonblocking(true)?;
    Ok((socket, address))
}

/// A path may hold anything; a line of the protocol ends at the first newline.
fn one_line(text: &str) -> String {
    text.replace(|character: char| character.is_control(), "?")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_address_are_reached() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let unique = format!("@cairn-test-{}", std::process::id());
        let abstract_name = SocketAddr::from_abstract_name(&unique.as_bytes()[1..]).unwrap();
        let listeners = [
            (path.clone().into_os_string(), UnixDatagram::bind(&path).unwrap()),
            (unique.into(), UnixDatagram::bind_addr(&abstract_name).unwrap()),
        ];
        for (name, listener) in listeners {
            let manager = ServiceManager(Some(reach(&name).unwrap()));
            manager.ready("serving /a\nb");
            manager.stopping("stopping");
            let mut text = [0; 100];
            let length = listener.recv(&mut text).unwrap();
            assert_eq!(&text[..length], b"READY=1\nSTATUS=serving /a?b");
            let length = listener.recv(&mut text).unwrap();
            assert_eq!(&text[..length], b"STOPPING=1\nSTATUS=stopping");
        }
        ServiceManager(None).ready("nobody listens");
    }
}
