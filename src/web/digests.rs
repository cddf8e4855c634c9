//! SHA-256 of contents that nobody declared: computed by one thread for each content, and remembered for a while.
//!
//! The BLAKE3 is computed beside it. Only if that is the name of the blob were the bytes the right ones, and only then
//! is there a digest; a wrong one that is kept would be wrong for ever.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use hashlink::LruCache;
use parking_lot::{Condvar, Mutex};

use super::body::{Output, read};
use super::streams::gone;
use crate::engine::Engine;
use crate::model::digest::{Sha256, Sha256Hasher};
use crate::model::hash::BlobHash;
use crate::store::error::StoreError;

/// Bytes hashed at a time.
const CHUNK_BYTES: u64 = 1 << 20;

/// Digests that are remembered until the store has them for certain.
const FRESH_MAX: usize = 4096;

/// Who waits for the digest that another thread computes looks this often whether its client is still there.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// The contents that are being hashed, and those that were lately.
pub(super) struct Digests {
    state: Mutex<State>,
    ended: Condvar,
}

struct State {
    running: HashSet<BlobHash>,
    fresh: LruCache<BlobHash, Sha256>,
}

/// What a thread that wants a digest is to do.
enum Turn<'a> {
    /// Nothing: another thread has computed it.
    Known(Sha256),
    /// Compute it. Others wait until this is dropped.
    Ours(Running<'a>),
}

struct Running<'a> {
    digests: &'a Digests,
    blob: BlobHash,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.digests.state.lock().running.remove(&self.blob);
        self.digests.ended.notify_all();
    }
}

impl Digests {
    /// Nothing is known.
    pub(super) fn new() -> Self {
        let (running, fresh) = (HashSet::new(), LruCache::new(FRESH_MAX));
        Self { state: Mutex::new(State { running, fresh }), ended: Condvar::new() }
    }

    /// The digest of a blob that the caller has pinned. Ends early when the client of `out` is gone.
    ///
    /// # Errors
    /// The blob cannot be read or is damaged, or nobody listens any more.
    pub(super) fn of(
        &self,
        engine: &Engine,
        blob: &BlobHash,
        out: &dyn Output,
    ) -> io::Result<Sha256> {
        let is_gone = || out.is_gone();
        let running = match self.turn(blob, &is_gone)? {
            Turn::Known(sha256) => return Ok(sha256),
            Turn::Ours(running) => running,
        };
        let sha256 = compute(engine, blob, &is_gone)?;
        self.state.lock().fresh.insert(*blob, sha256);
        drop(running);
        Ok(sha256)
    }

    fn turn(&self, blob: &BlobHash, is_gone: &dyn Fn() -> bool) -> io::Result<Turn<'_>> {
        let mut state = self.state.lock();
        loop {
            if let Some(sha256) = state.fresh.get(blob) {
                return Ok(Turn::Known(*sha256));
            }
            if state.running.insert(*blob) {
                return Ok(Turn::Ours(Running { digests: self, blob: *blob }));
            }
            self.ended.wait_for(&mut state, LOOK_INTERVAL);
            if is_gone() {
                return Err(gone());
            }
        }
    }
}

fn compute(engine: &Engine, blob: &BlobHash, is_gone: &dyn Fn() -> bool) -> io::Result<Sha256> {
    let file = engine.pool.open(blob).map_err(io::Error::other)?;
    // Bytes may be wrong for a moment, in memory or on their way here. Only a file that is wrong twice is damaged.
    for _ in 0..2 {
        let (sha256, found) = hash(engine, &file, blob, is_gone)?;
        if found == *blob {
            return Ok(sha256);
        }
        log::error!("blob {blob}: its content has the hash {found}");
    }
    engine.pool.content_is_wrong(blob, &file);
    Err(io::Error::other(StoreError::DamagedBlob(*blob)))
}

/// Reads a blob once; returns what its bytes are called by others and by us.
fn hash(
    engine: &Engine,
    file: &Arc<File>,
    blob: &BlobHash,
    is_gone: &dyn Fn() -> bool,
) -> io::Result<(Sha256, BlobHash)> {
    let size = file.metadata()?.len();
    let (mut sha256, mut blake3) = (Sha256Hasher::default(), blake3::Hasher::new());
    let mut from = 0;
    while from < size {
        if is_gone() {
            return Err(gone());
        }
        let length = CHUNK_BYTES.min(size - from);
        let bytes = read(engine, file, blob, from, usize::try_from(length).unwrap_or(usize::MAX))?;
        sha256.update(&bytes);
        blake3.update(&bytes);
        from += length;
    }
    Ok((sha256.finish(), blake3.finalize().into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_thread_computes_a_digest_and_the_others_wait_h57() {
        let (digests, blob) = (Digests::new(), BlobHash::of(b"a"));
        let other = BlobHash::of(b"b");
        let Turn::Ours(running) = digests.turn(&blob, &|| false).unwrap() else { panic!("known") };
        assert!(matches!(digests.turn(&other, &|| false).unwrap(), Turn::Ours(_)));
        assert!(digests.turn(&blob, &|| true).is_err(), "its client is gone");
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| match digests.turn(&blob, &|| false).unwrap() {
                Turn::Known(sha256) => Some(sha256),
                Turn::Ours(_) => None,
            });
            digests.state.lock().fresh.insert(blob, Sha256::of(b"a"));
            drop(running);
            assert_eq!(waiting.join().unwrap(), Some(Sha256::of(b"a")));
        });
    }

    #[test]
    fn where_a_computation_ended_early_the_next_thread_begins_h57() {
        let (digests, blob) = (Digests::new(), BlobHash::of(b"a"));
        drop(digests.turn(&blob, &|| false).unwrap());
        assert!(matches!(digests.turn(&blob, &|| false).unwrap(), Turn::Ours(_)));
    }
}
