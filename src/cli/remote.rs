//! `cairn remote`: where declared content comes from.

mod abilities;
mod access;
mod bucket;
mod help;

use std::path::PathBuf;

use clap::builder::{OsStringValueParser, TypedValueParser};

use super::Context;
use super::bucket::{BucketChoice, BucketCleared};
use super::debian::{ArchiveChoice, ArchiveCleared};
use super::error::CliError;
use super::output::Align::Left;
use super::parse::parse_place;
use super::text::size;
use crate::control::protocol::Request;
use crate::control::remote::{RemoteInfo, RemoteRequest};
use crate::control::reply::Reply;
use crate::model::fetch_policy::FetchPolicy;
use crate::model::name::{RemoteName, RepoName};
use crate::model::remote::{Login, RemoteKind, RemoteSettings, RemoteUrl, SecretSource};
use crate::model::text::count;

pub(super) use access::Access;

/// Arguments of `cairn remote`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = help::HELP)]
pub struct RemoteArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Add a remote
    Add {
        /// Its name
        #[arg(value_name = "NAME")]
        name: RemoteName,
        /// What it is: `sums`, `manifest`, `debian`, `directory`, `archive` or `bucket`
        #[arg(value_name = "KIND")]
        kind: RemoteKind,
        /// The list, or its directory (with `/` at the end); a path where the kind is directory or archive; s3://BUCKET/PREFIX, a path
        /// or the URL of what shows one where it is bucket
        #[arg(value_name = "URL|PATH", value_parser = OsStringValueParser::new().try_map(parse_place))]
        url: RemoteUrl,
        #[command(flatten)]
        archive: Box<ArchiveChoice>,
        #[command(flatten)]
        bucket: Box<BucketChoice>,
        #[command(flatten)]
        access: Box<Access>,
    },
    /// List all remotes
    List,
    /// Show the settings of a remote
    Show {
        /// Its name
        #[arg(value_name = "NAME")]
        name: RemoteName,
    },
    /// Change settings of a remote; what is not named stays
    Set {
        /// Its name
        #[arg(value_name = "NAME")]
        name: RemoteName,
        /// The list, or its directory (with `/` at the end); a path where the kind is directory or archive; s3://BUCKET/PREFIX, a path
        /// or the URL of what shows one where it is bucket
        #[arg(long, value_name = "URL|PATH", value_parser = OsStringValueParser::new().try_map(parse_place))]
        url: Option<RemoteUrl>,
        /// What it is: `sums`, `manifest`, `debian`, `directory`, `archive` or `bucket`
        #[arg(long, value_name = "KIND")]
        kind: Option<RemoteKind>,
        #[command(flatten)]
        archive: Box<ArchiveChoice>,
        #[command(flatten)]
        archive_cleared: ArchiveCleared,
        #[command(flatten)]
        bucket: Box<BucketChoice>,
        #[command(flatten)]
        bucket_cleared: BucketCleared,
        #[command(flatten)]
        access: Box<Access>,
        #[command(flatten)]
        cleared: Cleared,
    },
    /// Say what works with a remote and what does not
    Test {
        /// Its name
        #[arg(value_name = "NAME")]
        name: RemoteName,
    },
    /// Check a bucket against the names of what it holds
    Fsck {
        /// Its name
        #[arg(value_name = "NAME")]
        name: RemoteName,
        /// Read and hash packs and large contents as well, which are most of the bucket
        #[arg(long)]
        content: bool,
    },
    /// Remove from a bucket what no version in it needs
    Gc {
        /// Its name
        #[arg(value_name = "NAME")]
        name: RemoteName,
        /// Only say what nothing needs
        #[arg(long)]
        dry_run: bool,
        /// Sign what is published in the logs with this SSH key, or with the agent's where it is a .pub file
        #[arg(long, value_name = "KEY")]
        sign: Option<PathBuf>,
    },
    /// Take what a bucket holds of a repository for the truth, after an alarm about its log
    Accept {
        /// Its name
        #[arg(value_name = "NAME")]
        name: RemoteName,
        /// The repository
        #[arg(value_name = "REPO")]
        repository: RepoName,
    },
    /// Remove a remote; versions that came from it stay
    Remove {
        /// Its name
        #[arg(value_name = "NAME")]
        name: RemoteName,
        /// Also if it alone has some content of versions, which cannot be read from then on
        #[arg(long)]
        force: bool,
    },
}

/// Settings that go.
#[derive(Debug, clap::Args)]
struct Cleared {
    /// Remove the login
    #[arg(long, conflicts_with_all = ["user", "token_file", "token_env"])]
    no_login: bool,
    /// Trust the machine's CA certificates alone
    #[arg(long, conflicts_with = "ca_file")]
    no_ca_file: bool,
    /// Remove the client certificate
    #[arg(long, conflicts_with = "client_cert")]
    no_client_cert: bool,
    /// Remove the limit of the rate
    #[arg(long, conflicts_with = "limit_rate")]
    no_limit_rate: bool,
    /// Set the timeouts and the lowest rate back to their defaults
    #[arg(long, conflicts_with_all = ["connect_timeout", "idle_timeout", "lowest_rate"])]
    default_timeouts: bool,
}

impl RemoteArgs {
    /// Adds, lists, changes, tries or removes.
    ///
    /// # Errors
    /// There is no such remote, or the settings do not fit each other.
    pub fn run(self, context: &mut Context) -> Result<(), CliError> {
        match self.verb {
            Verb::Add { name, kind, url, archive, bucket, access } => {
                let mut settings = RemoteSettings::new(kind, url);
                archive.apply(&mut settings)?;
                bucket.apply(&mut settings)?;
                access.apply(&mut settings)?;
                put(context, name, settings, false)
            }
            Verb::List => {
                let remotes = ask(context, RemoteRequest::List)?;
                print(context, &remotes)
            }
            Verb::Show { name } => {
                let remotes = ask(context, RemoteRequest::Show { name })?;
                show(context, &remotes)
            }
            Verb::Set {
                name,
                url,
                kind,
                archive,
                archive_cleared,
                bucket,
                bucket_cleared,
                access,
                cleared,
            } => {
                let found = ask(context, RemoteRequest::Show { name: name.clone() })?;
                let Some(RemoteInfo { mut settings, .. }) = found.into_iter().next() else {
                    return Err(CliError::unexpected_reply());
                };
                settings.url = url.unwrap_or(settings.url);
                settings.kind = kind.unwrap_or(settings.kind);
                archive_cleared.apply(&mut settings);
                archive.apply(&mut settings)?;
                bucket_cleared.apply(&mut settings);
                bucket.apply(&mut settings)?;
                cleared.apply(&mut settings);
                access.apply(&mut settings)?;
                put(context, name, settings, true)
            }
            Verb::Test { name } => abilities::test(context, name),
            Verb::Fsck { name, content } => bucket::check(context, name, content),
            Verb::Gc { name, dry_run, sign } => {
                bucket::collect(context, name, dry_run, sign.as_deref())
            }
            Verb::Accept { name, repository } => bucket::accept(context, name, repository),
            Verb::Remove { name, force } => remove(context, name, force),
        }
    }
}

impl Cleared {
    fn apply(&self, settings: &mut RemoteSettings) {
        if self.no_login {
            settings.login = None;
        }
        if self.no_ca_file {
            settings.ca_file = None;
        }
        if self.no_client_cert {
            settings.client_certificate = None;
        }
        if self.no_limit_rate {
            settings.rate_bytes_per_second = None;
        }
        if self.default_timeouts {
            settings.connect_timeout_ms = None;
            settings.idle_timeout_ms = None;
            settings.lowest_bytes_per_second = None;
        }
    }
}

fn ask(context: &mut Context, request: RemoteRequest) -> Result<Vec<RemoteInfo>, CliError> {
    match context.connect()?.ask(Request::Remote(request))? {
        Reply::Remotes(remotes) => Ok(remotes),
        _ => Err(CliError::unexpected_reply()),
    }
}

fn put(
    context: &mut Context,
    name: RemoteName,
    settings: RemoteSettings,
    replace: bool,
) -> Result<(), CliError> {
    let remotes = ask(context, RemoteRequest::Put { name, settings: Box::new(settings), replace })?;
    show(context, &remotes)
}

fn print(context: &mut Context, remotes: &[RemoteInfo]) -> Result<(), CliError> {
    if context.json {
        return Ok(context.output.json(remotes)?);
    }
    let rows: Vec<_> = remotes
        .iter()
        .map(|RemoteInfo { name, settings }| {
            [name.to_string(), settings.kind.to_string(), settings.url.to_string()]
        })
        .collect();
    Ok(context.output.table([("REMOTE", Left), ("KIND", Left), ("URL", Left)], &rows)?)
}

fn show(context: &mut Context, remotes: &[RemoteInfo]) -> Result<(), CliError> {
    if context.json {
        return Ok(context.output.json(remotes)?);
    }
    for RemoteInfo { name, settings } in remotes {
        context.output.line(format_args!("{name}: {} {}", settings.kind, settings.url))?;
        for line in details(settings) {
            context.output.line(format_args!("  {line}"))?;
        }
    }
    Ok(())
}

fn details(settings: &RemoteSettings) -> Vec<String> {
    let place = |source: &SecretSource| match source {
        SecretSource::File(path) => path.display().to_string(),
        SecretSource::Environment(name) => format!("the daemon's variable {name}"),
    };
    let login = settings.login.as_ref().map(|login| match login {
        Login::Basic { user, password } => {
            format!("user {user}, password from {}", place(password))
        }
        Login::Bearer { token } => format!("token from {}", place(token)),
    });
    let authority =
        settings.ca_file.as_ref().map(|path| format!("authorities from {}", path.display()));
    let certificate = settings.client_certificate.as_ref().map(|files| {
        format!(
            "certificate {}, key {}",
            files.certificate_file.display(),
            files.key_file.display()
        )
    });
    let rate =
        settings.rate_bytes_per_second.map(|rate| format!("{} per second at most", size(rate)));
    let connections =
        settings.connections.map(|number| format!("{} at a time", count(number, "file")));
    let seconds = |ms: u64| format!("{} s", ms.div_ceil(1000));
    let connect = settings
        .connect_timeout_ms
        .map(|ms| format!("{} at most to make a connection", seconds(ms)));
    let idle = settings.idle_timeout_ms.map(|ms| format!("{} at most without a byte", seconds(ms)));
    let lowest =
        settings.lowest_bytes_per_second.map(|rate| format!("{} per second at least", size(rate)));
    let policy = match settings.policy {
        FetchPolicy::Immediate => None,
        FetchPolicy::OnDemand => Some("content is fetched when it is first read".to_owned()),
        FetchPolicy::Streamed => Some("content is fetched when it is read, and cached".to_owned()),
    };
    let only_read = "only read, over HTTP: nothing is pushed to it".to_owned();
    let only_read = settings.is_read_only().then_some(only_read);
    let all = [
        only_read,
        policy,
        login,
        authority,
        certificate,
        rate,
        connections,
        connect,
        idle,
        lowest,
    ];
    let archive = settings.debian.iter().flat_map(super::debian::details);
    let bucket = settings.bucket.iter().flat_map(super::bucket::details);
    archive.chain(bucket).chain(all.into_iter().flatten()).collect()
}

fn remove(context: &mut Context, name: RemoteName, force: bool) -> Result<(), CliError> {
    let request = Request::Remote(RemoteRequest::Remove { name: name.clone(), force });
    let Reply::Done = context.connect()?.ask(request)? else {
        return Err(CliError::unexpected_reply());
    };
    if context.json {
        return Ok(context.output.json(&serde_json::json!({ "remote": name }))?);
    }
    Ok(context.output.line(format_args!("removed remote {name}"))?)
}
