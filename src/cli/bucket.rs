//! Where a bucket is: options of `cairn remote add` and `cairn remote set`.

use crate::model::remote::{BucketSettings, Endpoint, RemoteKind, RemoteSettings};

/// What a server of S3 has to be told.
#[derive(Debug, clap::Args)]
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
}

impl BucketChoice {
    /// Puts what was said into settings; whoever keeps them checks whether it fits.
    pub(super) fn apply(self, settings: &mut RemoteSettings) {
        let Self { endpoint, region, virtual_hosted } = self;
        let is_empty = endpoint.is_none() && region.is_none() && !virtual_hosted;
        if settings.kind != RemoteKind::Bucket && is_empty {
            settings.bucket = None;
        }
        if is_empty {
            return;
        }
        let bucket = settings.bucket.get_or_insert_default();
        bucket.endpoint = endpoint.or(bucket.endpoint.take());
        bucket.region = region.or(bucket.region.take());
        bucket.virtual_hosted |= virtual_hosted;
    }
}

impl BucketCleared {
    pub(super) fn apply(&self, settings: &mut RemoteSettings) {
        let Some(bucket) = &mut settings.bucket else { return };
        if self.no_endpoint {
            bucket.endpoint = None;
        }
        bucket.virtual_hosted &= !self.no_virtual_hosted;
    }
}

/// Lines that say where it is, and what was found of it.
pub(super) fn details(bucket: &BucketSettings) -> Vec<String> {
    let mut lines = Vec::new();
    lines.extend(bucket.endpoint.as_ref().map(|endpoint| format!("endpoint {endpoint}")));
    lines.extend(bucket.region.as_ref().map(|region| format!("region {region}")));
    if bucket.virtual_hosted {
        lines.push("the bucket's name is in the host".to_owned());
    }
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
