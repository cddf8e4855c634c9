//! What keeps a blob.

use super::errors::{control_error, store_error};
use super::{Answer, StoreService};
use crate::control::protocol::{ControlError, ErrorKind, Progress};
use crate::control::reply::Reply;
use crate::control::utc::Until;
use crate::control::why::{HOLDER_PATHS_MAX, HOLDERS_MAX, Holder, HolderKind, WhyReply, WhyTarget};
use crate::engine::gc::protection_limit;
use crate::engine::why::{self, Bounds, Holders, Names};
use crate::model::content_name::ContentName;
use crate::model::hash::BlobHash;
use crate::model::name::{BaseName, RepoName};
use crate::model::raw::RawPath;
use crate::model::time::Timestamp;
use crate::model::tree::Content;
use crate::model::tree_format;

impl StoreService {
    pub(super) fn why(&self, target: &WhyTarget, progress: &mut dyn FnMut(Progress)) -> Answer {
        let hash = match target {
            WhyTarget::Hash(hash) => *hash,
            WhyTarget::File { repository, version, path } => {
                self.blob_at(repository, version, path)?
            }
        };
        if hash == BlobHash::of(b"") {
            return Err(nothing("it is empty"));
        }
        let bounds = Bounds { holders: HOLDERS_MAX, paths: HOLDER_PATHS_MAX };
        let mut report = |pages| {
            let what = "looking through directories".to_owned();
            progress(Progress::Step { what, done: pages, total: None, is_bytes: false });
        };
        let found = self.engine.holders(&hash, bounds, &mut report).map_err(control_error)?;
        let found = found.ok_or_else(|| {
            ControlError::new(ErrorKind::NotFound, format!("the store has no blob {hash}"))
                .with_hint("a file has its hash as `getfattr -n user.cairn.hash FILE`")
        })?;
        Ok(Reply::Why(self.describe_holders(hash, found)))
    }

    /// The content of a file of a version.
    fn blob_at(
        &self,
        repository: &RepoName,
        version: &BaseName,
        path: &RawPath,
    ) -> Result<BlobHash, ControlError> {
        let usage = |error| ControlError::new(ErrorKind::Usage, format!("{path:?}: {error}"));
        let names = path.components().map_err(|error| usage(error.to_string()))?;
        let (_, version) = self.version(repository, version)?;
        let found = tree_format::lookup_path(&*self.engine.trees, &version.root.tree, &names)
            .map_err(store_error)?;
        if found.is_none() && !names.is_empty() {
            let message = format!("no {path:?} in `{repository}/{}`", version.number);
            return Err(ControlError::new(ErrorKind::NotFound, message));
        }
        match found.map(|entry| entry.content) {
            // It has a row, also if it is absent.
            Some(Content::File { blob: Some(ContentName::Blake3(blob)), .. }) => Ok(blob),
            Some(Content::File { blob: Some(name), .. }) => {
                self.engine.trees.blob_names().resolve(&name).map_err(store_error)
            }
            Some(Content::File { blob: None, .. }) => Err(nothing("it is empty")),
            _ => Err(nothing("it is no regular file")),
        }
    }

    fn describe_holders(&self, hash: BlobHash, found: Holders) -> WhyReply {
        let until = self.protected_until(found.row.last_used);
        let protect = self.engine.gc_options.protect_seconds;
        let limit = protection_limit(Timestamp::now(), protect);
        let protected = found.row.refs == 0 && found.row.last_used > limit;
        let references = found.references;
        let mut holders: Vec<_> =
            found.listed.into_iter().map(|holder| self.describe_holder(holder)).collect();
        if found.elsewhere > 0 {
            let what = HolderKind::Pages { references: found.elsewhere };
            holders.push(Holder { what, paths: Vec::new(), more_paths: 0 });
        }
        WhyReply {
            hash,
            size_bytes: found.row.size,
            references,
            holders,
            more_holders: found.more,
            open: found.pinned,
            until: protected.then(|| Until::at(until)),
            damaged: found.row.is_damaged(),
            absent: found.row.is_absent(),
            free: references == 0 && !found.pinned && !protected,
        }
    }

    fn describe_holder(&self, holder: why::Holder) -> Holder {
        let (what, names) = match holder {
            why::Holder::Version { repository, number, deleted, names } => {
                let repository = repository.name.clone();
                let what = match deleted {
                    None => HolderKind::Version { repository, number },
                    Some(deleted) => {
                        let until = Until::at(self.protected_until(deleted));
                        HolderKind::DeletedVersion { repository, number, until }
                    }
                };
                (what, names)
            }
            why::Holder::Area { repository, name: area, base, names } => {
                let repository = repository.name.clone();
                let what = match base {
                    true => HolderKind::Base { repository, area },
                    false => HolderKind::Area { repository, area },
                };
                (what, names)
            }
            why::Holder::Queue => (HolderKind::Queue, Names::default()),
        };
        let more_paths = names.total.saturating_sub(names.paths.len() as u64);
        let paths = names.paths.into_iter().map(RawPath::from).collect();
        Holder { what, paths, more_paths }
    }
}

fn nothing(reason: &str) -> ControlError {
    ControlError::new(ErrorKind::Usage, format!("{reason}: it has no content that takes space"))
}
