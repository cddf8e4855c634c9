//! `cairn remote`: where declared content comes from.

mod abilities;
mod bucket;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{OsStringValueParser, TypedValueParser};

use super::Context;
use super::bucket::{BucketChoice, BucketCleared};
use super::debian::{ArchiveChoice, ArchiveCleared};
use super::error::CliError;
use super::output::Align::Left;
use super::parse::{absolute, parse_duration, parse_place, parse_size};
use super::text::size;
use crate::control::protocol::{ControlError, ErrorKind, Request};
use crate::control::remote::{RemoteInfo, RemoteRequest};
use crate::control::reply::Reply;
use crate::model::fetch_policy::FetchPolicy;
use crate::model::name::RemoteName;
use crate::model::remote::{
    ClientCertificate, Login, RemoteKind, RemoteSettings, RemoteUrl, SecretSource,
};
use crate::model::text::count;

const HELP: &str = "\
A remote is a place of which `cairn sync` makes versions, or a bucket that holds whole repositories. Most declare their files with digests. The kind says how:
  sums       a checksum list, as `sha256sum` writes it; a URL that ends with `/` means SHA256SUMS there
  manifest   a PULP_MANIFEST (path,sha256,size), as Pulp writes it; a URL that ends with `/` means PULP_MANIFEST there
  debian     a Debian archive: the directory that holds `dists`. Versions hold `dists` and `pool`: apt installs from them
  directory  a directory of this machine, by its path
  archive    a tar archive of this machine (plain, gzip, xz or zstd), by the path of its file
  bucket     a bucket of S3 (s3://BUCKET/PREFIX), or a directory that is used like one: it holds whole repositories

A bucket is tried before it is kept, by writing to it: whether it refuses an occupied name, also when 16 write at once,
whether it sends parts of objects, and whether what was written shows in lists. A store that ignores such conditions is
for one machine that pushes; `cairn remote show` says so. Key id and secret key are given as user and password.

A directory and an archive declare nothing, so all of them is read, as `cairn import` reads it: versions hold types, modes,
owners, times, links and extended attributes as well. The daemon reads them, with the rights of the user it runs as, and
only root and that user may add, change and sync such a remote. A file that did not change since the last sync (inode,
size and times) is not read again, nor is an archive. Neither can be in the mount of the store itself, which `cairn
import` can read. A policy other than immediate, logins, rates and timeouts mean nothing to them.

Of a Debian archive a sync takes the packages of each --suite, --component and --architecture, packages for
all architectures, descriptions in each --language, and with --sources the source packages. A suite that
ends with `/` (`./`) is a flat archive, without components. With --keyring one of its keys must have signed
each suite, which gpgv checks; without it no signature is checked, and each sync warns. Not taken are
Contents, dep11, other indexes, and differences between indexes (pdiff). apt asks for the indexes of all
architectures of its machine: if the version has fewer, say so in sources.list (`deb [arch=amd64] ...`).

`cairn remote gc` removes from a bucket what no version in it needs, beside those who push and read. What nobody has needed
for seven days is marked, so that no push uses it any more, and deleted at the first run seven days after that: run it
regularly. Objects that are none of cairn's stay.

`cairn remote fsck` reads the logs of a bucket, and looks whether all is there that its versions need and is what its name
says. It fails if something is wrong, and says which versions are concerned.

Passwords and tokens are never given on the command line, nor kept: the daemon reads them when it needs them, from a file
that only its owner may read (mode 0600) or from a variable of its own environment. They go to the remote's own host
and port alone, wherever it redirects to. HTTP_PROXY, HTTPS_PROXY and NO_PROXY of the daemon's environment are used.

A try fails when no connection is made within --connect-timeout, when nothing comes for --idle-timeout, or
when a file comes slower than --lowest-rate over that time. The next try goes on where that one ended. After
five tries in a row without progress the file has failed. A content that another sync is fetching is not
fetched a second time; only if it comes from another remote, and slower than 64K per second, this sync
fetches it itself.

With --policy on_demand a sync fetches lists and indexes only. The version is complete to look at; the
daemon fetches a file when it is first read, checks it and keeps it. If no remote can give it, the read fails
with an I/O error and is not tried again for ten seconds. `cairn status` counts contents that were not
fetched yet. `cairn remote remove` refuses while versions need the remote (--force). The kind must declare
sizes: manifest, debian. A change of the policy applies from the next sync on.

JSON
  list, add, show, set: an array of {remote, kind, url, login, ca_file, client_certificate {certificate_file,
  key_file}, rate_bytes_per_second, connections, policy, connect_timeout_ms, idle_timeout_ms, lowest_bytes_per_second, debian {suites,
  components, architectures, languages, with_sources, keyring_file, allow_expired}, bucket {endpoint, region,
  virtual_hosted, creates_once}}, without what is not set; login is
  {\"basic\": {user, password}} or {\"bearer\":
  {token}}, password and token are {\"file\": PATH} or {\"environment\": NAME};
  test: {remote, usable, failure, declared_file_count, has_sizes, conditional, ranges, creates_once, lists_at_once,
  notes (texts)};
  fsck: {remote, repository_count, version_count, object_count, read_bytes, finding_count, notes (texts, 1000 at most)};
  gc: {remote, dry_run, object_count, stranger_count, candidate_count, candidate_bytes, condemned_count, waiting_count,
  deleted_count, deleted_bytes};
  remove: {remote}

EXAMPLES
  cairn remote add releases sums https://example.org/releases/
  cairn remote add tree directory /srv/tree
  cairn remote add ball archive ./release.tar.zst
  cairn remote add store bucket /srv/bucket
  cairn remote add amazon bucket s3://releases/cairn --user KEYID --password-file /etc/cairn/key
  cairn remote add isos manifest https://example.org/isos/ --user ci --password-file /etc/cairn/isos
  cairn remote add flat debian https://example.org/deb --suite ./ --keyring /etc/cairn/deb.asc
  cairn remote set flat --suite bookworm --component main,contrib --architecture amd64,arm64
  cairn remote set isos --limit-rate 50M --policy on_demand
  cairn remote test isos
  cairn remote gc store --dry-run
  cairn remote fsck store --content
  cairn remote list --json
  cairn remote set isos --no-limit-rate
  cairn remote set isos --idle-timeout 5m --lowest-rate 0
  cairn remote remove isos";

/// Arguments of `cairn remote`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = HELP)]
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
        /// The list, or its directory (with `/` at the end); a path where the kind is directory or archive; s3://BUCKET/PREFIX or a path
        /// where it is bucket
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
        /// The list, or its directory (with `/` at the end); a path where the kind is directory or archive; s3://BUCKET/PREFIX or a path
        /// where it is bucket
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

/// How to get in, and how fast.
#[derive(Debug, clap::Args)]
struct Access {
    /// Log in as this user
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// File with the user's password, for its owner alone
    #[arg(long, value_name = "FILE", requires = "user", conflicts_with = "password_env")]
    password_file: Option<PathBuf>,
    /// Variable of the daemon's environment with the user's password
    #[arg(long, value_name = "VARIABLE", requires = "user")]
    password_env: Option<String>,
    /// File with a bearer token, for its owner alone
    #[arg(long, value_name = "FILE", conflicts_with_all = ["user", "token_env"])]
    token_file: Option<PathBuf>,
    /// Variable of the daemon's environment with a bearer token
    #[arg(long, value_name = "VARIABLE", conflicts_with = "user")]
    token_env: Option<String>,
    /// CA certificates to trust in addition to the machine's (PEM)
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Certificate to show (PEM)
    #[arg(long, value_name = "FILE", requires = "client_key")]
    client_cert: Option<PathBuf>,
    /// Its private key (PEM), for its owner alone
    #[arg(long, value_name = "FILE", requires = "client_cert")]
    client_key: Option<PathBuf>,
    /// Bytes per second at most, over all fetches of a sync
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    limit_rate: Option<u64>,
    /// When content is fetched: `immediate` (during the sync) or `on_demand` (when it is first read)
    #[arg(long, value_name = "POLICY")]
    policy: Option<FetchPolicy>,
    /// Files fetched at a time, 1 to 64 [default: 8]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    connections: Option<u32>,
    /// How long a connection may take to be made [default: 20s]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    connect_timeout: Option<Duration>,
    /// How long the server may say nothing [default: 60s]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    idle_timeout: Option<Duration>,
    /// Bytes per second that a file must come with, over the idle timeout; 0 for any [default: 1K]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    lowest_rate: Option<u64>,
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
                bucket.apply(&mut settings);
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
                bucket.apply(&mut settings);
                cleared.apply(&mut settings);
                access.apply(&mut settings)?;
                put(context, name, settings, true)
            }
            Verb::Test { name } => abilities::test(context, name),
            Verb::Fsck { name, content } => bucket::check(context, name, content),
            Verb::Gc { name, dry_run } => bucket::collect(context, name, dry_run),
            Verb::Remove { name, force } => remove(context, name, force),
        }
    }
}

impl Access {
    fn apply(self, settings: &mut RemoteSettings) -> Result<(), CliError> {
        if let Some(login) = self.login()? {
            settings.login = Some(login);
        }
        if let Some(path) = &self.ca_file {
            settings.ca_file = Some(absolute(path)?);
        }
        if let (Some(certificate), Some(key)) = (&self.client_cert, &self.client_key) {
            settings.client_certificate = Some(ClientCertificate {
                certificate_file: absolute(certificate)?,
                key_file: absolute(key)?,
            });
        }
        settings.rate_bytes_per_second = self.limit_rate.or(settings.rate_bytes_per_second);
        settings.connections = self.connections.or(settings.connections);
        settings.policy = self.policy.unwrap_or(settings.policy);
        let timeout = |time: Option<Duration>, before: Option<u64>| match time {
            // Nothing comes at once.
            Some(time) if time.is_zero() => {
                Err(ControlError::new(ErrorKind::Usage, "a timeout of a remote is 1s at least"))
            }
            Some(time) => Ok(u64::try_from(time.as_millis()).ok()),
            None => Ok(before),
        };
        settings.connect_timeout_ms = timeout(self.connect_timeout, settings.connect_timeout_ms)?;
        settings.idle_timeout_ms = timeout(self.idle_timeout, settings.idle_timeout_ms)?;
        settings.lowest_bytes_per_second = self.lowest_rate.or(settings.lowest_bytes_per_second);
        Ok(())
    }

    fn login(&self) -> Result<Option<Login>, CliError> {
        let source = |file: &Option<PathBuf>, variable: &Option<String>| match (file, variable) {
            (Some(path), _) => io::Result::Ok(Some(SecretSource::File(absolute(path)?))),
            (None, Some(name)) => Ok(Some(SecretSource::Environment(name.clone()))),
            (None, None) => Ok(None),
        };
        if let Some(token) = source(&self.token_file, &self.token_env)? {
            return Ok(Some(Login::Bearer { token }));
        }
        let Some(user) = self.user.clone() else { return Ok(None) };
        let Some(password) = source(&self.password_file, &self.password_env)? else {
            let message = "--user needs --password-file or --password-env";
            return Err(ControlError::new(ErrorKind::Usage, message).into());
        };
        Ok(Some(Login::Basic { user, password }))
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
    let policy = (settings.policy != FetchPolicy::default())
        .then(|| "content is fetched when it is first read".to_owned());
    let all = [policy, login, authority, certificate, rate, connections, connect, idle, lowest];
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
