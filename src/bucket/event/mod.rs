//! Events: what a log is made of.
//!
//! All integers are little-endian. `n` bytes after a length are written `2+n` or `4+n`, by the width of the length.
//!
//! ```text
//!  0  4    magic "cEVT"
//!  4  1    format version: 1
//!  5  1    zero
//!  6  2    kind
//!  8 16    id of the bucket
//! 24  8    number in the log, from 1
//! 32 32    BLAKE3 of the whole event before; zeros in the first
//! 64 16    nonce
//! 80  8    time, seconds (signed)
//! 88  4    time, nanoseconds
//! 92  2+n  name of the repository; empty in the bucket's own log
//!     4+n  payload, by kind: see [`Payload`]
//!     4+n  signature of all bytes before its length, as `ssh-keygen -Y sign` writes it; empty when there is none
//! ```
//!
//! The time is for people to read: order is by number (H53). The nonce is drawn once for what is to be published, and
//! stays the same over all tries (H45). An event that is published never changes, and one that cannot be read ends the
//! reading of its log.

mod payload;

pub use payload::{Commit, Payload, TagChange};

use super::fields::{Fields, FormatError, put_length};
use super::key::{LogName, Nonce, Seq};
use crate::model::hash::ObjectHash;
use crate::model::name::RepoName;
use crate::model::time::Timestamp;

/// Bytes of an event at most. What is larger is an object of its own.
pub const EVENT_BYTES_MAX: usize = 1 << 20;

/// Bytes of a signature at most.
pub const SIGNATURE_BYTES_MAX: usize = 16 << 10;

const MAGIC: [u8; 4] = *b"cEVT";
const FORMAT_VERSION: u8 = 1;
const OBJECT: &str = "event";

/// Id of a bucket, drawn when it is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BucketId(pub Nonce);

impl std::fmt::Display for BucketId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// One event of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The bucket that it belongs to, so that an event of another bucket is not taken for one of this.
    pub bucket: BucketId,
    /// The log that it belongs to.
    pub log: LogName,
    /// Its number.
    pub seq: Seq,
    /// Hash of the event before it; zeros in the first.
    pub before: ObjectHash,
    /// Names what was to be published, over all tries.
    pub nonce: Nonce,
    /// When its author made it, by their clock.
    pub time: Timestamp,
    /// What happened.
    pub payload: Payload,
    /// Signature of what is before it; empty when there is none.
    pub signature: Vec<u8>,
}

impl Event {
    /// The bytes that a signature signs: all but the signature.
    pub fn signed_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(256);
        out.extend_from_slice(&MAGIC);
        out.push(FORMAT_VERSION);
        out.push(0);
        out.extend_from_slice(&self.payload.code().to_le_bytes());
        out.extend_from_slice(self.bucket.0.as_bytes());
        out.extend_from_slice(&self.seq.get().to_le_bytes());
        out.extend_from_slice(self.before.as_bytes());
        out.extend_from_slice(self.nonce.as_bytes());
        out.extend_from_slice(&self.time.seconds.to_le_bytes());
        out.extend_from_slice(&self.time.nanoseconds.to_le_bytes());
        match &self.log {
            LogName::Bucket => put_text(&mut out, ""),
            LogName::Repository(name) => put_text(&mut out, name.as_str()),
        }
        let payload = self.payload.encode();
        put_length(&mut out, payload.len());
        out.extend_from_slice(&payload);
        out
    }

    /// The whole event.
    ///
    /// # Errors
    /// When it has more than [`EVENT_BYTES_MAX`] bytes, or its signature more than [`SIGNATURE_BYTES_MAX`].
    pub fn encode(&self) -> Result<Vec<u8>, FormatError> {
        let mut out = self.signed_bytes();
        put_length(&mut out, self.signature.len());
        out.extend_from_slice(&self.signature);
        if out.len() > EVENT_BYTES_MAX || self.signature.len() > SIGNATURE_BYTES_MAX {
            let length = out.len();
            let rule = format!(
                "it would have {length} bytes, {EVENT_BYTES_MAX} at most: shorten the message of the version"
            );
            return Err(FormatError::new(OBJECT, rule));
        }
        Ok(out)
    }

    /// Reads an event. Nothing of it is believed: names are checked as local ones are, and lengths before they count.
    ///
    /// # Errors
    /// The rule that the bytes break.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let mut fields = Fields::new(OBJECT, bytes);
        if bytes.len() > EVENT_BYTES_MAX {
            return Err(fields.refuse("it is too long"));
        }
        fields.head(MAGIC, FORMAT_VERSION)?;
        if fields.u8()? != 0 {
            return Err(fields.refuse("a reserved byte is set"));
        }
        let code = fields.u16()?;
        let bucket = BucketId(Nonce::from_bytes(fields.array()?));
        let seq = Seq::new(fields.u64()?).filter(|seq| *seq > Seq::NONE);
        let seq = seq.ok_or_else(|| fields.refuse("its number is none"))?;
        let before = ObjectHash::from_bytes(fields.array()?);
        let nonce = Nonce::from_bytes(fields.array()?);
        let time = read_time(&mut fields)?;
        let log = match text(&mut fields)? {
            "" => LogName::Bucket,
            name => LogName::Repository(
                RepoName::new(name.as_bytes()).map_err(|e| fields.refuse(e.to_string()))?,
            ),
        };
        let payload = Payload::decode(code, long_bytes(&mut fields)?)?;
        let signature = long_bytes(&mut fields)?;
        if signature.len() > SIGNATURE_BYTES_MAX {
            return Err(fields.refuse("its signature is too long"));
        }
        fields.end()?;
        let signature = signature.to_vec();
        Ok(Self { bucket, log, seq, before, nonce, time, payload, signature })
    }
}

/// Bytes with their length in 32 bits before them.
fn long_bytes<'a>(fields: &mut Fields<'a>) -> Result<&'a [u8], FormatError> {
    let length = fields.u32()?;
    fields.records(length, 1)
}

/// A text with its length in 16 bits before it.
fn text<'a>(fields: &mut Fields<'a>) -> Result<&'a str, FormatError> {
    let length = fields.u16()?;
    let bytes = fields.take(usize::from(length))?;
    std::str::from_utf8(bytes).map_err(|_| fields.refuse("a text is not UTF-8"))
}

/// Appends a text as [`text`] reads it.
fn put_text(out: &mut Vec<u8>, text: &str) {
    let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
    assert_eq!(usize::from(length), text.len(), "names and authors in events have a bound");
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn read_time(fields: &mut Fields<'_>) -> Result<Timestamp, FormatError> {
    let seconds = i64::from_le_bytes(fields.array()?);
    let nanoseconds = fields.u32()?;
    Timestamp::new(seconds, nanoseconds).ok_or_else(|| fields.refuse("a time is out of range"))
}

#[cfg(test)]
mod tests;
