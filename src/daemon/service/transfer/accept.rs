//! What a bucket holds is taken for the truth, although it was something else before (H48), or is signed by nobody (D4).

use std::sync::atomic::AtomicBool;

use super::super::{Answer, StoreService};
use super::error::Failure;
use super::push::{flags, tags};
use super::session::{Access, Common, Session};
use crate::bucket::agree::in_common;
use crate::bucket::remote::patience;
use crate::bucket::signature::Signatures;
use crate::bucket::transfer::{TransferTally, Watch};
use crate::control::protocol::{ControlError, ErrorKind};
use crate::control::reply::Reply;
use crate::control::service::Caller;
use crate::model::name::{RemoteName, RepoName};

impl StoreService {
    /// Forgets what was seen of a bucket, and remembers what is there now.
    pub(in crate::daemon::service) fn accept_bucket(
        &self,
        caller: Caller,
        remote: &RemoteName,
        name: &RepoName,
    ) -> Answer {
        self.check_job(false)?;
        let repository = self.repository(name)?;
        let store = self.open_bucket(&self.bucket_settings(remote)?)?;
        let asker = self.asker(caller);
        let retry = patience(move || asker.is_gone());
        let (stop, tally) = (AtomicBool::new(false), TransferTally::default());
        let watch = Watch::new(&stop, &tally, None);
        let access =
            Access { store: &*store, watch: &watch, retry: &retry, signatures: Signatures::NONE };
        let failed = |failure: Failure| {
            let made = ControlError::new(ErrorKind::Failed, format!("{remote}: {failure}"));
            made.with_hint(format!("`cairn remote fsck {remote}` says what can be read"))
        };
        let session = Session::open(access, name, None, false).map_err(failed)?;
        let session = session.ok_or(Failure::NoBucket).map_err(failed)?;
        let common = Common::new(
            in_common(&session.tags(), &tags(&repository), None),
            in_common(&session.flags(), &flags(&repository), None),
        );
        self.note_bucket(&repository, remote, &session.to_remember(common))?;
        Ok(Reply::Done)
    }
}
