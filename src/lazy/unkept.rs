//! Content that came and could not be kept: readers ask for it piece by piece, so it stays in memory for a moment (H37).

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::model::content_name::ContentName;

/// How long a content stays.
const TIME: Duration = Duration::from_secs(10);

/// Bytes of all that stay.
const BYTES_MAX: usize = 64 << 20;

struct Held {
    content: ContentName,
    bytes: Arc<[u8]>,
    until: Instant,
}

/// Contents, the oldest first.
#[derive(Default)]
pub(super) struct Unkept(VecDeque<Held>);

impl Unkept {
    /// The bytes of a content, if they are here.
    pub(super) fn get(&mut self, content: &ContentName, now: Instant) -> Option<Arc<[u8]>> {
        self.expire(now);
        self.0.iter().find(|held| held.content == *content).map(|held| Arc::clone(&held.bytes))
    }

    /// Keeps the bytes of a content for a while. The oldest go where there are too many.
    pub(super) fn put(&mut self, content: ContentName, bytes: Arc<[u8]>, now: Instant) {
        self.expire(now);
        self.0.retain(|held| held.content != content);
        self.0.push_back(Held { content, bytes, until: now + TIME });
        while self.0.iter().map(|held| held.bytes.len()).sum::<usize>() > BYTES_MAX {
            self.0.pop_front();
        }
    }

    /// Lets go of what has stayed long enough.
    pub(super) fn expire(&mut self, now: Instant) {
        self.0.retain(|held| now < held.until);
    }

    /// Whether nothing is here.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::hash::BlobHash;

    fn name(content: &[u8]) -> ContentName {
        BlobHash::of(content).into()
    }

    #[test]
    fn h37_what_is_not_kept_stays_for_a_moment_and_memory_has_a_bound() {
        let (mut unkept, now) = (Unkept::default(), Instant::now());
        let [first, second, third] = [b"1", b"2", b"3"].map(|content| name(content));
        let bytes = |length: usize| -> Arc<[u8]> { vec![1; length].into() };
        unkept.put(first, bytes(10), now);
        assert_eq!(unkept.get(&first, now + TIME / 2), Some(bytes(10)));
        assert_eq!(unkept.get(&second, now), None);
        unkept.put(second, bytes(BYTES_MAX - 5), now);
        assert_eq!(unkept.get(&first, now), None, "the oldest goes");
        unkept.put(third, bytes(5), now + TIME / 2);
        assert!(unkept.get(&second, now).is_some());
        assert_eq!(unkept.get(&second, now + TIME), None);
        unkept.expire(now + TIME * 2);
        assert!(unkept.is_empty());
    }
}
