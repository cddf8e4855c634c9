//! `cairn.json`: what makes a prefix of an object store a bucket.
//!
//! ```text
//! {"format":1,"id":"32 hexadecimal digits"}
//! ```
//!
//! It is created if it is absent, so that of two who make a bucket at once both get the same one.

use serde::{Deserialize, Serialize};

use super::event::BucketId;
use super::key::{Key, Nonce};
use super::log::Retry;
use super::store::{Created, ObjectStore, StoreError, StoreErrorKind};

const FORMAT: u32 = 1;

/// Bytes of the file at most.
const BYTES_MAX: u64 = 4096;

#[derive(Serialize, Deserialize)]
struct Content {
    format: u32,
    id: String,
}

/// Why there is no bucket to work with.
#[derive(Debug, thiserror::Error)]
pub enum FormatFileError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is none.
    #[error(
        "there is no bucket of cairn (no cairn.json): the first push makes one, or the URL is wrong"
    )]
    Missing,
    /// The file is not as it must be.
    #[error("cairn.json of the bucket is damaged or of something else: {0}")]
    Invalid(String),
    /// It is of another release.
    #[error("the bucket has format {0}, which this release does not know: install a newer one")]
    Newer(u64),
}

/// The id of the bucket; `None` when there is none.
///
/// # Errors
/// The store's, and that the file cannot be understood.
pub fn read_id(store: &dyn ObjectStore) -> Result<Option<BucketId>, FormatFileError> {
    let bytes = store.get_range(&Key::Format.to_string(), 0..BYTES_MAX)?;
    bytes.map(|bytes| parse(&bytes)).transpose()
}

/// The id of the bucket, which is made with `id` if there is none.
///
/// # Errors
/// The store's, and that the file cannot be understood.
pub fn make(
    store: &dyn ObjectStore,
    id: Nonce,
    retry: &Retry,
) -> Result<BucketId, FormatFileError> {
    if let Some(id) = read_id(store)? {
        return Ok(id);
    }
    let content = Content { format: FORMAT, id: id.to_string() };
    let bytes =
        serde_json::to_vec(&content).map_err(|e| FormatFileError::Invalid(e.to_string()))?;
    let mut tries = 0;
    loop {
        match store.create(&Key::Format.to_string(), &bytes) {
            Ok(Created::Done | Created::Occupied) => break,
            Err(error) => {
                tries += 1;
                if error.kind() != StoreErrorKind::Temporary || !retry(tries) {
                    return Err(error.into());
                }
            }
        }
    }
    read_id(store)?.ok_or(FormatFileError::Missing)
}

fn parse(bytes: &[u8]) -> Result<BucketId, FormatFileError> {
    let invalid = |error: String| FormatFileError::Invalid(error);
    let value: serde_json::Value =
        serde_json::from_slice(bytes).map_err(|error| invalid(error.to_string()))?;
    let format = value.get("format").and_then(serde_json::Value::as_u64);
    if let Some(format) = format.filter(|format| *format != u64::from(FORMAT)) {
        return Err(FormatFileError::Newer(format));
    }
    let content: Content =
        serde_json::from_value(value).map_err(|error| invalid(error.to_string()))?;
    let id = content.id.parse().map_err(|error| invalid(format!("{error}")))?;
    Ok(BucketId(id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bucket::memory::{Fault, Memory};
    use crate::bucket::testing::nonce;

    #[test]
    fn h45_of_two_who_make_a_bucket_both_get_the_same() {
        let store = Memory::default();
        assert_eq!(read_id(&store).unwrap(), None);
        let mut faults = vec![Fault::AnswerLost, Fault::Lost, Fault::None];
        let bad = store.with_faults(Box::new(move |_| faults.pop().unwrap_or(Fault::None)));
        assert_eq!(make(&bad, nonce(1), &|_| true).unwrap(), BucketId(nonce(1)));
        assert_eq!(make(&store, nonce(2), &|_| true).unwrap(), BucketId(nonce(1)));
        let text = store.get("cairn.json").unwrap().unwrap();
        assert_eq!(text, format!(r#"{{"format":1,"id":"{}"}}"#, nonce(1)).into_bytes());
    }

    #[test]
    fn what_is_no_bucket_of_this_release_is_not_touched() {
        for (text, words) in [
            (&b"{"[..], "damaged"),
            (br#"{"format":2,"id":"x","more":1}"#, "newer"),
            (br#"{"format":1,"id":"x"}"#, "no key"),
            (br#"{"format":1}"#, "id"),
        ] {
            let store = Memory::default();
            store.put("cairn.json", text).unwrap();
            let error = make(&store, nonce(1), &|_| true).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
            assert_eq!(store.get("cairn.json").unwrap().unwrap(), text);
        }
    }
}
