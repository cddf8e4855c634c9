//! The store of a remote of the kind `bucket`: S3, or a directory.

use std::io::Read;
use std::ops::{ControlFlow, Range};
use std::time::Duration;

use super::store::{Created, GET_BYTES_MAX, Listed, ObjectStore, StoreError, StoreErrorKind};
use crate::net::{NetError, NetErrorKind, ObjectInfo, Objects};

/// How often a write whose answer was lost is tried again.
const TRIES_MAX: u32 = 8;

/// Waits before a write is tried again, longer each time, and says whether to go on: after some two minutes it does
/// not. `stop` is asked each tenth of a second.
pub fn patience(stop: impl Fn() -> bool + Send + Sync) -> impl Fn(u32) -> bool + Send + Sync {
    move |tries| {
        let tenths = 2_u32.saturating_pow(tries).min(300);
        for _ in 0..tenths {
            if stop() {
                return false;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        tries < TRIES_MAX && !stop()
    }
}

impl From<NetError> for StoreError {
    fn from(error: NetError) -> Self {
        let kind = match error.kind() {
            NetErrorKind::Temporary => StoreErrorKind::Temporary,
            NetErrorKind::Refused => StoreErrorKind::Refused,
            NetErrorKind::NotFound | NetErrorKind::Protocol => StoreErrorKind::Protocol,
            NetErrorKind::Local => StoreErrorKind::Local,
            NetErrorKind::Stopped => StoreErrorKind::Stopped,
        };
        Self::new(kind, error.to_string())
    }
}

fn listed(info: ObjectInfo) -> Listed {
    Listed { key: info.key, size: info.size_bytes, modified: info.modified }
}

impl ObjectStore for Objects {
    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(Self::get(self, key, GET_BYTES_MAX)?)
    }

    fn get_range(&self, key: &str, range: Range<u64>) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(Self::get_range(self, key, range)?)
    }

    fn put(&self, key: &str, bytes: &[u8]) -> Result<(), StoreError> {
        Ok(Self::put(self, key, bytes)?)
    }

    fn put_reader(&self, key: &str, source: &mut dyn Read, length: u64) -> Result<(), StoreError> {
        Ok(Self::put_reader(self, key, source, length)?)
    }

    fn create(&self, key: &str, bytes: &[u8]) -> Result<Created, StoreError> {
        let is_new = Self::create(self, key, bytes)?;
        Ok(if is_new { Created::Done } else { Created::Occupied })
    }

    fn head(&self, key: &str) -> Result<Option<Listed>, StoreError> {
        Ok(Self::head(self, key)?.map(listed))
    }

    fn list(
        &self,
        prefix: &str,
        each: &mut dyn FnMut(Listed) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        Ok(Self::list(self, prefix, &mut |info| each(listed(info)))?)
    }

    fn delete(&self, keys: &[String]) -> Result<(), StoreError> {
        Ok(Self::delete(self, keys)?)
    }
}
