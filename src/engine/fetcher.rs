//! Who is asked to fetch content that trees name and the store does not have.
//!
//! The engine fetches nothing itself, and must not know how it is done: the daemon gives it a [`Fetcher`] (`lazy`) once,
//! after the start. Everybody who needs such content asks there, and is called back.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use crate::model::content_name::ContentName;

/// A reader waits no longer than that, however fast bytes come: a file of many gigabytes takes several reads.
pub const READER_PATIENCE: Duration = Duration::from_secs(600);

/// The same for a request during which the kernel holds a lock that others need (H7).
pub const LOCKED_PATIENCE: Duration = Duration::from_secs(5);

/// Why content cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotFetched(pub String);

/// What became of a content that was fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fetched {
    /// The store has it.
    Kept,
    /// The part that was asked for can be read with [`Fetcher::read_part`].
    Part,
    /// The disk has no room for it, and these are its bytes, which were checked (H37).
    Unkept(Arc<[u8]>),
}

impl Fetched {
    /// For those who need it in the store.
    ///
    /// # Errors
    /// It could not be kept.
    pub fn kept(self) -> std::result::Result<(), NotFetched> {
        match self {
            Self::Kept => Ok(()),
            // Nobody gets this who asks for all of a content.
            Self::Part | Self::Unkept(_) => Err(NotFetched(NO_ROOM.to_owned())),
        }
    }
}

/// What came of a fetch.
pub type FetchOutcome = std::result::Result<Fetched, NotFetched>;

/// Why content that came is not in the store.
pub const NO_ROOM: &str = "the disk of the store has no room to keep it";

/// Is called once, on a thread of whoever fetches: the content is here now, or it cannot be had.
pub type OnFetched = Box<dyn FnOnce(FetchOutcome) + Send>;

/// Number of a prefetch among those of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PrefetchId(pub u64);

/// What a content is wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Somebody waits for it, for so long at most. Then they are told that it cannot be had, and the fetch goes on.
    Read(Duration),
    /// Somebody may read it later. All reads come first (H39), and it is waited for as long as it takes.
    Prefetch(PrefetchId),
}

/// Fetches content that is absent.
pub trait Fetcher: Send + Sync {
    /// Fetches a content, once however many ask, and then calls back. Returns at once, perhaps after it called back. Of a
    /// large content perhaps only the `part` comes that is asked for, a range of its bytes; `None` asks for all of it.
    fn fetch(&self, name: ContentName, part: Option<Range<u64>>, purpose: Purpose, then: OnFetched);

    /// Fills the buffer with the bytes of a content from `offset` on, and says `true`, if just these were fetched while the store
    /// still lacks the content.
    fn read_part(&self, name: &ContentName, offset: u64, buffer: &mut [u8]) -> bool;

    /// Bytes that have come of what is being fetched for a prefetch and is not whole yet.
    fn came(&self, prefetch: PrefetchId) -> u64;

    /// Fetches nothing more for a prefetch. Who waits for that is told so; what came of a content is kept.
    fn abandon(&self, prefetch: PrefetchId);
}
