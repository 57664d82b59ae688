//! Requests over HTTP/1.1 and their replies: bounded, counted, without redirects. HTTP/1.1 because a dropped call then
//! closes its connection, and because the bytes of a request are then known to the byte.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lumos_core::{BackendError, BackendErrorKind, Clock, DeltaSink, RateLimits};
use reqwest::header::{
    ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, LOCATION, USER_AGENT,
};
use reqwest::{Body, Certificate, Client, Method, Proxy, Request, Response, redirect};
use url::{Host, Position, Url};

use crate::failure::{self, Failed, Said, error};
use crate::headers;
use crate::options::{RemoteOptions, Timeouts};
use crate::secret::Scrubber;

/// Most bytes of an error's document that are read.
const MOST_ERROR: usize = 64 << 10;

/// How long a call waits for the end of a reply after its last event, and how long its connection does.
const LINGER: Duration = Duration::from_millis(2);
const LATE_END: Duration = Duration::from_secs(2);
/// Most bytes after the last event that are worth a connection.
const MOST_END: usize = 64 << 10;

/// A connection that closes within this time of a request, without a reply, was closed before the request came.
const STALE_US: u64 = 1_000_000;

/// The way to one server.
pub(crate) struct Transport {
    client: Client,
    base: Url,
    headers: HeaderMap,
    timeouts: Timeouts,
    max_response_bytes: usize,
    scrubber: Scrubber,
    clock: Arc<dyn Clock>,
    /// How the server is named to people: scheme, host and port.
    pub(crate) server: String,
}

/// A successful reply whose body is still to come.
pub(crate) struct Reply<'a> {
    transport: &'a Transport,
    response: Response,
    read: usize,
    /// The server's name for the request.
    pub(crate) request_id: Option<String>,
    /// The limits that it stated.
    pub(crate) rate_limits: Option<RateLimits>,
}

impl Transport {
    /// The way to the server at `options.base_url`, or at `base`, with `headers` in each request.
    pub(crate) fn new(options: &RemoteOptions, base: &str, headers: HeaderMap) -> Result<Self, BackendError> {
        let mut secrets: Vec<String> = options.api_key.iter().map(|key| key.expose().to_owned()).collect();
        secrets.extend(options.headers.iter().map(|(_, value)| value.expose().to_owned()));
        let proxy = options.proxy.as_deref().map(|text| address("proxy", text)).transpose()?;
        secrets.extend(proxy.iter().filter_map(Url::password).map(str::to_owned));
        let scrubber = Scrubber::new(secrets.iter().map(String::as_str));

        let text = options.base_url.as_deref().unwrap_or(base);
        let base = address("base_url", text)?;
        if !base.username().is_empty() || base.password().is_some() {
            let message = "`base_url` contains a user or a password; give the key as a secret instead";
            return Err(error(BackendErrorKind::Unusable, message));
        }
        let client = client(options, &base, proxy.as_ref()).map_err(|failure| {
            let why = scrubber.scrub(&causes(&failure));
            error(BackendErrorKind::Unusable, format!("backend `{}` cannot be set up: {why}", options.name))
        })?;
        Ok(Self {
            client,
            server: base[..Position::BeforePath].to_owned(),
            base,
            headers: complete(headers, &options.headers)?,
            timeouts: options.timeouts,
            max_response_bytes: options.max_response_bytes,
            scrubber,
            clock: Arc::clone(&options.clock),
        })
    }

    /// The address of `segments` below the base, with `query` behind the base's own.
    pub(crate) fn url(&self, segments: &[&str], query: &[(&str, &str)]) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        url
    }

    /// The same error without any secret.
    pub(crate) fn scrub(&self, error: BackendError) -> BackendError {
        BackendError { message: self.scrubber.scrub(&error.message), ..error }
    }

    /// Sends `body`; `deltas` learns the bytes of the request before it leaves, and takes them back when no connection
    /// comes about. `Err` for whatever is no success.
    pub(crate) async fn post(
        &self,
        url: Url,
        body: Vec<u8>,
        accept: &'static str,
        sent: &mut u64,
        deltas: &dyn DeltaSink,
    ) -> Result<Reply<'_>, Failed> {
        let body = Bytes::from(body);
        let start_us = self.clock.now_us();
        let trace = trace_headers(deltas);
        let mut again = true;
        let response = loop {
            let mut request = Request::new(Method::POST, url.clone());
            let headers = request.headers_mut();
            headers.clone_from(&self.headers);
            headers.insert(ACCEPT, HeaderValue::from_static(accept));
            for (name, value) in &trace {
                headers.insert(*name, value.clone());
            }
            let bytes = head_bytes(request.url(), request.headers(), body.len()) + body.len() as u64;
            *request.body_mut() = Some(Body::from(body.clone()));
            deltas.sent(bytes);
            *sent += bytes;
            match self.client.execute(request).await {
                Ok(response) => break response,
                // Servers close idle connections without a word (llama.cpp each one after a stream): that is no
                // failure of the server, and nobody has worked on the request.
                Err(failure)
                    if again
                        && failure::is_closed_early(&failure)
                        && self.clock.now_us().saturating_sub(start_us) < STALE_US =>
                {
                    again = false;
                }
                Err(failure) => {
                    // Nothing has left without a connection.
                    if failure.is_connect() {
                        *sent -= bytes;
                        deltas.unsent(bytes);
                    }
                    return Err(Failed { error: self.broken(&failure), billed: !failure.is_connect() });
                }
            }
        };
        let status = response.status();
        if status.is_redirection() {
            let target = response.headers().get(LOCATION).and_then(|value| value.to_str().ok()).unwrap_or("nowhere");
            let message = format!(
                "{} redirects to {} and redirects are not followed; set `base_url` to the final address",
                self.server,
                failure::quote(&self.scrubber.scrub(target))
            );
            return Err(Failed::free(error(BackendErrorKind::Unusable, message)));
        }
        if !status.is_success() {
            return Err(Failed::free(self.refusal(response).await));
        }
        Ok(Reply {
            request_id: headers::request_id(response.headers()).map(|id| self.scrubber.scrub(id)),
            rate_limits: headers::rate_limits(response.headers()),
            transport: self,
            response,
            read: 0,
        })
    }

    async fn refusal(&self, mut response: Response) -> BackendError {
        let mut body = Vec::new();
        let idle = self.timeouts.idle;
        // What cannot be read of the document is not missed: the status says enough.
        while let Ok(Ok(Some(chunk))) = tokio::time::timeout(idle, response.chunk()).await {
            let room = MOST_ERROR - body.len();
            body.extend_from_slice(&chunk[..chunk.len().min(room)]);
            if body.len() == MOST_ERROR {
                break;
            }
        }
        let body = self.scrubber.scrub(&String::from_utf8_lossy(&body));
        let error = Said::read(&body).with_status(response.status(), &self.server);
        BackendError { retry_after_us: headers::retry_after_us(response.headers()).or(error.retry_after_us), ..error }
    }

    fn broken(&self, failure: &reqwest::Error) -> BackendError {
        self.scrub(failure::broken(failure, &self.server, self.timeouts.connect.as_secs_f64()))
    }
}

impl Reply<'_> {
    /// The media type of the body, without parameters, lower-cased; empty when unknown.
    pub(crate) fn media_type(&self) -> String {
        let text = self.response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
    }

    /// The next bytes of the body; `None` at its end.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, BackendError> {
        let chunk = self.response.chunk().await.map_err(|failure| self.transport.broken(&failure))?;
        self.read += chunk.as_ref().map_or(0, Bytes::len);
        if self.read > self.transport.max_response_bytes {
            let message = format!(
                "the reply of {} has more than {} bytes; raise the backend's `max_response_bytes` if that is right",
                self.transport.server, self.transport.max_response_bytes
            );
            return Err(error(BackendErrorKind::Transient, message));
        }
        Ok(chunk)
    }

    /// Reads on after all has been said, so that the connection can serve the next call: the end mostly comes at once,
    /// and nobody waits for one that does not.
    pub(crate) async fn end(mut self) {
        if tokio::time::timeout(LINGER, drain(&mut self.response)).await.is_err() {
            let mut response = self.response;
            tokio::spawn(async move { tokio::time::timeout(LATE_END, drain(&mut response)).await });
        }
    }

    /// The rest of the body, as text.
    pub(crate) async fn text(&mut self) -> Result<String, BackendError> {
        let mut body = Vec::new();
        while let Some(chunk) = self.chunk().await? {
            body.extend_from_slice(&chunk);
        }
        String::from_utf8(body).map_err(|_| {
            let message = format!("the reply of {} is not UTF-8", self.transport.server);
            error(BackendErrorKind::Transient, message)
        })
    }
}

async fn drain(response: &mut Response) {
    let mut left = MOST_END;
    while let Ok(Some(chunk)) = response.chunk().await {
        let Some(rest) = left.checked_sub(chunk.len()) else { break };
        left = rest;
    }
}

fn address(field: &str, text: &str) -> Result<Url, BackendError> {
    let wrong = |why: &str| {
        let message = format!("`{field}` of a backend {why}; wanted e.g. `http://127.0.0.1:8000/v1`");
        error(BackendErrorKind::Unusable, message)
    };
    let url = Url::parse(text).map_err(|error| wrong(&format!("is no address ({error})")))?;
    match url.scheme() {
        "http" | "https" if url.has_host() => Ok(url),
        other => Err(wrong(&format!("starts with `{other}:`"))),
    }
}

fn client(options: &RemoteOptions, base: &Url, proxy: Option<&Url>) -> Result<Client, reqwest::Error> {
    // Whoever comes first installs it for the process; a later one is told so and uses that one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = Client::builder()
        .http1_only()
        .redirect(redirect::Policy::none())
        .connect_timeout(options.timeouts.connect)
        .tcp_nodelay(true);
    builder = match proxy {
        Some(proxy) => builder.proxy(Proxy::all(proxy.clone())?),
        None if is_local(base) => builder.no_proxy(),
        None => builder,
    };
    if let Some(pem) = &options.ca_pem {
        builder = builder.tls_certs_merge(Certificate::from_pem_bundle(pem)?);
    } else if base.scheme() == "http" && (proxy.is_some_and(|proxy| proxy.scheme() == "http") || is_local(base)) {
        // No TLS is spoken: the system's certificates need not be read.
        builder = builder.tls_certs_only([]);
    }
    builder.build()
}

/// Whether an address is this machine's, where the system's proxy has no business.
fn is_local(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => IpAddr::V4(address).is_loopback(),
        Some(Host::Ipv6(address)) => IpAddr::V6(address).is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

fn complete(mut headers: HeaderMap, extra: &[(String, crate::Secret)]) -> Result<HeaderMap, BackendError> {
    const OURS: [HeaderName; 3] = [CONTENT_LENGTH, HOST, ACCEPT];
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(USER_AGENT, HeaderValue::from_static(concat!("lumos/", env!("CARGO_PKG_VERSION"))));
    for (name, value) in extra {
        let name = name.parse::<HeaderName>().ok().filter(|name| !OURS.contains(name)).ok_or_else(|| {
            error(BackendErrorKind::Unusable, format!("{name:?} cannot be an extra header of a backend"))
        })?;
        let value = secret_value(&format!("the value of header `{name}`"), value.expose())?;
        headers.insert(name, value);
    }
    Ok(headers)
}

/// `traceparent` and `tracestate` of the call, if somebody traces it.
fn trace_headers(deltas: &dyn DeltaSink) -> Vec<(&'static str, HeaderValue)> {
    let Some(context) = deltas.trace_context() else { return Vec::new() };
    let texts = [("traceparent", Some(context.parent())), ("tracestate", context.state.map(|state| state.to_string()))];
    texts.into_iter().filter_map(|(name, text)| Some((name, HeaderValue::from_str(&text?).ok()?))).collect()
}

/// A header's value that no formatting shows.
pub(crate) fn secret_value(what: &str, text: &str) -> Result<HeaderValue, BackendError> {
    let mut value = HeaderValue::from_str(text).map_err(|_| {
        let message = format!("{what} contains characters that no header can carry; does it end in a line break?");
        error(BackendErrorKind::Unauthorized, message)
    })?;
    value.set_sensitive(true);
    Ok(value)
}

/// `Authorization: Bearer KEY`.
pub(crate) fn bearer(key: Option<&crate::Secret>) -> Result<HeaderMap, BackendError> {
    let mut headers = HeaderMap::new();
    if let Some(key) = key {
        headers.insert(AUTHORIZATION, secret_value("the key", &format!("Bearer {}", key.expose()))?);
    }
    Ok(headers)
}

/// Bytes of the head of a `POST` as HTTP/1.1 writes it, `host` and `content-length` included.
fn head_bytes(url: &Url, headers: &HeaderMap, body: usize) -> u64 {
    let line = "POST  HTTP/1.1\r\n".len() + url[Position::BeforePath..Position::AfterQuery].len();
    let given: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    let host = "host: \r\n".len() + url[Position::BeforeHost..Position::AfterPort].len();
    let length = "content-length: \r\n".len() + body.to_string().len();
    (line + given + host + length + 2) as u64
}

fn causes(failure: &reqwest::Error) -> String {
    let mut text = failure.to_string();
    let mut source = std::error::Error::source(failure);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
