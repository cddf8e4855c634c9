//! `cairn mount --edge`: makes the store in which a machine keeps what it has of a bucket, before it is mounted as
//! every other is.

use std::ffi::OsStr;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Context;
use super::bucket::BucketChoice;
use super::error::CliError;
use super::mount::MountArgs;
use super::parse::{absolute, parse_duration, parse_place};
use super::remote::Access;
use crate::control::client::Connection;
use crate::control::protocol::{ControlError, ErrorKind, Request};
use crate::control::remote::RemoteRequest;
use crate::control::reply::Reply;
use crate::model::fetch_policy::FetchPolicy;
use crate::model::hash::ObjectHash;
use crate::model::name::{RemoteName, RepoName};
use crate::model::remote::{EdgeSettings, RemoteKind, RemoteSettings, RemoteUrl};

/// What the bucket is called in the store of an edge.
const REMOTE: &str = "origin";

/// Where root's edges keep what they have.
const ROOT_CACHES: &str = "/var/cache";

/// Digits of the hash in the name of a directory, which tells two buckets apart that are called alike.
const HASH_DIGITS: usize = 12;

/// Arguments of `cairn mount` that are about an edge.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Edges")]
pub(super) struct EdgeArgs {
    /// Show a bucket, which STORE names as s3://BUCKET/PREFIX, as a URL or as a path, read-only, and follow it
    #[arg(long)]
    pub(super) edge: bool,
    /// Keep there what was fetched [default: below /var/cache/cairn for root, else below XDG_CACHE_HOME or ~/.cache]
    #[arg(long, value_name = "DIR", requires = "edge")]
    cache: Option<PathBuf>,
    /// Follow only this repository; may be repeated [default: all, also those made later]
    #[arg(long = "repo", value_name = "REPO", requires = "edge")]
    repositories: Vec<RepoName>,
    /// How often to ask the bucket for news, give or take a quarter [default: 60s]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, requires = "edge")]
    poll: Option<Duration>,
    #[command(flatten)]
    bucket: BucketChoice,
    #[command(flatten)]
    access: Box<Access>,
}

impl EdgeArgs {
    /// Refuses options that say how to get at a bucket where there is none.
    ///
    /// # Errors
    /// There are some.
    pub(super) fn check(&self) -> Result<(), CliError> {
        if self.edge || (self.bucket.is_empty() && self.access.is_empty()) {
            return Ok(());
        }
        let message = "options that say how to get at a bucket need --edge";
        Err(ControlError::new(ErrorKind::Usage, message)
            .with_hint("`cairn remote set` changes how a store gets at its remotes")
            .into())
    }

    fn settings(self, url: RemoteUrl) -> Result<RemoteSettings, CliError> {
        let mut settings = RemoteSettings::new(RemoteKind::Bucket, url);
        self.bucket.apply(&mut settings)?;
        settings.policy = policy(self.access.policy());
        (*self.access).apply(&mut settings)?;
        settings.edge = Some(EdgeSettings {
            chosen: self.repositories,
            poll_ms: self.poll.and_then(|poll| u64::try_from(poll.as_millis()).ok()),
            bucket_id: None,
        });
        Ok(settings)
    }
}

/// When an edge fetches content, unless somebody says otherwise: when it is read, and what was read is a cache.
fn policy(asked: Option<FetchPolicy>) -> FetchPolicy {
    asked.unwrap_or(FetchPolicy::Streamed)
}

/// Makes the store of an edge, or tells the one that is there what to follow. Returns how it is mounted.
///
/// # Errors
/// What was said is no bucket; the directory is that of something else, or in use.
pub(super) fn prepare(mut args: MountArgs, context: &Context) -> Result<MountArgs, CliError> {
    let place = args.store_path.clone().into_os_string();
    let url = parse_place(place)
        .map_err(|error| ControlError::new(ErrorKind::Usage, error.to_string()))?;
    let edge = args.edge.clone();
    let cache = match &edge.cache {
        Some(cache) => absolute(cache)?,
        None => default_cache(&edge.settings_text(&url))?,
    };
    let settings = Box::new(edge.settings(url)?);
    // The daemon would refuse these only once the directory was made.
    settings.check().map_err(|error| ControlError::new(ErrorKind::Usage, error.to_string()))?;
    if !cache.join("format").exists() {
        if let Some(parent) = cache.parent() {
            DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
        }
        (context.hooks.init)(&cache)?;
    }
    let mut store = Connection::local((context.hooks.open_local)(&cache)?);
    let name: RemoteName = REMOTE.parse().map_err(|_| CliError::unexpected_reply())?;
    let known = match store.ask(Request::Remote(RemoteRequest::List))? {
        Reply::Remotes(known) => known,
        _ => return Err(CliError::unexpected_reply()),
    };
    let known = known.into_iter().find(|remote| remote.name == name);
    let mut is_known = false;
    if let Some(known) = &known {
        // Which bucket it was is no setting of anybody, and nothing changes it.
        let id = known.settings.edge.as_ref().and_then(|edge| edge.bucket_id.clone());
        let mut same = settings.clone();
        if let Some(edge) = &mut same.edge {
            edge.bucket_id = id;
        }
        is_known = *same == known.settings;
    }
    if !is_known {
        let replace = known.is_some();
        store.ask(Request::Remote(RemoteRequest::Put { name, settings, replace }))?;
    }
    args.store_path = cache;
    args.edge = Box::new(EdgeArgs::none());
    // An edge is read-only by itself; a store that is opened so would not even follow.
    args.read_only = false;
    for list in &mut args.options {
        let others: Vec<_> = list.split(',').filter(|option| *option != "ro").collect();
        *list = others.join(",");
    }
    args.options.retain(|list| !list.is_empty());
    Ok(args)
}

impl EdgeArgs {
    fn none() -> Self {
        Self {
            edge: false,
            cache: None,
            repositories: Vec::new(),
            poll: None,
            bucket: BucketChoice::default(),
            access: Box::default(),
        }
    }

    /// What tells one bucket from another: its URL, and the server.
    fn settings_text(&self, url: &RemoteUrl) -> String {
        match self.bucket.endpoint() {
            Some(endpoint) => format!("{url} {endpoint}"),
            None => url.to_string(),
        }
    }
}

/// The directory of an edge, unless somebody names another: one for each bucket and user.
fn default_cache(place: &str) -> Result<PathBuf, CliError> {
    let variable = |name| std::env::var_os(name).map(PathBuf::from);
    let is_root = rustix::process::geteuid().is_root();
    let caches = cache_home(is_root, variable("XDG_CACHE_HOME"), variable("HOME"));
    let caches = caches.ok_or_else(|| {
        ControlError::new(ErrorKind::Usage, "there is no directory for caches, nor a home")
            .with_hint("name a directory with --cache")
    })?;
    Ok(caches.join("cairn").join("edges").join(directory_name(place)))
}

fn cache_home(is_root: bool, xdg: Option<PathBuf>, home: Option<PathBuf>) -> Option<PathBuf> {
    let absolute = |path: &PathBuf| path.is_absolute();
    let xdg = xdg.filter(absolute);
    if is_root && xdg.is_none() {
        return Some(PathBuf::from(ROOT_CACHES));
    }
    xdg.or_else(|| Some(home.filter(absolute)?.join(".cache")))
}

/// The last name of a place, for people, and a hash of all of it.
fn directory_name(place: &str) -> String {
    let url = place.split(' ').next().unwrap_or_default();
    let last = Path::new(url.trim_end_matches('/')).file_name().and_then(OsStr::to_str);
    let is_plain =
        |character: &char| character.is_ascii_alphanumeric() || "-_".contains(*character);
    let shown: String = last.unwrap_or_default().chars().filter(is_plain).take(40).collect();
    let hash = ObjectHash::of(place.as_bytes()).to_string();
    format!("{shown}-{}", &hash[..HASH_DIGITS])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d2_each_user_and_bucket_has_a_directory() {
        let some = |path: &str| Some(PathBuf::from(path));
        assert_eq!(cache_home(true, None, some("/root")), some("/var/cache"));
        assert_eq!(cache_home(true, some("/c"), some("/root")), some("/c"));
        assert_eq!(cache_home(false, None, some("/home/ann")), some("/home/ann/.cache"));
        assert_eq!(cache_home(false, some("relative"), None), None);
        let names = [
            "s3://releases/cairn",
            "s3://releases/cairn https://one.example.org",
            "s3://other/cairn",
        ]
        .map(directory_name);
        assert!(
            names.iter().all(|name| name.starts_with("cairn-") && name.len() == 18),
            "{names:?}"
        );
        assert!(names[0] != names[1] && names[0] != names[2]);
        assert!(directory_name("file:///srv/..%2f/").starts_with("2f-"));
    }
}
