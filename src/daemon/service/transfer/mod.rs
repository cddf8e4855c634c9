//! Push and pull: jobs that have versions go to a bucket, or come from one (D1).
//!
//! A job opens the bucket and reads its logs ([`session`]), decides what is to go where (`bucket::agree`), has
//! contents and trees moved (`bucket::push`, `bucket::pull`), and publishes: a push by an event of the log, a pull by
//! a commit of the local store. What an edge does with a log that it has read is in [`mirror`]. Whatever ends it in
//! between leaves only what nobody names, and the next one finds that.

mod accept;
mod destination;
mod error;
mod local;
mod mirror;
mod pull;
mod push;
mod session;

use std::sync::Arc;

use self::error::{Failure, transfer_error};
use self::session::Access;
pub(super) use self::session::EdgeLog;
use super::bucket::{check_writable, signatures};
use super::jobs::{Job, JobReply, JobRequest, Work};
use super::{Answer, StoreService};
use crate::bucket::transfer::Watch;
use crate::control::protocol::{ControlError, ErrorKind, Progress};
use crate::control::reply::Reply;
use crate::control::service::Caller;
use crate::control::transfer::{Direction, TransferReply, TransferRequest};
use crate::model::name::BaseName;
use crate::model::remote::RemoteSettings;

/// How often a version is pushed again since a collector asks for keys meanwhile.
const TRIES: u32 = 5;

impl StoreService {
    pub(super) fn transfer(
        &self,
        caller: Caller,
        request: TransferRequest,
        progress: &mut dyn FnMut(Progress),
    ) -> Answer {
        self.check_transfer(&request)?;
        let settings = self.bucket_settings(&request.remote)?;
        if request.direction == Direction::Push {
            check_writable(&request.remote, &settings)?;
        }
        let is_detached = request.detach;
        let of_job = request.clone();
        let work: Work = Box::new(move |service, job| {
            service.run_transfer(job, &of_job, &settings).map(JobReply::Transfer)
        });
        let job = self.jobs.begin(caller, JobRequest::Transfer(request), work)?;
        if is_detached {
            return Ok(Reply::Jobs(vec![job.info()]));
        }
        self.attend(&job, None, progress)
    }

    /// Checks what can be checked at once.
    fn check_transfer(&self, request: &TransferRequest) -> Result<(), ControlError> {
        let usage = |message: &str| Err(ControlError::new(ErrorKind::Usage, message));
        // A pull makes versions, and a push notes what both sides have in common.
        self.check_job(request.detach)?;
        match (request.direction, request.delete) {
            (Direction::Pull, true) => usage("a pull deletes nothing in the bucket"),
            (Direction::Pull, false) if !request.versions.is_empty() => {
                usage("a repository is pulled as a whole, so that its versions keep their order")
            }
            (Direction::Push, true) if request.versions.is_empty() => {
                usage("name the versions and tags to delete in the bucket, as REPO/7 or REPO/TAG")
            }
            (Direction::Push, true) if request.versions.contains(&BaseName::Latest) => {
                usage("`latest` is another version with each publication: name one by its number")
            }
            (Direction::Push, _) if !request.delete => {
                self.repository(&request.repository)?;
                for version in &request.versions {
                    self.version(&request.repository, version)?;
                }
                Ok(())
            }
            (Direction::Push | Direction::Pull, _) => Ok(()),
        }
    }

    /// The work of the job.
    fn run_transfer(
        &self,
        job: &Arc<Job>,
        request: &TransferRequest,
        settings: &RemoteSettings,
    ) -> Result<TransferReply, ControlError> {
        let rate = request.rate_bytes_per_second.or(settings.rate_bytes_per_second);
        let watch = Watch::new(&job.stop, &job.transfer, rate);
        let run = || -> Result<TransferReply, Failure> {
            let stopping = Arc::clone(job);
            let store = self.open_bucket(settings)?;
            let retry = crate::bucket::remote::patience(move || stopping.is_cancelled());
            let signatures = signatures(settings, request.sign.as_ref())?;
            let access =
                Access { store: &*store, watch: &watch, retry: &retry, signatures: &signatures };
            let mut reply = match request.direction {
                Direction::Push => self.push(job, request, access)?,
                Direction::Pull => self.pull(job, request, access)?,
            };
            if request.direction == Direction::Push {
                reply.warnings.extend(publisher_warning(settings, request));
            }
            reply.counts = job.transfer.progress().counts;
            Ok(reply)
        };
        run().map_err(|failure| transfer_error(failure, request))
    }
}

/// What to say of a store on which two publishers might not notice each other (D3).
fn publisher_warning(settings: &RemoteSettings, request: &TransferRequest) -> Option<String> {
    let remote = &request.remote;
    match settings.bucket.as_ref().and_then(|bucket| bucket.creates_once) {
        Some(true) => None,
        Some(false) => Some(format!(
            "{remote} lets a second writer replace an event, so what another machine pushes at the same time may be lost: \
             push to it from one machine alone"
        )),
        None => Some(format!(
            "whether {remote} keeps two publishers apart was not tried: `cairn remote test {remote}` does"
        )),
    }
}
