//! Whoever asked for a commit, and whether they are still there. If not, the commit is refused: nothing is
//! published that whoever asked will never learn of.

use std::fmt;
use std::sync::Arc;

/// Whoever asked for a commit. The default is somebody who never goes away.
#[derive(Clone, Default)]
pub struct Asker(Option<Arc<dyn Fn() -> bool + Send + Sync>>);

impl Asker {
    /// `is_gone` is called on the metadata thread, so it must not block.
    pub fn new(is_gone: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(is_gone)))
    }

    /// Whether nobody waits for the commit any more.
    pub fn is_gone(&self) -> bool {
        self.0.as_ref().is_some_and(|is_gone| is_gone())
    }
}

impl fmt::Debug for Asker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Asker").field("may_go", &self.0.is_some()).finish()
    }
}
