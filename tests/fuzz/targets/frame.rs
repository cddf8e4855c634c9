//! Frames of the control socket.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use cairn::control::frame::{receive, send};

use super::Target;

pub(crate) const TARGET: Target = Target { run, seeds };

/// What a socket takes without a reader.
const BYTES_MAX: usize = 32 * 1024;

pub(crate) fn run(data: &[u8]) {
    let data = &data[..data.len().min(BYTES_MAX)];
    let (mut left, right) = UnixStream::pair().unwrap();
    left.write_all(data).unwrap();
    drop(left);
    let mut understood = Vec::new();
    let ended = loop {
        match receive(&right) {
            Ok(Some(frame)) => {
                for length in [frame.json.len(), frame.payload.len()] {
                    understood.extend(u32::try_from(length).unwrap().to_le_bytes());
                }
                understood.extend(frame.json);
                understood.extend(frame.payload);
                assert!(frame.files.is_empty());
            }
            Ok(None) => break true,
            Err(error) => {
                assert!(!error.to_string().is_empty());
                break false;
            }
        }
    };
    assert!(data.starts_with(&understood));
    assert!(!ended || understood == data);
}

fn seeds() -> Vec<Vec<u8>> {
    let (left, mut right) = UnixStream::pair().unwrap();
    let mut seeds = Vec::new();
    for (json, payload) in [("{}", ""), ("\"status\"", "payload"), ("", ""), ("[1]", "\0\0\0\0")] {
        send(&left, json.as_bytes(), payload.as_bytes(), &[]).unwrap();
        let mut bytes = vec![0; 8 + json.len() + payload.len()];
        right.read_exact(&mut bytes).unwrap();
        seeds.push(bytes);
    }
    seeds.push(seeds.concat());
    seeds
}
