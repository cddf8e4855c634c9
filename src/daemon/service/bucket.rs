//! Remotes of the kind `bucket`: how the daemon gets at one, and what works with it.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::{Answer, StoreService};
use crate::bucket::check::{Check, Finding};
use crate::bucket::collect::Collector;
use crate::bucket::event::BucketId;
use crate::bucket::format;
use crate::bucket::http_probe;
use crate::bucket::key::Nonce;
use crate::bucket::probe::{Probe, probe};
use crate::bucket::remote::{self, patience};
use crate::bucket::signature::{AllowedSigners, Signatures, Signer, SshKeygen};
use crate::bucket::store::ObjectStore;
use crate::control::protocol::{ControlError, ErrorKind};
use crate::control::remote::{BucketCheck, BucketCollection};
use crate::control::reply::Reply;
use crate::control::service::Caller;
use crate::control::transfer::SigningKey;
use crate::model::id::VersionNumber;
use crate::model::name::{RemoteName, RepoName};
use crate::model::remote::{BucketSettings, RemoteKind, RemoteSettings, RemoteTest};
use crate::model::time::Timestamp;
use crate::net::read_public;
use crate::store::caller_path::open_outside;

impl StoreService {
    /// The store of a bucket.
    ///
    /// # Errors
    /// What of it cannot be used; a directory that leads through a mount of this daemon.
    pub(super) fn open_bucket(
        &self,
        settings: &RemoteSettings,
    ) -> Result<Arc<dyn ObjectStore>, ControlError> {
        let failed =
            |error: &dyn std::fmt::Display| ControlError::new(ErrorKind::Failed, error.to_string());
        if let Some(path) = settings.url.local_path() {
            self.check_outside(&path)
                .map_err(|error| failed(&format!("cannot use {}: {error}", path.display())))?;
        }
        remote::open(settings).map_err(|error| failed(&error))
    }

    /// Whether there is a directory at a path, outside of the mounts of this daemon.
    ///
    /// # Errors
    /// Why that cannot be told.
    pub(super) fn has_directory(&self, path: &Path) -> io::Result<bool> {
        let boundary = self.boundary().map_err(|error| io::Error::other(error.to_string()))?;
        match open_outside(path, &boundary.avoided) {
            Ok(opened) => Ok(std::fs::File::from(opened).metadata()?.is_dir()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Refuses a directory in a mount of this daemon, which would wait for itself (R8).
    fn check_outside(&self, path: &Path) -> io::Result<()> {
        let boundary = self.boundary().map_err(|error| io::Error::other(error.to_string()))?;
        // A directory that does not exist yet would be made in the nearest one above it that does.
        for path in path.ancestors() {
            match open_outside(path, &boundary.avoided) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                opened => return opened.map(drop),
            }
        }
        Ok(())
    }

    /// Asks a bucket for all that pushing and pulling need. What fails is part of the answer.
    pub(super) fn test_bucket(&self, settings: &RemoteSettings) -> RemoteTest {
        if settings.is_read_only() {
            return http_probe::probe(settings);
        }
        let found =
            self.open_bucket(settings).map_err(|error| error.to_string()).and_then(|store| {
                probe(&*store, &mut Nonce::random).map_err(|error| error.to_string())
            });
        let mut test = RemoteTest::default();
        match found {
            Err(failure) => test.failure = Some(failure),
            Ok(Probe { creates_once, ranges, lists_at_once }) => {
                test.usable = true;
                test.ranges = Some(ranges);
                test.creates_once = Some(creates_once);
                test.lists_at_once = Some(lists_at_once);
                if settings.url.s3_place().is_some() {
                    test.notes.push(LIFECYCLE.to_owned());
                }
            }
        }
        test
    }

    /// Looks whether the file of allowed signers can be used, before settings are kept that name it.
    ///
    /// # Errors
    /// Why not.
    pub(super) fn check_signers(&self, settings: &RemoteSettings) -> Result<(), ControlError> {
        signatures(settings, None).map(drop)
    }

    /// Asks a bucket before its settings are kept, and notes what was found (H44).
    ///
    /// # Errors
    /// Why it cannot be used.
    pub(super) fn probe_bucket(&self, settings: &mut RemoteSettings) -> Result<(), ControlError> {
        let test = self.test_bucket(settings);
        if let Some(failure) = test.failure {
            return Err(ControlError::new(ErrorKind::Failed, failure)
                .with_hint("a bucket is tried before it is kept: see to its server and key, then do this again"));
        }
        let bucket = settings.bucket.get_or_insert_default();
        *bucket = BucketSettings { creates_once: test.creates_once, ..bucket.clone() };
        Ok(())
    }
}

impl StoreService {
    /// The settings of a remote that is a bucket.
    ///
    /// # Errors
    /// There is no such remote; it is of another kind.
    pub(super) fn bucket_settings(
        &self,
        remote: &RemoteName,
    ) -> Result<RemoteSettings, ControlError> {
        let settings = self.known_remote(remote)?.settings;
        if settings.kind == RemoteKind::Bucket {
            return Ok(settings);
        }
        let message = format!(
            "{remote} is a remote of the kind `{}`, and only a bucket takes and gives versions",
            settings.kind
        );
        Err(ControlError::new(ErrorKind::Usage, message).with_hint(
            "`cairn remote add NAME bucket URL` adds a bucket; `cairn sync` reads from other remotes",
        ))
    }

    /// A bucket that is there, with its id and what is known of it.
    fn known_bucket(
        &self,
        remote: &RemoteName,
    ) -> Result<(Arc<dyn ObjectStore>, BucketId, RemoteSettings), ControlError> {
        let settings = self.bucket_settings(remote)?;
        let store = self.open_bucket(&settings)?;
        let bucket = format::read_id(&*store).map_err(|error| failed(remote, &error))?;
        let bucket = bucket.ok_or_else(|| failed(remote, &format::FormatFileError::Missing))?;
        Ok((store, bucket, settings))
    }

    /// Removes what no log of a bucket needs. It ends early when nobody waits for it any more; the next one goes on.
    pub(super) fn collect_bucket(
        &self,
        caller: Caller,
        remote: RemoteName,
        dry_run: bool,
        sign: Option<&SigningKey>,
    ) -> Answer {
        check_writable(&remote, &self.bucket_settings(&remote)?)?;
        let (store, bucket, settings) = self.known_bucket(&remote)?;
        let signatures = signatures(&settings, sign)?;
        let asker = self.asker(caller);
        let of_retry = asker.clone();
        let retry = patience(move || of_retry.is_gone());
        let is_gone = || asker.is_gone();
        let collector = Collector::new(&*store, bucket, &retry, &Nonce::random, Timestamp::now())
            .signatures(&signatures)
            .stopped_by(&is_gone);
        let (collected, candidate_bytes) = if dry_run {
            let found = collector.dry_run().map_err(|error| failed(&remote, &error))?;
            (found.0, Some(found.1))
        } else {
            (collector.run().map_err(|error| failed(&remote, &error))?, None)
        };
        Ok(Reply::BucketCollection(Box::new(BucketCollection {
            remote,
            dry_run,
            objects: collected.objects,
            strangers: collected.strangers,
            candidates: collected.candidates,
            candidate_bytes,
            condemned: collected.condemned,
            waiting: collected.waiting,
            deleted: collected.deleted,
            deleted_bytes: collected.deleted_bytes,
        })))
    }

    /// Checks a bucket against its names, as long as somebody waits for it.
    pub(super) fn check_bucket(
        &self,
        caller: Caller,
        remote: RemoteName,
        with_content: bool,
    ) -> Answer {
        let (store, bucket, settings) = self.known_bucket(&remote)?;
        let signatures = signatures(&settings, None)?;
        let asker = self.asker(caller);
        let is_gone = || asker.is_gone();
        let (mut found, mut notes) = (0, Vec::new());
        let check = Check::new(&*store, bucket, &|_| false, with_content, &is_gone);
        let checked = check.signatures(&signatures).run(&mut |finding| {
            found += 1;
            if notes.len() < FINDINGS_MAX {
                notes.push(text(&finding));
            }
        });
        let checked = checked.map_err(|error| failed(&remote, &error))?;
        Ok(Reply::BucketCheck(Box::new(BucketCheck {
            remote,
            repositories: checked.repositories,
            versions: checked.versions,
            objects: checked.objects,
            read_bytes: checked.read_bytes,
            found,
            notes,
        })))
    }
}

/// Refuses to change a bucket that is read over plain HTTP.
///
/// # Errors
/// It is such a bucket.
pub(super) fn check_writable(
    remote: &RemoteName,
    settings: &RemoteSettings,
) -> Result<(), ControlError> {
    if !settings.is_read_only() {
        return Ok(());
    }
    let message = format!(
        "{remote} is a bucket that is read over HTTP ({}): nothing can be pushed to it, deleted in it or collected that way",
        settings.url
    );
    Err(ControlError::new(ErrorKind::Usage, message).with_hint(
        "add the place behind that URL under a name of its own, and use that: `cairn remote add NAME bucket \
         s3://BUCKET/PREFIX`, or the path of its directory",
    ))
}

/// Whose events of a bucket are believed, and who signs those that are made here: `sign`, or the key of the settings.
///
/// # Errors
/// The file of allowed signers cannot be used.
pub(super) fn signatures(
    settings: &RemoteSettings,
    sign: Option<&SigningKey>,
) -> Result<Signatures, ControlError> {
    let bucket = settings.bucket.clone().unwrap_or_default();
    let allowed = bucket.allowed_signers_file.as_deref().map(read_signers).transpose()?;
    let of_settings = bucket.signing_key_file.map(|file| SshKeygen::new(file, None));
    let signer = match sign {
        Some(key) => Some(SshKeygen::new(key.file.clone(), key.agent_socket.clone())),
        None => of_settings,
    };
    let signer = signer.map(|signer| Box::new(signer) as Box<dyn Signer>);
    Ok(Signatures { allowed, required: bucket.require_signed, signer })
}

fn read_signers(path: &Path) -> Result<AllowedSigners, ControlError> {
    let failed = |error: &dyn std::fmt::Display| {
        let message = format!("the file of allowed signers cannot be used: {error}");
        ControlError::new(ErrorKind::Failed, message).with_hint(
            "its lines are as in ssh-keygen(1), ALLOWED SIGNERS: `alice@example.org ssh-ed25519 AAAA…`",
        )
    };
    let bytes = read_public(path).map_err(|error| failed(&error))?;
    let in_file = |error| failed(&format!("{}: {error}", path.display()));
    AllowedSigners::parse(&bytes).map_err(in_file)
}

fn failed(remote: &RemoteName, error: &dyn std::fmt::Display) -> ControlError {
    ControlError::new(ErrorKind::Failed, format!("{remote}: {error}"))
}

/// A finding in words.
fn text(finding: &Finding) -> String {
    let of = |needed_by: &Option<(RepoName, VersionNumber)>| match needed_by {
        Some((name, number)) => format!("version {number} of {name} needs it"),
        None => "a mark of a collection needs it".to_owned(),
    };
    match finding {
        Finding::Log { log, reason } => format!("{log} cannot be read to its end: {reason}"),
        Finding::Missing { key, needed_by } => {
            format!("{key} is missing, and {}", of(needed_by))
        }
        Finding::Damaged { key, needed_by, reason } => {
            format!("{key} is damaged, and {}: {reason}", of(needed_by))
        }
    }
}

/// Findings that are told one by one; all are counted.
const FINDINGS_MAX: usize = 1000;

/// What a probe cannot see, since the library does not ask for it.
const LIFECYCLE: &str = "let the server remove unfinished multipart uploads after some days, and no object by its age: \
                         only `cairn remote gc` knows what is needed";
