//! Edges: a store whose one remote is a bucket that it follows (D2).
//!
//! That a store is an edge is said by the settings of its remote, so a daemon and every command that opens the store
//! know it. What only a bucket may change is refused ([`refuse`]); the daemon follows ([`thread`]) and tells how far
//! it is ([`state`]).

mod refuse;
#[cfg(feature = "net")]
mod state;
#[cfg(feature = "net")]
mod thread;

#[cfg(feature = "net")]
use std::sync::Arc;

use super::errors::control_error;
use super::remotes::describe;
use super::{Answer, StoreService};
use crate::control::edge::EdgeInfo;
use crate::control::protocol::{ControlError, ErrorKind};
use crate::control::remote::RemoteInfo;
#[cfg(feature = "net")]
use crate::control::reply::Reply;
use crate::control::service::Caller;
use crate::control::status::{Problem, ProblemKind};
use crate::engine::Engine;
use crate::model::remote::{EdgeSettings, RemoteSettings};

#[cfg(feature = "net")]
pub(super) use state::EdgeState;
#[cfg(feature = "net")]
pub use thread::EdgeThread;

/// Stands in for the thread that follows in a build without the network: the store shows what it already has.
#[cfg(not(feature = "net"))]
pub enum EdgeThread {}

#[cfg(not(feature = "net"))]
impl EdgeThread {
    /// Returns at once: there is no thread to wait for.
    ///
    /// # Errors
    /// None.
    pub fn wait_for_first(&self) -> Result<(), ControlError> {
        match *self {}
    }

    /// Does nothing: there is no thread to end.
    pub fn stop(&self) {
        match *self {}
    }
}

/// The remote of which a store is an edge.
struct EdgeRemote {
    remote: RemoteInfo,
    edge: EdgeSettings,
}

/// Whether a store is an edge.
///
/// # Errors
/// Its remotes cannot be read.
pub fn is_edge(engine: &Engine) -> Result<bool, ControlError> {
    edge_of(engine).map(|found| found.is_some())
}

fn edge_of(engine: &Engine) -> Result<Option<EdgeRemote>, ControlError> {
    let reader = engine.open_reader().map_err(control_error)?;
    let rows = reader.remotes().map_err(|error| control_error(error.into()))?;
    // Settings that cannot be read are those of another release, which has said so in the list of remotes.
    let remotes = rows.into_iter().filter_map(|(name, settings)| describe(name, &settings).ok());
    let mut edges = remotes.filter_map(|remote| {
        let edge = remote.settings.edge.clone()?;
        Some(EdgeRemote { remote, edge })
    });
    Ok(edges.next())
}

impl StoreService {
    fn edge(&self) -> Result<Option<EdgeRemote>, ControlError> {
        edge_of(&self.engine)
    }

    /// Refuses settings that would turn a store with repositories of its own into an edge, and settings that would turn an
    /// edge into an ordinary store.
    pub(super) fn check_edge(&self, settings: &mut RemoteSettings) -> Result<(), ControlError> {
        let Some(wanted) = &mut settings.edge else { return Ok(()) };
        let refused = |message: String, hint: &str| {
            Err(ControlError::new(ErrorKind::Usage, message).with_hint(hint))
        };
        let root = crate::store::layout::shown(self.engine.layout.root());
        let Some(known) = self.edge()? else {
            let registry = &self.engine.registry;
            let remotes = self.engine.query(|reader| reader.remotes()).map_err(control_error)?;
            let is_empty =
                registry.all().is_empty() && registry.deleted().is_empty() && remotes.is_empty();
            if is_empty {
                return Ok(());
            }
            let message = format!("{} is a store with things of its own", root.display());
            return refused(
                message,
                "an edge needs a directory for itself: name another one with --cache",
            );
        };
        let is_other = known.remote.settings.url != settings.url
            && known.edge.bucket_id.is_some()
            && known.edge.bucket_id != wanted.bucket_id;
        if is_other {
            let message = format!("{} is an edge of {}", root.display(), known.remote.settings.url);
            let name = &known.remote.name;
            return refused(
                message,
                &format!(
                    "name another directory with --cache; if that bucket has moved: `cairn --store DIR remote set {name} --url URL`"
                ),
            );
        }
        // A command does not know the id of the bucket, so it sends none; the one that was noted stays.
        wanted.bucket_id = wanted.bucket_id.take().or(known.edge.bucket_id);
        Ok(())
    }

    /// What `cairn status` says of an edge.
    pub(super) fn edge_info(&self) -> Result<Option<EdgeInfo>, ControlError> {
        let Some(EdgeRemote { remote, edge }) = self.edge()? else { return Ok(None) };
        #[cfg_attr(not(feature = "net"), expect(unused_mut, reason = "nobody follows it"))]
        let mut info = EdgeInfo {
            remote: remote.name,
            url: remote.settings.url.to_string(),
            poll_ms: u64::try_from(edge.poll().as_millis()).unwrap_or(u64::MAX),
            bucket_id: edge.bucket_id,
            chosen: edge.chosen,
            contact: None,
            followed: 0,
            missing: 0,
            failures: Vec::new(),
            alarms: Vec::new(),
        };
        #[cfg(feature = "net")]
        if let Some(state) = self.edge_state.get() {
            state.describe(&mut info);
        }
        Ok(Some(info))
    }

    /// What about an edge needs attention.
    pub(super) fn edge_problems(edge: &EdgeInfo) -> Vec<Problem> {
        let kinds =
            [(ProblemKind::EdgeAlarm, &edge.alarms), (ProblemKind::EdgeBehind, &edge.failures)];
        let troubles = kinds.iter().flat_map(|(kind, all)| all.iter().map(move |one| (*kind, one)));
        let problems = troubles.map(|(kind, trouble)| {
            let what = trouble.repository.as_ref().map_or("the bucket", |name| name.as_str());
            let (began, message) = (&trouble.began.began, &trouble.message);
            let text = match kind {
                ProblemKind::EdgeAlarm => format!(
                    "{what} is not followed since {began}, and what is here stays: {message}. If it is meant to be so, \
                     mount the edge with another --cache"
                ),
                _ => format!("{what} could not be had since {began}, and is tried again: {message}"),
            };
            Problem::new(kind, text)
        });
        problems.collect()
    }

    /// Has the bucket asked for news.
    #[cfg(feature = "net")]
    pub(super) fn refresh(&self, caller: Caller, wait: bool) -> Answer {
        self.edge()?.ok_or_else(no_edge)?;
        let state = self.edge_state.get().ok_or_else(not_followed)?;
        let asked = state.ask();
        if wait {
            let asker = self.asker(caller);
            state.wait_for(asked, &|| asker.is_gone())?;
        }
        let info = self.edge_info()?.ok_or_else(no_edge)?;
        Ok(Reply::Edge(Box::new(info)))
    }

    /// Has the bucket asked for news.
    #[cfg(not(feature = "net"))]
    pub(super) fn refresh(&self, _caller: Caller, _wait: bool) -> Answer {
        self.edge()?.ok_or_else(no_edge)?;
        Err(super::without_net())
    }
}

#[cfg(not(feature = "net"))]
impl StoreService {
    /// Follows nothing.
    ///
    /// # Errors
    /// None.
    pub fn follow_bucket(&self) -> Result<Option<EdgeThread>, ControlError> {
        Ok(None)
    }
}

#[cfg(feature = "net")]
impl StoreService {
    /// Begins to follow the bucket, if the store is an edge that may change.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn follow_bucket(self: &Arc<Self>) -> Result<Option<EdgeThread>, ControlError> {
        match self.edge()? {
            Some(found) if !self.engine.is_read_only() => EdgeThread::start(self, found).map(Some),
            Some(_) | None => Ok(None),
        }
    }
}

/// That a store is no edge.
fn no_edge() -> ControlError {
    ControlError::new(
        ErrorKind::Usage,
        "this store is no edge, so there is no bucket that it follows",
    )
    .with_hint(
        "`cairn mount --edge REMOTE MNT` makes one; `cairn pull` brings versions into this one",
    )
}

/// That nobody follows the bucket.
#[cfg(feature = "net")]
fn not_followed() -> ControlError {
    ControlError::new(ErrorKind::Failed, "no daemon follows the bucket of this edge")
        .with_hint("`cairn mount DIR MNT` starts one, without --read-only")
}

/// What an edge answers who wants to change something.
fn only_read(remote: &RemoteInfo) -> ControlError {
    let url = &remote.settings.url;
    let message = format!(
        "this store is an edge: it shows what is in {url}, and is changed from there alone"
    );
    ControlError::new(ErrorKind::Permission, message).with_hint(format!(
        "publish in an ordinary store, and `cairn push` it to {url}; `cairn refresh` brings it here"
    ))
}
