//! What can go wrong on the way to a remote, in words that hold no credentials (H32).

use std::error::Error;
use std::fmt;
use std::io;
use std::time::Duration;

use url::Url;

/// What a failure means for whoever asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NetErrorKind {
    /// It may be different in a moment: the way there, or a server that is busy.
    Temporary,
    /// The server does not have it.
    NotFound,
    /// The server does not let us in.
    Refused,
    /// What the server said cannot be believed (H29).
    Protocol,
    /// Something on this machine: a file, a setting, the disk.
    Local,
    /// It was asked to stop.
    Stopped,
}

/// A request that failed.
#[derive(Debug, Clone)]
pub struct NetError {
    kind: NetErrorKind,
    message: String,
    /// How long the server asks to be left alone.
    pub(super) retry_after: Option<Duration>,
}

impl NetError {
    pub(super) fn new(kind: NetErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), retry_after: None }
    }

    pub(super) fn protocol(url: &Url, message: impl fmt::Display) -> Self {
        Self::new(NetErrorKind::Protocol, format!("{}: {message}", shown(url)))
    }

    pub(super) fn local(action: &str, error: &io::Error) -> Self {
        Self::new(NetErrorKind::Local, format!("cannot {action}: {error}"))
    }

    /// That a request was asked to stop.
    pub fn stopped() -> Self {
        Self::new(NetErrorKind::Stopped, "stopped")
    }

    /// A failure of the HTTP library. Its own text may hold the URL; ours is the one without a query.
    pub(super) fn of(url: &Url, error: reqwest::Error) -> Self {
        let kind = match () {
            () if error.is_builder() => NetErrorKind::Local,
            () if is_tls(&error) => NetErrorKind::Protocol,
            () => NetErrorKind::Temporary,
        };
        let error = error.without_url();
        let mut message = format!("{}: {error}", shown(url));
        let mut source = error.source();
        while let Some(cause) = source {
            message = format!("{message}: {cause}");
            source = cause.source();
        }
        Self::new(kind, message)
    }

    /// What it means.
    pub fn kind(&self) -> NetErrorKind {
        self.kind
    }

    /// Whether another try may go better.
    pub fn is_temporary(&self) -> bool {
        self.kind == NetErrorKind::Temporary
    }
}

impl fmt::Display for NetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for NetError {}

/// Whether the two sides could not agree on TLS, or do not believe each other: that stays so.
fn is_tls(error: &reqwest::Error) -> bool {
    let mut cause = error.source();
    while let Some(error) = cause {
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if error.is::<rustls::Error>() || inner.is_some_and(|inner| inner.is::<rustls::Error>()) {
            return true;
        }
        cause = error.source();
    }
    false
}

/// A URL as it may be shown: a redirect can lead to one that holds a password or a signature.
pub(super) fn shown(url: &Url) -> String {
    let mut url = url.clone();
    // Both fail for URLs that cannot have them.
    let without = url.set_username("").is_ok() && url.set_password(None).is_ok();
    url.set_query(None);
    url.set_fragment(None);
    if without { url.into() } else { url.scheme().to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h32_a_url_is_shown_without_what_may_be_secret() {
        let url = Url::parse("https://user:secret@h:8/a?signature=secret#secret").unwrap();
        assert_eq!(shown(&url), "https://h:8/a");
    }
}
