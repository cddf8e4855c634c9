//! The objects of one place: a bucket of S3 below a prefix, or a directory. A blocking interface over `object_store`.
//!
//! An answer that says "there is one" to a conditional write is told apart from one that says "try again" (H45): S3 says
//! 412 for the first and 409 for the second, and only the first is certain.

use std::io::Read;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use futures_util::{StreamExt, TryStreamExt, stream};
use object_store::aws::AmazonS3Builder;
use object_store::client::{ClientOptions, HttpClient, HttpConnector};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    Error, GetOptions, GetRange, GetResult, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode,
    PutPayload, RetryConfig,
};
use tokio::task::JoinSet;

use super::client::{builder, client_error};
use super::credentials::Secret;
use super::error::{NetError, NetErrorKind};
use super::request_watch::RequestWatch;
use super::speed::Speed;
use crate::model::remote::{Login, RemoteSettings, S3Place};

/// The region, where nobody says another: servers other than Amazon's take it for any.
const REGION_DEFAULT: &str = "us-east-1";

/// Bytes of a part of a large upload. More parts than [`PARTS_MAX`] there are not, so parts of larger objects are larger.
const PART_BYTES: u64 = 16 << 20;

/// S3 takes 10,000 parts at most.
const PARTS_MAX: u64 = 9_000;

/// Parts under way at a time.
const PARTS_AT_ONCE: usize = 4;

/// How often a request is made again, and how long at most, before its failure is told.
const RETRIES_MAX: usize = 4;
const RETRY_TIME_MAX: Duration = Duration::from_secs(60);

/// One object, without its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Its key, below the prefix.
    pub key: String,
    /// Its length.
    pub size_bytes: u64,
    /// When it was written, by the store's clock.
    pub modified: SystemTime,
}

/// A bucket of S3 below a prefix, or a directory.
#[derive(Debug)]
pub struct Objects {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
    shown: String,
    /// The lowest speed of an answer, and over what time.
    slowest: (u64, Duration),
    watch: RequestWatch,
}

impl Objects {
    /// Reads what the settings name, and connects to nobody. A directory is made if it is missing.
    ///
    /// # Errors
    /// What of it cannot be read or used.
    pub fn open(settings: &RemoteSettings) -> Result<Self, NetError> {
        let shown = settings.url.to_string();
        let slowest = (settings.lowest_bytes_per_second(), settings.idle_timeout());
        if let Some(place) = settings.url.s3_place() {
            let prefix = Path::parse(&place.prefix)
                .map_err(|error| local(format!("{shown} cannot be a prefix: {error}")))?;
            let store: Arc<dyn ObjectStore> = Arc::new(s3(settings, &place)?);
            return Ok(Self { store, prefix, shown, slowest, watch: RequestWatch::default() });
        }
        let Some(path) = settings.url.local_path() else {
            return Err(local(format!("{shown} is neither a bucket of S3 nor a directory")));
        };
        std::fs::create_dir_all(&path)
            .map_err(|error| local(format!("cannot make {}: {error}", path.display())))?;
        let store = LocalFileSystem::new_with_prefix(&path)
            .map_err(|error| local(format!("{}: {error}", path.display())))?;
        // What was acknowledged must be there after a power loss.
        let store: Arc<dyn ObjectStore> = Arc::new(store.with_fsync(true));
        Ok(Self { store, prefix: Path::default(), shown, slowest, watch: RequestWatch::default() })
    }

    /// The same objects; who has the watch may end what is asked of them.
    pub fn watched(&self, watch: RequestWatch) -> Self {
        Self {
            store: Arc::clone(&self.store),
            prefix: self.prefix.clone(),
            shown: self.shown.clone(),
            slowest: self.slowest,
            watch,
        }
    }

    /// The bytes of an object, `bytes_max` at most; `None` when there is none.
    ///
    /// # Errors
    /// Why it cannot be had.
    pub fn get(&self, key: &str, bytes_max: u64) -> Result<Option<Vec<u8>>, NetError> {
        self.run(key, async |path| {
            let result = self.store.get(&path).await?;
            body(result, bytes_max, self.slowest, &self.watch).await
        })
    }

    /// As much of the range as the object has; `None` when there is no object.
    ///
    /// # Errors
    /// Why it cannot be had, also when it begins beyond the end.
    pub fn get_range(&self, key: &str, range: Range<u64>) -> Result<Option<Vec<u8>>, NetError> {
        let length = range.end.saturating_sub(range.start);
        let found = self.run(key, async |path| {
            let wanted = Some(GetRange::Bounded(range.clone()));
            let options = GetOptions { range: wanted, ..GetOptions::default() };
            match self.store.get_opts(&path, options).await {
                Ok(result) => {
                    let bytes = body(result, length, self.slowest, &self.watch).await?;
                    Ok((!bytes.is_empty() || length == 0).then_some(bytes))
                }
                // Some caches send the whole object (H49).
                Err(error) if is_whole(&error) => {
                    let result = self.store.get(&path).await?;
                    let bytes_max = range.end.max(WHOLE_BYTES_MAX);
                    let whole = body(result, bytes_max, self.slowest, &self.watch).await?;
                    let place = |at| usize::try_from(at).unwrap_or(usize::MAX).min(whole.len());
                    Ok(Some(whole[place(range.start)..place(range.end)].to_vec()))
                }
                // No failure of the store, which would be tried again: the object is what it is.
                Err(error) if may_end_before(&error) => {
                    let found = self.store.head(&path).await?;
                    if found.size <= range.start { Ok(None) } else { Err(error) }
                }
                Err(error) => Err(error),
            }
        })?;
        let ends_before = || {
            let from = range.start;
            let text = format!("{}: {key}: it has no byte from {from} on", self.shown);
            NetError::new(NetErrorKind::Protocol, text)
        };
        found.map(|bytes| bytes.ok_or_else(ends_before)).transpose()
    }

    /// Writes an object, in place of what was there.
    ///
    /// # Errors
    /// Whether it was written is unknown then.
    pub fn put(&self, key: &str, bytes: &[u8]) -> Result<(), NetError> {
        let payload = PutPayload::from(bytes.to_vec());
        let done = self.run(key, async |path| self.store.put(&path, payload.clone()).await)?;
        done.map(drop).ok_or_else(|| self.no_bucket())
    }

    /// Writes an object unless there is one. `false` when there is.
    ///
    /// # Errors
    /// Whether it was written, or will be, is unknown then.
    pub fn create(&self, key: &str, bytes: &[u8]) -> Result<bool, NetError> {
        let payload = PutPayload::from(bytes.to_vec());
        let done = self.run(key, async |path| {
            let options = PutMode::Create.into();
            match self.store.put_opts(&path, payload.clone(), options).await {
                Ok(_) => Ok(true),
                Err(error) if self.is_occupied(&error) => Ok(false),
                Err(error) => Err(error),
            }
        })?;
        done.ok_or_else(|| self.no_bucket())
    }

    /// Writes the `length` bytes of `source`, in parts where they are many.
    ///
    /// # Errors
    /// Whether it was written is unknown then.
    pub fn put_reader(
        &self,
        key: &str,
        source: &mut dyn Read,
        length: u64,
    ) -> Result<(), NetError> {
        let part_bytes = PART_BYTES.max(length.div_ceil(PARTS_MAX));
        let mut left = length;
        let mut next = move || -> Result<Option<PutPayload>, NetError> {
            let size = left.min(part_bytes);
            left -= size;
            if size == 0 {
                return Ok(None);
            }
            let mut bytes = vec![0; usize::try_from(size).unwrap_or(usize::MAX)];
            source.read_exact(&mut bytes).map_err(|error| local(format!("{key}: {error}")))?;
            Ok(Some(bytes.into()))
        };
        if length <= part_bytes {
            let payload = next()?.unwrap_or_default();
            let done = self.run(key, async |path| self.store.put(&path, payload.clone()).await)?;
            return done.map(drop).ok_or_else(|| self.no_bucket());
        }
        let runtime = super::runtime()?;
        let path = self.path(key)?;
        runtime.block_on(async {
            let failed = |error: Error| self.error(key, &error);
            let mut upload = self.store.put_multipart(&path).await.map_err(failed)?;
            let mut parts = JoinSet::new();
            let sent: Result<(), NetError> = async {
                while let Some(payload) = next()? {
                    if parts.len() == PARTS_AT_ONCE {
                        join(parts.join_next().await).map_err(failed)?;
                    }
                    parts.spawn(upload.put_part(payload));
                }
                while let Some(part) = parts.join_next().await {
                    join(Some(part)).map_err(failed)?;
                }
                upload.complete().await.map(drop).map_err(failed)
            }
            .await;
            if sent.is_err() {
                parts.shutdown().await;
                if let Err(error) = upload.abort().await {
                    log::warn!("{key}: parts of an upload stay in {}: {error}", self.shown);
                }
            }
            sent
        })
    }

    /// Length and time of an object; `None` when there is none.
    ///
    /// # Errors
    /// Why that cannot be told.
    pub fn head(&self, key: &str) -> Result<Option<ObjectInfo>, NetError> {
        let found = self.run(key, async |path| self.store.head(&path).await)?;
        Ok(found.and_then(|meta| self.info(&meta)))
    }

    /// Hands over the objects whose keys begin with `prefix`, which is empty or ends with `/`, until `each` breaks.
    ///
    /// # Errors
    /// Why not all of them can be listed.
    pub fn list(
        &self,
        prefix: &str,
        each: &mut dyn FnMut(ObjectInfo) -> ControlFlow<()>,
    ) -> Result<(), NetError> {
        let runtime = super::runtime()?;
        let path = self.path(prefix.trim_end_matches('/'))?;
        runtime.block_on(async {
            let mut objects = self.store.list((!path.as_ref().is_empty()).then_some(&path));
            while let Some(meta) = objects.next().await {
                let meta = meta.map_err(|error| self.error(prefix, &error))?;
                let Some(info) = self.info(&meta) else { continue };
                if each(info).is_break() {
                    break;
                }
            }
            Ok(())
        })
    }

    /// Deletes objects. What is not there is no error.
    ///
    /// # Errors
    /// Some may be deleted then.
    pub fn delete(&self, keys: &[String]) -> Result<(), NetError> {
        let runtime = super::runtime()?;
        let paths: Result<Vec<Path>, NetError> = keys.iter().map(|key| self.path(key)).collect();
        let paths = stream::iter(paths?.into_iter().map(Ok)).boxed();
        runtime.block_on(async {
            let mut deleted = self.store.delete_stream(paths);
            while let Some(result) = deleted.next().await {
                match result {
                    Ok(_) | Err(Error::NotFound { .. }) => {}
                    Err(error) => return Err(self.error("a deletion", &error)),
                }
            }
            Ok(())
        })
    }

    fn path(&self, key: &str) -> Result<Path, NetError> {
        let text = match (self.prefix.as_ref(), key) {
            ("", key) => key.to_owned(),
            (prefix, "") => prefix.to_owned(),
            (prefix, key) => format!("{prefix}/{key}"),
        };
        Path::parse(text).map_err(|error| local(format!("`{key}` is no key: {error}")))
    }

    fn info(&self, meta: &ObjectMeta) -> Option<ObjectInfo> {
        let below = match self.prefix.as_ref() {
            "" => Some(meta.location.as_ref()),
            prefix => meta.location.as_ref().strip_prefix(prefix)?.strip_prefix('/'),
        };
        let (size_bytes, modified) = (meta.size, meta.last_modified.into());
        Some(ObjectInfo { key: below?.to_owned(), size_bytes, modified })
    }

    /// Runs a request to its end; `None` when there is no such object.
    fn run<T>(
        &self,
        key: &str,
        request: impl AsyncFnOnce(Path) -> Result<T, Error>,
    ) -> Result<Option<T>, NetError> {
        let path = self.path(key)?;
        match super::runtime()?.block_on(self.watch.run(request(path)))? {
            Ok(value) => Ok(Some(value)),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.error(key, &error)),
        }
    }

    fn is_occupied(&self, error: &Error) -> bool {
        let Error::AlreadyExists { source, .. } = error else { return false };
        // A directory is asked by linking; a server says 412 or 304, which the library wraps once more. What it says
        // with 409 is "try again".
        let cause = source.downcast_ref::<Error>();
        self.shown.starts_with("file:")
            || matches!(cause, Some(Error::Precondition { .. } | Error::NotModified { .. }))
    }

    fn error(&self, key: &str, error: &Error) -> NetError {
        let kind = match error {
            Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => NetErrorKind::Refused,
            Error::NotFound { .. } => NetErrorKind::NotFound,
            Error::NotSupported { .. }
            | Error::NotImplemented { .. }
            | Error::InvalidPath { .. }
            | Error::UnknownConfigurationKey { .. } => NetErrorKind::Protocol,
            _ if self.shown.starts_with("file:") => NetErrorKind::Local,
            _ => NetErrorKind::Temporary,
        };
        NetError::new(kind, format!("{}: {key}: {}", self.shown, chain(error)))
    }

    fn no_bucket(&self) -> NetError {
        NetError::new(NetErrorKind::NotFound, format!("{}: there is no such bucket", self.shown))
    }
}

/// The longest object that is fetched whole for a part of it.
const WHOLE_BYTES_MAX: u64 = 64 << 20;

/// The bytes of an answer. One that comes too slowly is given up: it would hold up whoever waits for these bytes for ever,
/// also when the next answer came at once.
async fn body(
    result: GetResult,
    bytes_max: u64,
    (lowest_bytes_per_second, window): (u64, Duration),
    watch: &RequestWatch,
) -> Result<Vec<u8>, Error> {
    let length = result.range.end - result.range.start;
    let refused = |text: String| Error::Generic { store: "answer", source: text.into() };
    if length > bytes_max {
        return Err(refused(format!("it has {length} bytes, {bytes_max} at most were expected")));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(0));
    let mut speed = Speed::new(lowest_bytes_per_second, window);
    let mut pieces = result.into_stream();
    let mut began = Instant::now();
    while let Some(piece) = pieces.try_next().await? {
        bytes.extend_from_slice(&piece);
        watch.heard(piece.len());
        if !speed.add(piece.len(), began.elapsed()) {
            let (lowest, seconds) = (lowest_bytes_per_second, window.as_secs_f32());
            return Err(refused(format!("fewer than {lowest} bytes per second for {seconds} s")));
        }
        began = Instant::now();
        if bytes.len() as u64 > length {
            return Err(refused(format!("more than the {length} bytes came that were declared")));
        }
    }
    if (bytes.len() as u64) < length {
        return Err(refused(format!("fewer than the {length} bytes came that were declared")));
    }
    Ok(bytes)
}

/// Whether the whole object came where a part was asked for.
fn is_whole(error: &Error) -> bool {
    matches!(error, Error::Generic { source, .. } if source.to_string().contains("non-partial"))
}

/// Whether that may be an answer to a range that begins at or after the end of the object.
fn may_end_before(error: &Error) -> bool {
    let text = chain(error);
    matches!(error, Error::Generic { .. }) && (text.contains("416") || text.contains("range"))
}

fn join(part: Option<Result<Result<(), Error>, tokio::task::JoinError>>) -> Result<(), Error> {
    part.map_or(Ok(()), |part| part?)
}

/// What went wrong with its causes: the library's own texts name the outermost alone.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

fn s3(settings: &RemoteSettings, place: &S3Place) -> Result<object_store::aws::AmazonS3, NetError> {
    let bucket = settings.bucket.clone().unwrap_or_default();
    let region = bucket.region.as_deref().unwrap_or(REGION_DEFAULT);
    let retry = RetryConfig {
        max_retries: RETRIES_MAX,
        retry_timeout: RETRY_TIME_MAX,
        ..RetryConfig::default()
    };
    let http = builder(settings)?.read_timeout(settings.idle_timeout()).build();
    let http = http.map_err(|error| client_error(settings, error))?;
    let mut s3 = AmazonS3Builder::new()
        .with_bucket_name(&place.bucket)
        .with_region(region)
        .with_allow_http(true)
        .with_virtual_hosted_style_request(bucket.virtual_hosted)
        .with_retry(retry)
        .with_http_connector(Connector(http));
    if let Some(endpoint) = &bucket.endpoint {
        s3 = s3.with_endpoint(endpoint.of_bucket(&place.bucket, bucket.virtual_hosted));
    }
    s3 = match &settings.login {
        Some(Login::Basic { user, password }) => {
            s3.with_access_key_id(user).with_secret_access_key(Secret::read(password)?.reveal())
        }
        Some(Login::Bearer { .. }) => {
            return Err(local(format!("{}: a bucket takes no token", settings.url)));
        }
        None => s3.with_skip_signature(true),
    };
    s3.build().map_err(|error| local(format!("{}: {}", settings.url, chain(&error))))
}

/// Hands the library a client with the certificates and timeouts of the remote.
#[derive(Debug)]
struct Connector(reqwest::Client);

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.0.clone()))
    }
}

fn local(message: String) -> NetError {
    NetError::new(NetErrorKind::Local, message)
}
