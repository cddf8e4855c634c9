//! `fusermount3`, the set-uid program by which users mount.
//!
//! Its protocol: the environment variable `_FUSE_COMMFD` names one end of a socket pair, over
//! which it sends the opened `/dev/fuse` (SCM_RIGHTS, with one byte of data) once the mount is
//! made. On failure it prints a message and closes the socket. Our end is passed as its standard
//! input, so that no descriptor has to be made inheritable in this process, where another thread
//! could start a program at the same moment.
//!
//! Source: libfuse, util/fusermount.c (`send_fd`, `main`).

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::io::Errno;

use super::error::MountError;
use super::options::MountOptions;
use crate::sys;

/// The program; found by PATH, and where Debian and Fedora have it.
const PROGRAMS: [&str; 3] = ["fusermount3", "/usr/bin/fusermount3", "/bin/fusermount3"];

/// Mounts on `target` and returns the connection.
pub(super) fn mount(
    target: &Path,
    source: &OsStr,
    options: &MountOptions,
) -> Result<OwnedFd, MountError> {
    let (ours, theirs) = UnixStream::pair().map_err(|error| examine(target, error))?;
    let list = option_list(source, options);
    let theirs = OwnedFd::from(theirs);
    let mut program = start(|command| {
        let stdin = theirs.try_clone()?;
        command
            .args([OsStr::new("-o"), &list, OsStr::new("--")])
            .arg(target)
            .env("_FUSE_COMMFD", "0")
            .stdin(stdin)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
    })?;
    // Our copy is closed here, so the socket ends when the program does.
    drop(theirs);
    let received = receive(&ours);
    drop(ours);
    let stderr = program.stderr.take().map(io::read_to_string);
    let status = program.wait().map_err(|error| examine(target, error))?;
    match received {
        Ok(Some(device)) if status.success() => Ok(device),
        Err(error) => Err(examine(target, error)),
        Ok(_) => {
            let text = stderr.and_then(Result::ok).unwrap_or_default();
            Err(refused("mount on", target, &text))
        }
    }
}

/// Unmounts `target`; `lazy` detaches it although it is in use.
pub(super) fn unmount(target: &Path, lazy: bool) -> Result<(), MountError> {
    let output = start(|command| {
        command.arg(if lazy { "-uz" } else { "-u" }).arg("--").arg(target);
        command.stdin(Stdio::null()).output()
    })?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    if text.contains("resource busy") {
        return Err(MountError::Unmount { target: target.to_owned(), source: Errno::BUSY.into() });
    }
    Err(refused("unmount", target, &text))
}

/// Runs `use_command` with the first of [`PROGRAMS`] that exists.
fn start<T>(mut use_command: impl FnMut(&mut Command) -> io::Result<T>) -> Result<T, MountError> {
    for program in PROGRAMS {
        let mut command = Command::new(program);
        // Its messages are read below.
        command.env("LC_ALL", "C").current_dir("/");
        match use_command(&mut command) {
            // EACCES says that this user may not run the program, or that it was not found and one
            // directory of PATH may not be searched.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied
                ) => {}
            Err(error) => return Err(examine(Path::new(program), error)),
            Ok(result) => return Ok(result),
        }
    }
    Err(MountError::NoHelper)
}

fn examine(path: &Path, source: io::Error) -> MountError {
    MountError::Examine { action: "run fusermount3 for", path: path.to_owned(), source }
}

fn refused(action: &'static str, target: &Path, text: &str) -> MountError {
    if text.contains("user_allow_other") {
        return MountError::AllowOther;
    }
    if text.contains("device not found") {
        return MountError::NoDevice;
    }
    if text.contains("open /dev/fuse: Permission denied") {
        return MountError::Device(Errno::ACCESS.into());
    }
    let message = text.trim().trim_start_matches("fusermount3: ").replace('\n', "; ");
    let message = if message.is_empty() { "it gave no reason".to_owned() } else { message };
    MountError::Helper { action, target: target.to_owned(), message }
}

/// The `-o` list. Commas and backslashes of the source are escaped by a backslash, as
/// fusermount's `get_string_opt` reads them.
fn option_list(source: &OsStr, options: &MountOptions) -> OsString {
    let mut list = b"fsname=".to_vec();
    for &byte in source.as_bytes() {
        if matches!(byte, b'\\' | b',') {
            list.push(b'\\');
        }
        list.push(byte);
    }
    list.extend_from_slice(b",subtype=cairn");
    for (set, name) in [
        (options.read_only, ",ro"),
        (!options.dev, ",nodev"),
        (!options.suid, ",nosuid"),
        (options.dev, ",dev"),
        (options.suid, ",suid"),
        (options.noexec, ",noexec"),
        (options.noatime, ",noatime"),
    ] {
        if set {
            list.extend_from_slice(name.as_bytes());
        }
    }
    list.extend_from_slice(options.fuse_data().as_bytes());
    OsString::from_vec(list)
}

/// Receives the descriptor; none when the program ended without sending one.
fn receive(socket: &UnixStream) -> io::Result<Option<OwnedFd>> {
    let (_, descriptors) = sys::recv_fds(socket, &mut [0])?;
    Ok(descriptors.into_iter().next())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_source_is_escaped() {
        let options = "allow_other,ro".parse().unwrap();
        assert_eq!(
            option_list(OsStr::new("/a,b\\c"), &options),
            "fsname=/a\\,b\\\\c,subtype=cairn,ro,nodev,nosuid,default_permissions,allow_other"
        );
    }

    #[test]
    fn its_messages_are_read() {
        let target = Path::new("/m");
        let text = "fusermount3: option allow_other only allowed if 'user_allow_other' is set in /etc/fuse.conf\n";
        assert!(matches!(refused("mount on", target, text), MountError::AllowOther));
        let text = "fusermount3: failed to open /dev/fuse: Permission denied\n";
        assert!(matches!(refused("mount on", target, text), MountError::Device(_)));
        let text = "fusermount3: fuse device not found, try 'modprobe fuse' first\n";
        assert!(matches!(refused("mount on", target, text), MountError::NoDevice));
        let text = "fusermount3: mount failed: Operation not permitted\n";
        let message = refused("mount on", target, text).to_string();
        assert_eq!(
            message,
            "fusermount3 cannot mount on /m: mount failed: Operation not permitted"
        );
    }
}
