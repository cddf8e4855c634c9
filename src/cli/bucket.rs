//! Where a bucket is: options of `cairn remote add`, `cairn remote set` and `cairn mount --edge`.

use std::io;
use std::path::{Path, PathBuf};

use super::parse::absolute;
use crate::control::transfer::SigningKey;
use crate::model::remote::{BucketSettings, Endpoint, RemoteKind, RemoteSettings};

/// What is said of a bucket besides its place.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args)]
pub(super) struct BucketChoice {
    /// Of kind `bucket`: the server, where it is not Amazon's
    #[arg(long, value_name = "URL")]
    endpoint: Option<Endpoint>,
    /// Of kind `bucket`: the region [default: us-east-1]
    #[arg(long, value_name = "REGION")]
    region: Option<String>,
    /// Of kind `bucket`: ask for BUCKET.HOST/KEY, and not for HOST/BUCKET/KEY
    #[arg(long)]
    virtual_hosted: bool,
    /// Of kind `bucket`: sign what is published with this SSH key
    #[arg(long, value_name = "KEY")]
    sign_key: Option<PathBuf>,
    /// Of kind `bucket`: whose signatures count, a file as in ssh-keygen(1)
    #[arg(long, value_name = "FILE")]
    allowed_signers: Option<PathBuf>,
    /// Of kind `bucket`: believe nothing that is not signed
    #[arg(long)]
    require_signed: bool,
}

/// What goes.
#[derive(Debug, clap::Args)]
pub(super) struct BucketCleared {
    /// Use Amazon's server
    #[arg(long, conflicts_with = "endpoint")]
    no_endpoint: bool,
    /// Ask for HOST/BUCKET/KEY
    #[arg(long, conflicts_with = "virtual_hosted")]
    no_virtual_hosted: bool,
    /// Sign nothing
    #[arg(long, conflicts_with = "sign_key")]
    no_sign_key: bool,
    /// Look at no signatures
    #[arg(long, conflicts_with_all = ["allowed_signers", "require_signed"])]
    no_allowed_signers: bool,
    /// Believe what is not signed
    #[arg(long, conflicts_with = "require_signed")]
    no_require_signed: bool,
}

impl BucketChoice {
    /// Whether nothing was said.
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The server that was named.
    pub(super) fn endpoint(&self) -> Option<&Endpoint> {
        self.endpoint.as_ref()
    }

    /// Puts what was said into settings; whoever keeps them checks whether it fits.
    ///
    /// # Errors
    /// The working directory cannot be found.
    pub(super) fn apply(self, settings: &mut RemoteSettings) -> io::Result<()> {
        let is_empty = self.is_empty();
        let Self { endpoint, region, virtual_hosted, sign_key, allowed_signers, require_signed } =
            self;
        if settings.kind != RemoteKind::Bucket && is_empty {
            settings.bucket = None;
        }
        if is_empty {
            return Ok(());
        }
        let bucket = settings.bucket.get_or_insert_default();
        bucket.endpoint = endpoint.or(bucket.endpoint.take());
        bucket.region = region.or(bucket.region.take());
        bucket.virtual_hosted |= virtual_hosted;
        if let Some(path) = sign_key {
            bucket.signing_key_file = Some(absolute(&path)?);
        }
        if let Some(path) = allowed_signers {
            bucket.allowed_signers_file = Some(absolute(&path)?);
        }
        bucket.require_signed |= require_signed;
        Ok(())
    }
}

impl BucketCleared {
    pub(super) fn apply(&self, settings: &mut RemoteSettings) {
        let Some(bucket) = &mut settings.bucket else { return };
        if self.no_endpoint {
            bucket.endpoint = None;
        }
        bucket.virtual_hosted &= !self.no_virtual_hosted;
        if self.no_sign_key {
            bucket.signing_key_file = None;
        }
        if self.no_allowed_signers {
            bucket.allowed_signers_file = None;
        }
        bucket.require_signed &= !(self.no_require_signed || self.no_allowed_signers);
    }
}

/// A key that is named on the command line, with the agent that the caller has.
///
/// # Errors
/// The working directory cannot be found.
pub(super) fn signing_key(path: &Path) -> io::Result<SigningKey> {
    let agent_socket = std::env::var_os("SSH_AUTH_SOCK").map(PathBuf::from);
    Ok(SigningKey { file: absolute(path)?, agent_socket })
}

/// Lines that say where it is, and what was found of it.
pub(super) fn details(bucket: &BucketSettings) -> Vec<String> {
    let mut lines = Vec::new();
    lines.extend(bucket.endpoint.as_ref().map(|endpoint| format!("endpoint {endpoint}")));
    lines.extend(bucket.region.as_ref().map(|region| format!("region {region}")));
    if bucket.virtual_hosted {
        lines.push("the bucket's name is in the host".to_owned());
    }
    let file = |path: &PathBuf| path.display().to_string();
    lines.extend(bucket.signing_key_file.as_ref().map(|key| format!("signs with {}", file(key))));
    lines.extend(bucket.allowed_signers_file.as_ref().map(|list| {
        let list = file(list);
        match bucket.require_signed {
            true => format!("believes what is signed by those in {list}, and nothing else"),
            false => format!("believes what is not signed, or signed by those in {list}"),
        }
    }));
    lines.extend(bucket.creates_once.map(|creates_once| {
        let found = if creates_once {
            "honours conditions: several machines may push"
        } else {
            "ignores conditions: ONE machine may push, two would overwrite each other"
        };
        found.to_owned()
    }));
    lines
}
