//! Messages on a unix stream socket.
//!
//! ```text
//! frame   json_bytes     u32, little endian, at most JSON_BYTES_MAX
//!         payload_bytes  u32, little endian, at most PAYLOAD_BYTES_MAX
//!         json           UTF-8, one message of `protocol`
//!         payload        raw bytes that the message refers to
//! files   at most FILES_MAX, as SCM_RIGHTS with the frame's first byte; elsewhere they are dropped
//! ```
//!
//! Whatever arrives is hostile: a length is believed only as far as bytes follow it, and nothing
//! here panics on input. This module does not know what the messages mean.

use std::fs::File;
use std::io::{self, IoSlice, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use crate::sys;

/// The longest JSON of a frame, in bytes.
pub const JSON_BYTES_MAX: usize = 16 << 20;
/// The longest payload of a frame, in bytes.
pub const PAYLOAD_BYTES_MAX: usize = 64 << 20;
/// The most files that travel with a frame.
pub const FILES_MAX: usize = sys::FDS_PER_MESSAGE_MAX;

const HEADER_BYTES: usize = 8;
/// Places that one system call sends from (the kernel's limit is 1024).
const SLICES_MAX: usize = 512;
/// What a claimed length may reserve before any of its bytes has arrived.
const RESERVE_BYTES_MAX: usize = 1 << 20;

/// A frame as received.
#[derive(Debug, Default)]
pub struct Frame {
    /// The message.
    pub json: Vec<u8>,
    /// Raw bytes beside it.
    pub payload: Vec<u8>,
    /// Open files beside it.
    pub files: Vec<File>,
}

/// Why a frame could not be sent or received. The connection is of no further use, except after
/// [`FrameError::JsonTooLong`], [`FrameError::PayloadTooLong`] and [`FrameError::TooManyFiles`]
/// from [`send`], which has sent nothing then.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The socket failed.
    #[error("the control socket failed: {0}")]
    Io(#[from] io::Error),
    /// The peer ended the connection within a frame.
    #[error("the connection ended within a message")]
    Cut,
    /// The JSON is too long.
    #[error("a message of {0} bytes is too long: at most {JSON_BYTES_MAX} are allowed")]
    JsonTooLong(usize),
    /// The payload is too long.
    #[error("a payload of {0} bytes is too long: at most {PAYLOAD_BYTES_MAX} are allowed")]
    PayloadTooLong(usize),
    /// Too many files.
    #[error("more than {FILES_MAX} files came with one message")]
    TooManyFiles,
}

/// Sends one frame.
///
/// # Errors
/// A part exceeds its limit (nothing has been sent), or the socket failed.
pub fn send(
    stream: &UnixStream,
    json: &[u8],
    payload: &[u8],
    files: &[File],
) -> Result<(), FrameError> {
    send_parts(stream, json, &[payload], files)
}

/// [`send`] with a payload that lies in several places: it is sent from there.
///
/// # Errors
/// As those.
pub fn send_parts(
    stream: &UnixStream,
    json: &[u8],
    payload: &[&[u8]],
    files: &[File],
) -> Result<(), FrameError> {
    let json_bytes = checked(json.len(), JSON_BYTES_MAX, FrameError::JsonTooLong)?;
    let payload_len = payload.iter().map(|part| part.len()).sum();
    let payload_bytes = checked(payload_len, PAYLOAD_BYTES_MAX, FrameError::PayloadTooLong)?;
    if files.len() > FILES_MAX {
        return Err(FrameError::TooManyFiles);
    }
    let mut header = [0; HEADER_BYTES];
    header[..4].copy_from_slice(&json_bytes.to_le_bytes());
    header[4..].copy_from_slice(&payload_bytes.to_le_bytes());

    let parts = [&header, json].into_iter().chain(payload.iter().copied());
    let mut parts: Vec<IoSlice<'_>> =
        parts.filter(|part| !part.is_empty()).map(IoSlice::new).collect();
    let mut unsent = &mut parts[..];
    let mut files = files;
    while !unsent.is_empty() {
        let some = unsent.len().min(SLICES_MAX);
        let sent = send_some(stream, &unsent[..some], files)?;
        IoSlice::advance_slices(&mut unsent, sent);
        // They go with the first byte.
        files = &[];
    }
    Ok(())
}

fn checked(len: usize, limit: usize, error: fn(usize) -> FrameError) -> Result<u32, FrameError> {
    if len > limit {
        return Err(error(len));
    }
    u32::try_from(len).map_err(|_| error(len))
}

/// Sends as much of `parts` as the socket takes at once, with `files` on the first byte.
fn send_some(
    stream: &UnixStream,
    parts: &[IoSlice<'_>],
    files: &[File],
) -> Result<usize, FrameError> {
    let borrowed: Vec<BorrowedFd<'_>> = files.iter().map(AsFd::as_fd).collect();
    let sent = sys::send_fds(stream, parts, &borrowed)?;
    if sent == 0 {
        return Err(io::Error::from(io::ErrorKind::WriteZero).into());
    }
    Ok(sent)
}

/// Receives one frame; `None` when the peer ended the connection between frames.
///
/// A read timeout set on the socket bounds each wait within a frame; before a frame's first byte
/// it is ignored, since an idle connection is no fault.
///
/// # Errors
/// The frame breaks a limit, is cut short, or the socket failed.
pub fn receive(stream: &UnixStream) -> Result<Option<Frame>, FrameError> {
    receive_within(stream, JSON_BYTES_MAX, PAYLOAD_BYTES_MAX)
}

/// As [`receive`], with other limits.
///
/// # Errors
/// As those.
pub fn receive_within(
    stream: &UnixStream,
    json_bytes_max: usize,
    payload_bytes_max: usize,
) -> Result<Option<Frame>, FrameError> {
    let mut header = [0; HEADER_BYTES];
    let (received, files) = receive_first(stream, &mut header)?;
    if received == 0 {
        return Ok(None);
    }
    read_exact(stream, &mut header[received..])?;
    let [j0, j1, j2, j3, p0, p1, p2, p3] = header;
    let json_bytes =
        accepted(u32::from_le_bytes([j0, j1, j2, j3]), json_bytes_max, FrameError::JsonTooLong)?;
    let payload_bytes = accepted(
        u32::from_le_bytes([p0, p1, p2, p3]),
        payload_bytes_max,
        FrameError::PayloadTooLong,
    )?;
    Ok(Some(Frame {
        json: read_part(stream, json_bytes)?,
        payload: read_part(stream, payload_bytes)?,
        files,
    }))
}

fn accepted(len: u32, limit: usize, error: fn(usize) -> FrameError) -> Result<usize, FrameError> {
    match usize::try_from(len) {
        Ok(len) if len <= limit => Ok(len),
        Ok(len) => Err(error(len)),
        Err(_) => Err(error(usize::MAX)),
    }
}

/// Waits for a frame's first bytes and the files that come with them.
fn receive_first(
    stream: &UnixStream,
    header: &mut [u8; HEADER_BYTES],
) -> Result<(usize, Vec<File>), FrameError> {
    loop {
        match sys::recv_fds(stream, header) {
            Ok((bytes, files)) => return Ok((bytes, files.into_iter().map(File::from).collect())),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                return Err(FrameError::TooManyFiles);
            }
            Err(error) => return Err(error.into()),
        }
    }
}

fn read_exact(mut stream: &UnixStream, buffer: &mut [u8]) -> Result<(), FrameError> {
    stream.read_exact(buffer).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => FrameError::Cut,
        _ => FrameError::Io(error),
    })
}

fn read_part(stream: &UnixStream, len: usize) -> Result<Vec<u8>, FrameError> {
    let mut part = Vec::with_capacity(len.min(RESERVE_BYTES_MAX));
    let limit = u64::try_from(len).map_err(|_| FrameError::PayloadTooLong(len))?;
    stream.take(limit).read_to_end(&mut part)?;
    if part.len() < len {
        return Err(FrameError::Cut);
    }
    Ok(part)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::{Seek, Write};

    #[test]
    fn files_and_bytes_arrive_together() {
        let (left, right) = UnixStream::pair().unwrap();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"inside").unwrap();
        file.rewind().unwrap();
        send(&left, b"{}", b"payload", &[file]).unwrap();
        send(&left, b"[1]", b"", &[]).unwrap();
        drop(left);
        let mut frame = receive(&right).unwrap().unwrap();
        assert_eq!((&frame.json[..], &frame.payload[..]), (&b"{}"[..], &b"payload"[..]));
        let mut inside = String::new();
        frame.files[0].read_to_string(&mut inside).unwrap();
        assert_eq!(inside, "inside");
        let second = receive(&right).unwrap().unwrap();
        assert_eq!((second.json, second.files.len()), (b"[1]".to_vec(), 0));
        assert!(receive(&right).unwrap().is_none());
    }

    #[test]
    fn frames_longer_than_the_socket_buffer_arrive_whole() {
        let (left, right) = UnixStream::pair().unwrap();
        let payload: Vec<u8> = (0..5_000_000_u32).map(|i| i.to_le_bytes()[0]).collect();
        let expected = payload.clone();
        let sender = std::thread::spawn(move || send(&left, b"{}", &payload, &[]));
        assert_eq!(receive(&right).unwrap().unwrap().payload, expected);
        sender.join().unwrap().unwrap();
    }

    #[test]
    fn a_payload_in_many_places_arrives_as_one() {
        let (left, right) = UnixStream::pair().unwrap();
        let bytes: Vec<u8> = (0..900_000_u32).map(|i| i.to_le_bytes()[1]).collect();
        let mut parts: Vec<&[u8]> = bytes.chunks(601).collect();
        assert!(parts.len() > 2 * SLICES_MAX);
        parts.insert(7, b"");
        std::thread::scope(|scope| {
            scope.spawn(|| send_parts(&left, b"{}", &parts, &[tempfile::tempfile().unwrap()]));
            let frame = receive(&right).unwrap().unwrap();
            assert_eq!((frame.payload == bytes, frame.files.len()), (true, 1));
        });
        let half = vec![0; PAYLOAD_BYTES_MAX / 2 + 1];
        let refused = send_parts(&left, b"{}", &[&half, &half], &[]);
        assert!(matches!(refused, Err(FrameError::PayloadTooLong(_))));
    }

    #[test]
    fn limits_are_kept_on_both_sides() {
        let (mut left, right) = UnixStream::pair().unwrap();
        let long = vec![b' '; JSON_BYTES_MAX + 1];
        assert!(matches!(send(&left, &long, b"", &[]), Err(FrameError::JsonTooLong(_))));
        left.write_all(&[0xff; 8]).unwrap();
        assert!(matches!(receive(&right), Err(FrameError::JsonTooLong(_))));
        left.write_all(&[0, 0, 0, 0, 1, 0, 0, 4]).unwrap();
        assert!(matches!(receive(&right), Err(FrameError::PayloadTooLong(_))));
        let files: Vec<File> = (0..=FILES_MAX).map(|_| tempfile::tempfile().unwrap()).collect();
        assert!(matches!(send(&left, b"", b"", &files), Err(FrameError::TooManyFiles)));
        send(&left, b"", b"", &files[1..]).unwrap();
        assert_eq!(receive(&right).unwrap().unwrap().files.len(), FILES_MAX);
    }

    #[test]
    fn a_claimed_length_reserves_little() {
        let (mut left, right) = UnixStream::pair().unwrap();
        left.write_all(&[0, 0, 0, 0, 0, 0, 0, 4]).unwrap();
        drop(left);
        assert!(matches!(receive(&right), Err(FrameError::Cut)));
    }

    proptest! {
        #[test]
        fn hostile_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let (mut left, right) = UnixStream::pair().unwrap();
            left.write_all(&bytes).unwrap();
            drop(left);
            while let Ok(Some(frame)) = receive(&right) {
                prop_assert!(frame.json.len() <= bytes.len());
            }
        }

        #[test]
        fn cut_frames_are_reported(
            json in proptest::collection::vec(any::<u8>(), 0..50),
            payload in proptest::collection::vec(any::<u8>(), 0..50),
            keep in any::<proptest::sample::Index>(),
        ) {
            let (left, right) = UnixStream::pair().unwrap();
            send(&left, &json, &payload, &[]).unwrap();
            drop(left);
            let mut whole = Vec::new();
            (&right).read_to_end(&mut whole).unwrap();
            let cut = keep.index(whole.len());
            let (mut left, right) = UnixStream::pair().unwrap();
            left.write_all(&whole[..cut]).unwrap();
            drop(left);
            match receive(&right) {
                Ok(None) => prop_assert_eq!(cut, 0),
                Err(FrameError::Cut) => prop_assert!(cut > 0),
                other => prop_assert!(false, "{:?}", other),
            }
        }
    }
}
