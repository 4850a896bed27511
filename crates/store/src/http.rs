//! The HTTP client: one GET, redirects followed by our own rules, so that the access token goes to the endpoint's
//! origin and nowhere else, and no address with a query ever reaches a message.

use std::io::Read;

use ureq::Agent;
use ureq::http::{HeaderMap, Uri, header};

use crate::error::StoreError;
use crate::places::{Limits, Places, Secret};

/// Redirects followed for one request; the hub uses one or two.
const REDIRECTS_MAX: usize = 5;
/// Longest address followed; signed ones have about 2 kB.
const ADDRESS_BYTES_MAX: usize = 16 << 10;

/// Gets things from the hub.
pub(crate) struct Client {
    agent: Agent,
    endpoint: Uri,
    token: Option<Secret>,
}

/// A successful answer, or 416.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    /// The content's tag: the hub's own where it redirects to a content network, else the server's.
    pub(crate) etag: Option<String>,
    pub(crate) body: Box<dyn Read>,
}

impl Client {
    pub(crate) fn new(places: &Places, limits: &Limits) -> Result<Self, StoreError> {
        let endpoint = parse_address(&places.hf_endpoint).ok_or(StoreError::BadAddress { setting: "hub endpoint" })?;
        let proxy = match &places.proxy {
            Some(address) => {
                Some(ureq::Proxy::new(address.expose()).map_err(|_| StoreError::BadAddress { setting: "proxy" })?)
            }
            None => None,
        };
        let config = Agent::config_builder()
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .accept_encoding("identity")
            .user_agent(concat!("ballast/", env!("CARGO_PKG_VERSION")))
            .timeout_resolve(Some(limits.connect))
            .timeout_connect(Some(limits.connect))
            .timeout_send_request(Some(limits.read))
            .timeout_recv_response(Some(limits.read))
            .timeout_per_read(Some(limits.read))
            .proxy(proxy)
            .build();
        Ok(Self { agent: config.new_agent(), endpoint, token: places.hf_token.clone() })
    }

    /// The endpoint's host, for messages.
    pub(crate) fn host(&self) -> String {
        host(&self.endpoint)
    }

    /// An address below the endpoint; `path` is not encoded yet.
    pub(crate) fn address(&self, path: &str, query: &str) -> Uri {
        let base = self.endpoint.to_string();
        let text = format!("{}/{}{query}", base.trim_end_matches('/'), percent_encoded(path));
        text.parse().expect("an address with an encoded path is an address")
    }

    /// Gets `address` from byte `from` on, following redirects. `what` names the thing in errors.
    pub(crate) fn get(&self, what: &str, address: &Uri, from: u64) -> Result<Answer, StoreError> {
        let mut at = address.clone();
        let mut linked_etag = None;
        for _ in 0..=REDIRECTS_MAX {
            let response = self.send(&at, from)?;
            let (head, body) = response.into_parts();
            let status = head.status.as_u16();
            linked_etag = linked_etag.or_else(|| text(&head.headers, "x-linked-etag"));
            if matches!(status, 301 | 302 | 303 | 307 | 308) {
                at = redirect_target(&at, &head.headers)?;
                continue;
            }
            self.check_status(what, &at, status, &head.headers)?;
            let etag = linked_etag.or_else(|| text(&head.headers, "etag"));
            return Ok(Answer { status, headers: head.headers, etag, body: Box::new(body.into_reader()) });
        }
        Err(StoreError::Redirect { host: host(&at), problem: "it redirects too often" })
    }

    fn send(&self, at: &Uri, from: u64) -> Result<ureq::http::Response<ureq::Body>, StoreError> {
        let mut request = self.agent.get(at);
        if let Some(token) = self.token.as_ref().filter(|_| self.may_have_token(at)) {
            request = request.header(header::AUTHORIZATION, format!("Bearer {}", token.expose()));
        }
        if from > 0 {
            request = request.header(header::RANGE, format!("bytes={from}-"));
        }
        request.call().map_err(|error| StoreError::Unreachable { host: host(at), cause: error.to_string() })
    }

    /// The token is for the endpoint's origin, and not for a line that others can read.
    fn may_have_token(&self, at: &Uri) -> bool {
        let is_private_line = is_https(at) || matches!(at.host(), Some("127.0.0.1" | "[::1]" | "localhost"));
        origin(at) == origin(&self.endpoint) && is_private_line
    }

    fn check_status(&self, what: &str, at: &Uri, status: u16, headers: &HeaderMap) -> Result<(), StoreError> {
        let (host, what) = (host(at), what.to_owned());
        let wait =
            text(headers, "retry-after").and_then(|text| text.trim().parse().ok()).map(std::time::Duration::from_secs);
        match status {
            200 | 206 | 416 => Ok(()),
            401 | 403 => {
                let had_token = self.token.is_some() && self.may_have_token(at);
                Err(StoreError::Denied { host, what, status, had_token })
            }
            404 | 410 => Err(StoreError::NotOnHub { host, what }),
            429 => Err(StoreError::RateLimited { host, wait }),
            _ => Err(StoreError::Status { host, status, wait }),
        }
    }
}

/// An `http` or `https` address with a host and without credentials or query.
fn parse_address(text: &str) -> Option<Uri> {
    let uri: Uri = text.parse().ok()?;
    let has_scheme = matches!(uri.scheme_str(), Some("http" | "https"));
    let is_plain = uri.query().is_none() && !uri.authority()?.as_str().contains('@');
    (has_scheme && is_plain && uri.host().is_some_and(|host| !host.is_empty())).then_some(uri)
}

fn redirect_target(at: &Uri, headers: &HeaderMap) -> Result<Uri, StoreError> {
    let refuse = |problem| StoreError::Redirect { host: host(at), problem };
    let location = text(headers, "location").ok_or_else(|| refuse("it has no usable address"))?;
    if location.len() > ADDRESS_BYTES_MAX {
        return Err(refuse("its address is too long"));
    }
    let is_relative = location.starts_with('/') && !location.starts_with("//");
    let absolute = if is_relative { format!("{}{location}", origin_text(at)) } else { location };
    let target: Uri = absolute.parse().map_err(|_| refuse("it has no usable address"))?;
    if !matches!(target.scheme_str(), Some("http" | "https")) || target.host().is_none_or(str::is_empty) {
        return Err(refuse("it leads to no web address"));
    }
    if is_https(at) && !is_https(&target) {
        return Err(refuse("it leads from an encrypted line to an open one"));
    }
    Ok(target)
}

fn is_https(uri: &Uri) -> bool {
    uri.scheme_str() == Some("https")
}

/// The host without port, credentials or anything after it.
fn host(uri: &Uri) -> String {
    uri.host().unwrap_or_default().to_owned()
}

fn origin(uri: &Uri) -> (bool, String, u16) {
    let port = uri.port_u16().unwrap_or(if is_https(uri) { 443 } else { 80 });
    (is_https(uri), host(uri).to_ascii_lowercase(), port)
}

fn origin_text(uri: &Uri) -> String {
    let (is_https, host, port) = origin(uri);
    format!("{}://{host}:{port}", if is_https { "https" } else { "http" })
}

/// A header as text, where it is printable ASCII.
pub(crate) fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

/// RFC 3986: everything but unreserved characters and the separator is encoded.
fn percent_encoded(path: &str) -> String {
    let mut encoded = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_below_the_endpoint_and_encoded() {
        let mut places = Places::new("x");
        places.hf_endpoint = "https://hub.example/mirror/".into();
        let client = Client::new(&places, &Limits::default()).unwrap();
        let address = client.address("a/b/resolve/main/ä b#?.gguf", "");
        assert_eq!(address.to_string(), "https://hub.example/mirror/a/b/resolve/main/%C3%A4%20b%23%3F.gguf");
        assert_eq!(client.host(), "hub.example");
    }

    #[test]
    fn refuses_settings_that_are_no_addresses() {
        for text in ["", "hub.example", "ftp://hub.example", "https://", "https://u:p@hub.example", "https://a?b=c"] {
            assert_eq!(parse_address(text), None, "{text}");
        }
    }

    #[test]
    fn token_goes_to_the_endpoint_over_a_private_line_only() {
        let cases = [
            ("https://hub.example", "https://hub.example/x", true),
            ("https://hub.example", "https://HUB.example:443/x", true),
            ("https://hub.example", "https://hub.example:8443/x", false),
            ("https://hub.example", "https://cdn.hub.example/x", false),
            ("https://hub.example", "https://hub.example.evil/x", false),
            ("http://hub.example", "http://hub.example/x", false),
            ("http://127.0.0.1:80", "http://127.0.0.1/x", true),
        ];
        for (endpoint, at, want) in cases {
            let mut places = Places::new("x");
            places.hf_endpoint = endpoint.into();
            let client = Client::new(&places, &Limits::default()).unwrap();
            assert_eq!(client.may_have_token(&at.parse().unwrap()), want, "{endpoint} {at}");
        }
    }

    #[test]
    fn redirects_stay_on_the_web_and_encrypted() {
        let at: Uri = "https://hub.example/a".parse().unwrap();
        let target = |location: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("location", location.parse().unwrap());
            redirect_target(&at, &headers).map(|uri| uri.to_string()).ok()
        };
        assert_eq!(target("/b?c"), Some("https://hub.example:443/b?c".into()));
        assert_eq!(target("https://cdn.example/b"), Some("https://cdn.example/b".into()));
        for location in ["http://cdn.example/b", "file:///etc/passwd", "//cdn.example/b", "b", ""] {
            assert_eq!(target(location), None, "{location}");
        }
        assert!(redirect_target(&at, &HeaderMap::new()).is_err());
    }
}
