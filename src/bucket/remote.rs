//! The store of a remote of the kind `bucket`: S3, a directory, or a server that shows one by plain HTTP.

use std::io::Read;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;
use std::time::Duration;

use super::store::{Created, GET_BYTES_MAX, Listed, ObjectStore, StoreError, StoreErrorKind};
use crate::model::remote::RemoteSettings;
use crate::net::{HttpObjects, NetError, NetErrorKind, ObjectInfo, Objects, RequestWatch};

/// Small requests under way at a time, from one who has many.
const REQUESTS_AT_ONCE: usize = 16;

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

/// The store that the settings name. Connects to nobody.
///
/// # Errors
/// What of the settings cannot be read or used.
pub fn open(settings: &RemoteSettings) -> Result<Arc<dyn ObjectStore>, NetError> {
    Ok(match Opened::of(settings)? {
        Opened::Http(objects) => Arc::new(objects),
        Opened::S3(objects) => Arc::new(objects),
    })
}

/// A store whose requests are watched one by one.
#[derive(Debug)]
pub enum Opened {
    /// A server that shows one by plain HTTP.
    Http(HttpObjects),
    /// S3, or a directory.
    S3(Objects),
}

impl Opened {
    /// The store that the settings name. Connects to nobody.
    ///
    /// # Errors
    /// What of the settings cannot be read or used.
    pub fn of(settings: &RemoteSettings) -> Result<Self, NetError> {
        Ok(match settings.is_read_only() {
            true => Self::Http(HttpObjects::open(settings)?),
            false => Self::S3(Objects::open(settings)?),
        })
    }

    /// It, for requests that end when the watch says so.
    pub fn watched(&self, watch: RequestWatch) -> Box<dyn ObjectStore> {
        match self {
            Self::Http(objects) => Box::new(objects.watched(watch)),
            Self::S3(objects) => Box::new(objects.watched(watch)),
        }
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

    fn requests_at_once(&self) -> usize {
        REQUESTS_AT_ONCE
    }

    fn delete(&self, keys: &[String]) -> Result<(), StoreError> {
        Ok(Self::delete(self, keys)?)
    }
}

fn read_only<T>(key: &str) -> Result<T, StoreError> {
    let message = format!("{key}: a bucket over plain HTTP has no lists and takes no writes");
    Err(StoreError::new(StoreErrorKind::Refused, message))
}

/// Whoever would write or list is refused before; this is the last to say so.
impl ObjectStore for HttpObjects {
    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(Self::get(self, key, GET_BYTES_MAX)?)
    }

    fn get_range(&self, key: &str, range: Range<u64>) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(Self::get_range(self, key, range)?)
    }

    fn put(&self, key: &str, _bytes: &[u8]) -> Result<(), StoreError> {
        read_only(key)
    }

    fn put_reader(&self, key: &str, _: &mut dyn Read, _length: u64) -> Result<(), StoreError> {
        read_only(key)
    }

    fn create(&self, key: &str, _bytes: &[u8]) -> Result<Created, StoreError> {
        read_only(key)
    }

    fn head(&self, key: &str) -> Result<Option<Listed>, StoreError> {
        Ok(Self::head(self, key)?.map(listed))
    }

    fn list(
        &self,
        prefix: &str,
        _: &mut dyn FnMut(Listed) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        read_only(prefix)
    }

    fn has_lists(&self) -> bool {
        false
    }

    fn past_caches(&self) -> Option<Box<dyn ObjectStore>> {
        Self::past_caches(self).map(|fresh| Box::new(fresh) as Box<dyn ObjectStore>)
    }

    fn requests_at_once(&self) -> usize {
        REQUESTS_AT_ONCE
    }

    fn delete(&self, _keys: &[String]) -> Result<(), StoreError> {
        read_only("a deletion")
    }
}
