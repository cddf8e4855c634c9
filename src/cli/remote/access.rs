//! How to get into a remote, and how fast: options of `cairn remote add`, `cairn remote set` and `cairn mount --edge`.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::cli::error::CliError;
use crate::cli::parse::{absolute, parse_duration, parse_size};
use crate::control::protocol::{ControlError, ErrorKind};
use crate::model::fetch_policy::FetchPolicy;
use crate::model::remote::{ClientCertificate, Login, RemoteSettings, SecretSource};

/// How to get in, and how fast.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args)]
pub(in crate::cli) struct Access {
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
    /// When content is fetched: `immediate` (during the sync), `on_demand` (when it is first read) or `streamed` (as
    /// that, but kept as a cache only)
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

impl Access {
    /// Whether nothing was said.
    pub(in crate::cli) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The policy that was asked for.
    pub(in crate::cli) fn policy(&self) -> Option<FetchPolicy> {
        self.policy
    }

    /// Puts what was said into settings.
    pub(in crate::cli) fn apply(self, settings: &mut RemoteSettings) -> Result<(), CliError> {
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
