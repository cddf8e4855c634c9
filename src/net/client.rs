//! The HTTP client of one remote: its certificates, its credentials, and to whom they are shown.

use std::sync::OnceLock;
use std::time::Duration;

use reqwest::header::{ACCEPT_ENCODING, HeaderMap, HeaderValue, LOCATION};
use reqwest::redirect::Policy;
use reqwest::{Certificate, ClientBuilder, Identity, Method, RequestBuilder, Response, StatusCode};
use url::Url;

use super::credentials::{Secret, read_private, read_public};
use super::error::{NetError, NetErrorKind, shown};
use super::pace::Pace;
use crate::model::remote::{Login, RemoteKind, RemoteSettings};

/// Redirects that are followed.
const REDIRECTS_MAX: usize = 10;

/// How the client introduces itself.
const USER_AGENT: &str = concat!("cairn/", env!("CARGO_PKG_VERSION"));

/// Asks one remote. Its credentials and its certificate go to the remote's own origin (scheme, host and port) alone:
/// redirects are followed here, since the library would show a client certificate to everybody.
pub struct Client {
    own: reqwest::Client,
    foreign: reqwest::Client,
    origin: Url,
    authorization: Option<Authorization>,
    pub(super) pace: Pace,
    /// How long the server may say nothing.
    pub(super) silence_max: Duration,
    /// The fewest bytes per second of a document; 0 for none.
    pub(super) lowest_bytes_per_second: u64,
}

/// What goes into the header of that name.
enum Authorization {
    Basic { user: String, password: Secret },
    Bearer { token: Secret },
}

impl Authorization {
    fn read(login: &Login) -> Result<Self, NetError> {
        Ok(match login {
            Login::Basic { user, password } => {
                Self::Basic { user: user.clone(), password: Secret::read(password)? }
            }
            Login::Bearer { token } => Self::Bearer { token: Secret::read(token)? },
        })
    }

    fn add_to(&self, request: RequestBuilder) -> RequestBuilder {
        match self {
            Self::Basic { user, password } => request.basic_auth(user, Some(password.reveal())),
            Self::Bearer { token } => request.bearer_auth(token.reveal()),
        }
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("origin", &shown(&self.origin)).finish_non_exhaustive()
    }
}

impl Client {
    /// Reads what the settings name: passwords, keys, certificates. Connects to nobody.
    ///
    /// # Errors
    /// What of it cannot be read or used.
    pub fn new(settings: &RemoteSettings) -> Result<Self, NetError> {
        let origin = settings.url.document(RemoteKind::Sums);
        let ours = match &settings.client_certificate {
            Some(files) => {
                let mut pem = read_public(&files.certificate_file)?;
                pem.push(b'\n');
                pem.extend(read_private(&files.key_file)?);
                let identity = Identity::from_pem(&pem).map_err(|error| {
                    let files = (files.certificate_file.display(), files.key_file.display());
                    unusable(format!("{} with {}", files.0, files.1), &error)
                })?;
                builder(settings)?.identity(identity)
            }
            None => builder(settings)?,
        };
        let build =
            |builder: ClientBuilder| builder.build().map_err(|error| NetError::of(&origin, error));
        Ok(Self {
            own: build(ours)?,
            foreign: build(builder(settings)?)?,
            authorization: settings.login.as_ref().map(Authorization::read).transpose()?,
            pace: Pace::new(settings.rate_bytes_per_second),
            silence_max: settings.idle_timeout(),
            lowest_bytes_per_second: settings.lowest_bytes_per_second(),
            origin,
        })
    }

    fn is_own(&self, url: &Url) -> bool {
        url.origin() == self.origin.origin()
    }

    fn request(&self, method: Method, url: &Url, headers: &HeaderMap) -> RequestBuilder {
        let client = if self.is_own(url) { &self.own } else { &self.foreign };
        let request = client.request(method, url.clone()).headers(headers.clone());
        match self.authorization.as_ref().filter(|_| self.is_own(url)) {
            Some(authorization) => authorization.add_to(request),
            None => request,
        }
    }

    /// Asks for a document, or about it, and goes where the answers lead.
    pub(super) async fn send(
        &self,
        method: Method,
        url: &Url,
        headers: &HeaderMap,
    ) -> Result<Response, NetError> {
        let mut url = url.clone();
        for _ in 0..=REDIRECTS_MAX {
            let sent = self.request(method.clone(), &url, headers).send().await;
            let response = sent.map_err(|error| NetError::of(&url, error))?;
            if !leads_on(response.status()) {
                return Ok(response);
            }
            url = self.next(&url, response.headers().get(LOCATION))?;
        }
        Err(NetError::protocol(&url, format!("more than {REDIRECTS_MAX} redirects")))
    }

    fn next(&self, url: &Url, location: Option<&HeaderValue>) -> Result<Url, NetError> {
        let location = location.and_then(|location| location.to_str().ok());
        let next = location.and_then(|location| url.join(location).ok());
        let next = next.ok_or_else(|| NetError::protocol(url, "a redirect that leads nowhere"))?;
        let scheme = next.scheme();
        if scheme != "https" && (scheme != "http" || url.scheme() == "https") {
            let message =
                format!("a redirect from {} to {scheme}, which is not followed", url.scheme());
            return Err(NetError::protocol(url, message));
        }
        Ok(next)
    }
}

fn leads_on(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// A client that cannot be made.
pub(super) fn client_error(settings: &RemoteSettings, error: reqwest::Error) -> NetError {
    NetError::of(&settings.url.document(settings.kind), error)
}

/// What all clients of a remote have.
pub(super) fn builder(settings: &RemoteSettings) -> Result<ClientBuilder, NetError> {
    use_provider();
    let mut headers = HeaderMap::new();
    // Sizes, ranges and digests are those of the bytes as they are.
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    let connections = usize::try_from(settings.connections()).unwrap_or(usize::MAX);
    let builder = reqwest::Client::builder()
        .user_agent(USER_AGENT)
        .default_headers(headers)
        .redirect(Policy::none())
        // Connections are counted and measured one by one, which those of HTTP/2 would not be.
        .http1_only()
        .connect_timeout(settings.connect_timeout())
        .pool_max_idle_per_host(connections);
    let Some(path) = &settings.ca_file else {
        return Ok(builder);
    };
    let certificates = Certificate::from_pem_bundle(&read_public(path)?)
        .map_err(|error| unusable(path.display().to_string(), &error))?;
    if certificates.is_empty() {
        let message = format!("{} holds no certificate in PEM", path.display());
        return Err(NetError::new(NetErrorKind::Local, message));
    }
    Ok(builder.tls_certs_merge(certificates))
}

/// TLS has one provider for the whole process.
fn use_provider() {
    static INSTALLED: OnceLock<()> = OnceLock::new();
    INSTALLED.get_or_init(|| {
        if rustls::crypto::ring::default_provider().install_default().is_err() {
            log::debug!("TLS has a provider already");
        }
    });
}

fn unusable(what: String, error: &reqwest::Error) -> NetError {
    NetError::new(NetErrorKind::Local, format!("{what} cannot be used: {error}"))
}
