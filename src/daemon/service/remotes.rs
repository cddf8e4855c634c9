//! Remotes: their settings in the catalog, and whether they can be used.

use super::errors::control_error;
use super::{Answer, StoreService};
use crate::control::protocol::{ControlError, ErrorKind};
use crate::control::remote::{RemoteInfo, RemoteRequest};
use crate::control::reply::Reply;
use crate::control::service::Caller;
#[cfg(not(feature = "net"))]
use crate::control::transfer::SigningKey;
use crate::engine::error::EngineError;
use crate::engine::request::Request;
use crate::model::name::RemoteName;
#[cfg(not(feature = "net"))]
use crate::model::name::RepoName;
use crate::model::remote::{RemoteKind, RemoteSettings};
use crate::model::text::{self, printable};
use crate::store::catalog::Reader;

/// Paths of needed content that an error shows.
const NEEDED_SHOWN: u32 = 5;

impl StoreService {
    pub(super) fn remote(&self, caller: Caller, request: RemoteRequest) -> Answer {
        match request {
            RemoteRequest::List => {
                let reader = self.engine.open_reader().map_err(control_error)?;
                let rows = reader.remotes().map_err(|error| control_error(error.into()))?;
                let remotes: Result<Vec<_>, _> =
                    rows.into_iter().map(|(name, settings)| describe(name, &settings)).collect();
                Ok(Reply::Remotes(remotes?))
            }
            RemoteRequest::Show { name } => Ok(Reply::Remotes(vec![self.known_remote(&name)?])),
            RemoteRequest::Put { name, mut settings, replace } => {
                settings
                    .check()
                    .map_err(|error| ControlError::new(ErrorKind::Usage, error.to_string()))?;
                match self.find_remote(&name)? {
                    Some(_) if !replace => {
                        let message = format!("there is a remote {name} already");
                        let hint = format!("`cairn remote set {name}` changes it");
                        return Err(ControlError::new(ErrorKind::Failed, message).with_hint(hint));
                    }
                    None if replace => return Err(no_remote(&name)),
                    Some(_) | None => {}
                }
                self.check_edge(&mut settings)?;
                check_policy(&settings)?;
                if settings.kind == RemoteKind::Bucket {
                    self.check_signers(&settings)?;
                }
                // A probe writes into the bucket, and an edge only reads.
                if settings.kind == RemoteKind::Bucket && settings.edge.is_none() {
                    self.probe_bucket(&mut settings)?;
                }
                self.keep_remote(&name, &settings)?;
                self.look_at_cache();
                Ok(Reply::Remotes(vec![RemoteInfo { name, settings: *settings }]))
            }
            RemoteRequest::Test { name } => {
                let settings = self.known_remote(&name)?.settings;
                self.test(caller, &settings)
            }
            RemoteRequest::Fsck { name, with_content } => {
                self.check_bucket(caller, name, with_content)
            }
            RemoteRequest::Gc { name, dry_run, sign } => {
                self.collect_bucket(caller, name, dry_run, sign.as_ref())
            }
            RemoteRequest::Accept { name, repository } => {
                self.accept_bucket(caller, &name, &repository)
            }
            RemoteRequest::Remove { name, force } => {
                if !force {
                    self.check_needed(&name)?;
                }
                self.engine
                    .call(|reply| Request::PutRemote {
                        name,
                        settings: None,
                        keeps_seen: false,
                        reply,
                    })
                    .map_err(control_error)?;
                self.look_at_cache();
                Ok(Reply::Done)
            }
        }
    }

    /// Keeps settings. What was seen of a bucket stays known: other settings make it no other bucket (H48). Another
    /// policy, say, may make another version of what a list declares, so that is asked anew.
    fn keep_remote(
        &self,
        name: &RemoteName,
        settings: &RemoteSettings,
    ) -> Result<(), ControlError> {
        let text = serde_json::to_string(settings).map_err(|error| {
            let message = format!("these settings cannot be kept: {error}");
            ControlError::new(ErrorKind::Usage, message)
        })?;
        let keeps_seen = settings.kind == RemoteKind::Bucket;
        let (name, settings) = (name.clone(), Some(text));
        let put = |reply| Request::PutRemote { name, settings, keeps_seen, reply };
        self.engine.call(put).map_err(control_error)
    }

    /// Refuses the removal of a remote that alone has content which versions need (L7).
    fn check_needed(&self, name: &RemoteName) -> Result<(), ControlError> {
        let look = |reader: &Reader| reader.only_at(name, NEEDED_SHOWN);
        let (count, some) = self.engine.query(look).map_err(control_error)?;
        if count == 0 {
            return Ok(());
        }
        let shown: Vec<_> =
            some.iter().map(|path| printable(&String::from_utf8_lossy(path)).to_string()).collect();
        let message = format!(
            "{} of versions {} not in the store and can be had from {name} alone: {}{}",
            text::count(count, "content"),
            text::is_or_are(count),
            shown.join(", "),
            if count > u64::from(NEEDED_SHOWN) { ", …" } else { "" }
        );
        Err(ControlError::new(ErrorKind::Failed, message).with_hint(
            "read the files first (`cat` them), or use --force: they cannot be read from then on",
        ))
    }

    #[cfg(not(feature = "net"))]
    fn check_bucket(&self, _caller: Caller, _name: RemoteName, _with_content: bool) -> Answer {
        Err(super::without_net())
    }

    #[cfg(not(feature = "net"))]
    fn collect_bucket(
        &self,
        _caller: Caller,
        _name: RemoteName,
        _dry_run: bool,
        _sign: Option<&SigningKey>,
    ) -> Answer {
        Err(super::without_net())
    }

    #[cfg(not(feature = "net"))]
    fn accept_bucket(&self, _caller: Caller, _name: &RemoteName, _of: &RepoName) -> Answer {
        Err(super::without_net())
    }

    #[cfg(not(feature = "net"))]
    fn check_signers(&self, _settings: &RemoteSettings) -> Result<(), ControlError> {
        Err(super::without_net())
    }

    #[cfg(not(feature = "net"))]
    fn probe_bucket(&self, _settings: &mut RemoteSettings) -> Result<(), ControlError> {
        Err(super::without_net())
    }

    #[cfg(feature = "net")]
    fn test(&self, caller: Caller, settings: &RemoteSettings) -> Answer {
        if settings.kind == RemoteKind::Bucket {
            return Ok(Reply::RemoteTest(self.test_bucket(settings)));
        }
        if !settings.kind.is_local() {
            return Ok(Reply::RemoteTest(crate::sync::probe(settings)));
        }
        let asker = self.asker(caller);
        Ok(Reply::RemoteTest(self.test_local(settings, &|| asker.is_gone())))
    }

    #[cfg(not(feature = "net"))]
    fn test(&self, _caller: Caller, _settings: &RemoteSettings) -> Answer {
        Err(super::without_net())
    }

    fn find_remote(&self, name: &RemoteName) -> Result<Option<String>, ControlError> {
        let reader = self.engine.open_reader().map_err(control_error)?;
        reader.remote(name).map_err(|error| control_error(error.into()))
    }

    pub(super) fn known_remote(&self, name: &RemoteName) -> Result<RemoteInfo, ControlError> {
        let settings = self.find_remote(name)?.ok_or_else(|| no_remote(name))?;
        describe(name.clone(), &settings)
    }
}

/// Content can be named before it is there only if its size is declared (L2).
pub(super) fn check_policy(settings: &RemoteSettings) -> Result<(), ControlError> {
    if !settings.policy.is_lazy() || settings.kind.declares_sizes() {
        return Ok(());
    }
    let message = if settings.kind.is_local() {
        format!("a remote of the kind `{}` is read during the sync, whole", settings.kind)
    } else {
        format!(
            "a remote of the kind `{}` declares no sizes, so its content must be fetched during the sync",
            settings.kind
        )
    };
    Err(ControlError::new(ErrorKind::Usage, message)
        .with_hint("leave out --policy, or use a remote of the kind `manifest` or a bucket"))
}

fn no_remote(name: &RemoteName) -> ControlError {
    control_error(EngineError::NoRemote(name.clone()))
        .with_hint("`cairn remote list` shows all remotes")
}

pub(super) fn describe(name: RemoteName, settings: &str) -> Result<RemoteInfo, ControlError> {
    let settings: RemoteSettings = serde_json::from_str(settings).map_err(|error| {
        let message = format!("the settings of remote {name} cannot be read: {error}");
        ControlError::new(ErrorKind::Failed, message)
            .with_hint(format!("`cairn remote remove {name}`, then add it again"))
    })?;
    Ok(RemoteInfo { name, settings })
}
