//! HTTP GET within an allow-list: bounded in bytes and time, and following redirects only within the list.
//!
//! Its value is `{result, url, status, content_type}`: the body as text and where it came from at last, with `json`
//! where the content type says JSON and the body is.

use std::net::IpAddr;
use std::sync::OnceLock;
use std::time::Duration;

use async_trait::async_trait;
use lumos_core::{Agent, AgentCall, AgentError, AgentOutput, Arguments, Prepared, SharedBackend, TraceContext};
use reqwest::header::{CONTENT_TYPE, LOCATION};
use reqwest::{Client, Response, redirect};
use serde_json::{Value, json};
use url::{Host, Url};

use super::allow::AllowList;
use crate::arguments;
use crate::build::BuildError;

/// Most redirects that are followed.
const MOST_REDIRECTS: usize = 5;
/// Most characters of an address.
const MOST_URL: usize = 8000;

/// Fetches `url`.
pub(super) struct HttpGet {
    allow: AllowList,
    max_bytes: usize,
    timeout: Duration,
    /// With the system's proxy, and without one for addresses of this machine.
    clients: [OnceLock<Client>; 2],
}

impl HttpGet {
    pub(super) fn new(allow: &[String], max_bytes: u32, timeout_s: f64) -> Result<Self, BuildError> {
        if max_bytes == 0 {
            return Err(BuildError::new("tool.max_bytes", "0 allows no answer").with_hint("e.g. 1048576"));
        }
        if !(timeout_s > 0.0 && timeout_s <= 3600.0) {
            return Err(BuildError::new("tool.timeout_s", format!("{timeout_s} is no time limit"))
                .with_hint("above 0 and at most 3600 seconds"));
        }
        Ok(Self {
            allow: AllowList::new(allow)?,
            max_bytes: max_bytes as usize,
            timeout: Duration::from_secs_f64(timeout_s),
            clients: Default::default(),
        })
    }

    /// The address under `url`, if it may be fetched.
    fn address(&self, arguments: &Arguments) -> Result<Url, AgentError> {
        let text = arguments::text(arguments, "url")?;
        if text.len() > MOST_URL {
            return Err(AgentError::fatal(format!("the address has more than {MOST_URL} characters")));
        }
        self.allow.admit(&text).map_err(|why| {
            AgentError::fatal(format!("{text:?} may not be fetched: it {why}"))
                .with_hint("add its prefix to `allow` of the agent's file if it should be")
        })
    }

    fn client(&self, local: bool) -> Result<&Client, AgentError> {
        let place = &self.clients[usize::from(local)];
        if let Some(client) = place.get() {
            return Ok(client);
        }
        // Whoever comes first installs it for the process; a later attempt is told so and uses that one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = Client::builder()
            .redirect(redirect::Policy::none())
            .timeout(self.timeout)
            .user_agent(concat!("lumos/", env!("CARGO_PKG_VERSION")));
        if local {
            builder = builder.no_proxy();
        }
        let client = builder.build().map_err(|error| AgentError::fatal(format!("no HTTP client: {error}")))?;
        Ok(place.get_or_init(|| client))
    }

    /// Follows redirects as long as they stay within the allow-list.
    async fn fetch(&self, mut url: Url, trace: Option<&TraceContext>) -> Result<(Url, Response), AgentError> {
        for _ in 0..=MOST_REDIRECTS {
            let mut request = self.client(is_local(&url))?.get(url.clone());
            if let Some(trace) = trace {
                request = request.header("traceparent", trace.parent());
                if let Some(state) = &trace.state {
                    request = request.header("tracestate", &**state);
                }
            }
            let response = request.send().await.map_err(|error| failed(&url, &error))?;
            if !response.status().is_redirection() {
                return Ok((url, response));
            }
            let target = response.headers().get(LOCATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
            let joined = url.join(target).map_err(|error| {
                AgentError::fatal(format!("{url} redirects to {target:?}, which is no address: {error}"))
            })?;
            url = self.allow.admit(joined.as_str()).map_err(|why| {
                AgentError::fatal(format!("{url} redirects to {joined}, which may not be fetched: it {why}"))
                    .with_hint("ask for the final address, or allow its prefix")
            })?;
        }
        Err(AgentError::fatal(format!("more than {MOST_REDIRECTS} redirects, the last to {url}")))
    }

    /// The body, refused as soon as it is known to be too large.
    async fn body(&self, url: &Url, mut response: Response) -> Result<Vec<u8>, AgentError> {
        let too_large = || {
            AgentError::fatal(format!("{url} answers with more than {} bytes", self.max_bytes))
                .with_hint("raise `max_bytes`, or ask for less")
        };
        if response.content_length().is_some_and(|length| length > self.max_bytes as u64) {
            return Err(too_large());
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| failed(url, &error))? {
            if body.len() + chunk.len() > self.max_bytes {
                return Err(too_large());
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }
}

#[async_trait]
impl Agent for HttpGet {
    fn prepare(&self, arguments: &Arguments, _: Option<&SharedBackend>) -> Result<Prepared, AgentError> {
        self.address(arguments)?;
        Ok(Prepared::default())
    }

    async fn run(&self, call: AgentCall<'_>) -> Result<AgentOutput, AgentError> {
        let work = async {
            let (url, response) =
                self.fetch(self.address(call.arguments)?, call.deltas.trace_context().as_ref()).await?;
            let status = response.status();
            if !status.is_success() {
                let message = format!("{url} answers {status}");
                // 408, 425, 429 and server errors may pass.
                let passing = matches!(status.as_u16(), 408 | 425 | 429 | 500..);
                return Err(if passing { AgentError::transient(message) } else { AgentError::fatal(message) });
            }
            let content_type =
                response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).map(str::to_owned);
            let body = self.body(&url, response).await?;
            let text = String::from_utf8(body).map_err(|error| {
                let at = error.utf8_error().valid_up_to();
                AgentError::fatal(format!("the answer of {url} is not UTF-8 at byte {at}"))
                    .with_hint("only texts are fetched")
            })?;
            let mut value =
                json!({"result": text, "url": url.as_str(), "status": status.as_u16(), "content_type": content_type});
            if content_type.as_deref().is_some_and(is_json)
                && let Ok(parsed) = serde_json::from_str::<Value>(&text)
            {
                value["json"] = parsed;
            }
            Ok(value.into())
        };
        // The client's timeout is per request; this one counts redirects too.
        tokio::time::timeout(self.timeout, work).await.unwrap_or_else(|_| {
            Err(AgentError::transient(format!("no complete answer within {} s", self.timeout.as_secs_f64()))
                .with_hint("raise `timeout_s`"))
        })
    }
}

/// Whether a content type is `application/json` or ends in `+json`.
fn is_json(content_type: &str) -> bool {
    let kind = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    kind == "application/json" || kind.ends_with("+json")
}

/// Whether an address is this machine's, where a proxy has no business.
fn is_local(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => IpAddr::V4(address).is_loopback(),
        Some(Host::Ipv6(address)) => IpAddr::V6(address).is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

/// A failure of the connection, with its causes and without the address that reqwest repeats.
fn failed(url: &Url, error: &reqwest::Error) -> AgentError {
    let mut causes = Vec::new();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        causes.push(cause.to_string());
        source = cause.source();
    }
    let what = if error.is_timeout() { "no answer in time".to_owned() } else { causes.join(": ") };
    AgentError::transient(format!("cannot fetch {url}: {what}"))
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    use super::*;
    use crate::script::attempt;

    /// Serves `answers` one connection after the other; gives its address.
    fn serve(answers: Vec<Vec<u8>>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for answer in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = [0; 2048];
                let _ = stream.read(&mut request);
                // The client may hang up as soon as it has seen too much.
                let _ = stream.write_all(&answer);
            }
        });
        address
    }

    fn answer(head: &str, body: &str) -> Vec<u8> {
        format!("HTTP/1.1 {head}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
    }

    async fn get(allow: &str, url: &str) -> Result<Value, AgentError> {
        let tool = HttpGet::new(&[allow.to_owned()], 1000, 5.0).unwrap();
        attempt(&tool, None, &[("url", json!(url))]).await.map(|output| output.value)
    }

    #[tokio::test]
    async fn texts_and_json_are_fetched() {
        let text = answer("200 OK\r\nContent-Type: text/plain", "héllo");
        let data = answer("200 OK\r\nContent-Type: application/json; charset=utf-8", "{\"n\": 1}");
        let address = serve(vec![text, data]);
        let url = format!("{address}/a");
        let value = get(&address, &url).await.unwrap();
        assert_eq!(value, json!({"result": "héllo", "url": url, "status": 200, "content_type": "text/plain"}));
        assert_eq!(get(&address, &url).await.unwrap()["json"], json!({"n": 1}));
    }

    #[tokio::test]
    async fn redirects_stay_within_the_list() {
        let inside = answer("302 Found\r\nLocation: /data/new", "");
        let address = serve(vec![inside, answer("200 OK", "moved")]);
        let value = get(&format!("{address}/data"), &format!("{address}/data/old")).await.unwrap();
        assert_eq!(
            (value["result"].as_str(), value["url"].as_str()),
            (Some("moved"), Some(&*format!("{address}/data/new")))
        );
        let secret = serve(vec![answer("200 OK", "secret")]);
        let address = serve(vec![
            answer(&format!("302 Found\r\nLocation: {secret}/"), ""),
            answer("302 Found\r\nLocation: /secret", ""),
            answer("302 Found\r\nLocation: file:///etc/passwd", ""),
            answer("302 Found", ""),
        ]);
        for _ in 0..3 {
            let error = get(&format!("{address}/data"), &format!("{address}/data/old")).await.unwrap_err();
            assert!(error.message.contains("which may not be fetched") && !error.retryable, "{error:?}");
        }
    }

    #[tokio::test]
    async fn a_circle_of_redirects_ends() {
        let circle = answer("302 Found\r\nLocation: /a", "");
        let address = serve(vec![circle; 10]);
        assert!(get(&address, &format!("{address}/a")).await.unwrap_err().message.contains("more than 5 redirects"));
    }

    #[tokio::test]
    async fn large_answers_are_refused_whether_announced_or_not() {
        let announced = answer("200 OK", &"x".repeat(1001));
        let mut endless = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n".to_vec();
        endless.extend(vec![b'x'; 500_000]);
        let address = serve(vec![announced, endless, answer("200 OK", &"x".repeat(1000))]);
        for _ in 0..2 {
            let error = get(&address, &address).await.unwrap_err();
            assert!(error.message.contains("more than 1000 bytes"), "{error:?}");
        }
        assert_eq!(get(&address, &address).await.unwrap()["result"].as_str().unwrap().len(), 1000);
    }

    #[tokio::test]
    async fn failures_say_whether_they_may_pass() {
        let address = serve(vec![
            answer("404 Not Found", ""),
            answer("503 Service Unavailable", ""),
            b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n\xff\xfe".to_vec(),
        ]);
        let error = get(&address, &address).await.unwrap_err();
        assert!(error.message.ends_with("answers 404 Not Found") && !error.retryable);
        assert!(get(&address, &address).await.unwrap_err().retryable);
        assert!(get(&address, &address).await.unwrap_err().message.contains("not UTF-8"));
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let error = get(&format!("http://{free}"), &format!("http://{free}/")).await.unwrap_err();
        assert!(error.retryable && error.message.starts_with("cannot fetch"), "{error:?}");
    }

    #[tokio::test]
    async fn silence_ends_in_time() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let tool = HttpGet::new(std::slice::from_ref(&address), 1000, 0.2).unwrap();
        let error = attempt(&tool, None, &[("url", json!(address))]).await.unwrap_err();
        assert!(error.retryable && error.message.contains("answer"), "{error:?}");
    }

    #[tokio::test]
    async fn nothing_outside_the_list_is_asked_for() {
        let error = get("https://example.com/data", "https://example.com/other").await.unwrap_err();
        assert_eq!(
            error.message,
            "\"https://example.com/other\" may not be fetched: it is not below https://example.com/data"
        );
        assert!(HttpGet::new(&["https://example.com/".into()], 0, 1.0).is_err());
        assert!(HttpGet::new(&["https://example.com/".into()], 1, f64::NAN).is_err());
    }
}
