//! `cairn serve`: shows a store over HTTP, without a mount.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use serde::Serialize;

use super::Context;
use super::error::CliError;
use super::mount::check_store;
use super::output::json_path;
use super::text::printable;
use crate::daemon::DaemonError;
use crate::daemon::background;
use crate::daemon::config::{GcOptions, HttpConfig, ScrubOptions};
use crate::daemon::logging::{self, LogFormat};

const HELP: &str = "\
Runs in the foreground until SIGTERM or SIGINT, and logs to standard error. While it runs, commands use
it like the daemon of a mount: import, sync and commit publish through it. `cairn mount --http` does the
same beside a mount.

A browser gets pages to look at repositories, versions, files and differences; programs get lists.

  /                     all repositories
  /REPO/7/…             files of version 7; `latest` or a tag in place of the number
  /REPO/7/DIR/?tar      a directory as a tar archive; ?tar.zst: compressed
  /REPO/7/PULP_MANIFEST the files with SHA-256 and size, for `cairn sync` and Pulp
  /metrics              for Prometheus; /healthz says that it runs, /readyz that it accepts changes

It shows what everybody may read: files, directories and repositories whose mode lets \"others\" read
them. Nothing can be changed through it. It speaks HTTP without TLS: put a proxy in front of it to serve other machines.
Lists are JSON for those who accept that (curl -H 'Accept: application/json').

JSON
  {store, url}, once it listens

EXAMPLES
  cairn serve /srv/cairn
  cairn serve /srv/cairn --http 8080
  cairn serve /srv/cairn --http 0.0.0.0:80 --read-only";

/// Where it listens unless it is told otherwise.
const DEFAULT_ADDRESS: &str = "8420";

/// Arguments of `cairn serve`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = HELP)]
pub struct ServeArgs {
    /// Directory of the store
    // Named so, since `store` is the global option.
    #[arg(value_name = "STORE")]
    store_path: PathBuf,
    /// Listen on this port of this machine alone, or on IP:PORT; port 0: any that is free
    #[arg(long, value_name = "ADDR", value_parser = parse_address, default_value = DEFAULT_ADDRESS)]
    http: SocketAddr,
    /// Change nothing in the store: no collection, no commands that publish
    #[arg(long)]
    read_only: bool,
    /// Form of the log's lines
    #[arg(long, value_name = "FORM", value_enum, default_value = "text")]
    log_format: LogFormat,
}

/// Opens a store and serves it until it is stopped; tells the address that it listens on.
pub(crate) type ServeUnmounted =
    fn(&HttpConfig, &mut dyn FnMut(SocketAddr)) -> Result<(), DaemonError>;

/// What is served.
#[derive(Debug, Serialize)]
struct ServeReport {
    #[serde(serialize_with = "json_path")]
    store: PathBuf,
    url: String,
}

impl ServeArgs {
    /// Serves until it is stopped.
    ///
    /// # Errors
    /// The store or the address cannot be used, or something could not be saved at the end.
    pub(super) fn run(self, context: &mut Context) -> Result<(), CliError> {
        logging::check_filter()?;
        check_store(&self.store_path)?;
        let store = self.store_path.canonicalize().map_err(CliError::from)?;
        background::predictable_modes();
        logging::start(self.log_format);
        let config = HttpConfig {
            store,
            address: self.http,
            read_only: self.read_only,
            gc: GcOptions::default(),
            scrub: ScrubOptions::default(),
        };
        let serve = context.hooks.serve_unmounted;
        let mut told = Ok(());
        serve(&config, &mut |address| told = tell(context, &config, address))?;
        Ok(told?)
    }
}

/// Says where it listens.
fn tell(context: &mut Context, config: &HttpConfig, address: SocketAddr) -> io::Result<()> {
    let report = ServeReport { store: config.store.clone(), url: format!("http://{address}/") };
    if context.json {
        context.output.json(&report)?;
    } else {
        let store = printable(&report.store.to_string_lossy());
        context.output.line(format_args!("serving {store} at {}", report.url))?;
    }
    context.output.flush()
}

/// Parses a port of this machine, or an address with its port.
pub(super) fn parse_address(text: &str) -> Result<SocketAddr, String> {
    if let Ok(port) = text.parse() {
        return Ok(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port));
    }
    text.parse().map_err(|_| {
        format!(
            "`{text}` is neither a port (8080) nor an address with one (0.0.0.0:80, [::1]:8080)"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_of_this_machine_unless_it_says_otherwise_w1() {
        let parsed = |text: &str| parse_address(text).map(|address| address.to_string());
        assert_eq!(parsed("8080").unwrap(), "127.0.0.1:8080");
        assert_eq!(parsed("0.0.0.0:80").unwrap(), "0.0.0.0:80");
        assert_eq!(parsed("[::1]:8080").unwrap(), "[::1]:8080");
        for bad in ["", "host:80", ":80", "127.0.0.1", "65536", "http://127.0.0.1:80"] {
            assert!(parsed(bad).is_err(), "{bad}");
        }
    }
}
