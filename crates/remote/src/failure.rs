//! What goes wrong on the way, as errors of a backend: statuses, error documents and failed connections.

use std::error::Error;
use std::io;

use lumos_core::{BackendError, BackendErrorKind};
use reqwest::StatusCode;
use serde_json::Value;

use crate::headers;

/// Most characters of a server's message that are quoted.
const MOST_QUOTED: usize = 300;

/// A failed exchange, and whether the server may have worked, and charged, for it.
pub(crate) struct Failed {
    pub(crate) error: BackendError,
    pub(crate) billed: bool,
}

impl Failed {
    /// A failure that cannot have cost anything.
    pub(crate) fn free(error: BackendError) -> Self {
        Self { error, billed: false }
    }
}

impl From<BackendError> for Failed {
    fn from(error: BackendError) -> Self {
        Self { error, billed: true }
    }
}

/// An error of a `kind`.
pub(crate) fn error(kind: BackendErrorKind, message: impl Into<String>) -> BackendError {
    BackendError::new(kind, message)
}

/// What an error document says, in any of the protocols.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Said {
    /// The message for people.
    message: Option<String>,
    /// Names of the error: its type, code or status, lower-cased.
    names: Vec<String>,
    retry_after_us: Option<u64>,
}

impl Said {
    /// Reads an error document; what is none is quoted as it stands.
    pub(crate) fn read(body: &str) -> Self {
        match serde_json::from_str::<Value>(body) {
            Ok(value) => Self::of(&value),
            Err(_) if body.trim_start().starts_with('<') => Self::default(),
            Err(_) => Self { message: Some(body.to_owned()), ..Self::default() },
        }
    }

    /// Reads `{"error": {…}}`, `{"error": "…"}`, `{"message": …}` or a list with one of them.
    pub(crate) fn of(value: &Value) -> Self {
        let document = value.get(0).unwrap_or(value);
        let inner = document.get("error").filter(|inner| !inner.is_null()).unwrap_or(document);
        let message = inner.as_str().or_else(|| {
            let texts = ["message", "detail", "error"].iter().filter_map(|name| inner.get(*name)?.as_str());
            { texts }.next()
        });
        let names = ["type", "code", "status"].iter().filter_map(|name| match inner.get(*name)? {
            Value::String(text) => Some(text.to_lowercase()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        });
        let details = inner.get("details").and_then(Value::as_array);
        let delays = details.into_iter().flatten().filter_map(|detail| detail.get("retryDelay")?.as_str());
        Self {
            message: message.map(str::to_owned),
            names: names.collect(),
            retry_after_us: { delays }.find_map(headers::span_us),
        }
    }

    fn is(&self, name: &str) -> bool {
        self.names.iter().any(|it| it == name)
    }

    /// Whether it says that prompt and answer do not fit the model.
    fn is_about_context(&self) -> bool {
        const NAMES: [&str; 2] = ["context_length_exceeded", "exceed_context_size_error"];
        const PHRASES: [&str; 7] = [
            "context length",
            "context size",
            "context window",
            "prompt is too long",
            "exceeds the maximum number of tokens",
            "available context",
            "exceed context limit",
        ];
        let message = self.message.as_deref().unwrap_or_default().to_lowercase();
        NAMES.iter().any(|name| self.is(name)) || PHRASES.iter().any(|phrase| message.contains(phrase))
    }

    fn quoted(&self) -> String {
        let message = self.message.as_deref().map(str::trim).filter(|message| !message.is_empty());
        message.map_or_else(String::new, |message| format!(": {}", quote(message)))
    }

    /// The error for a stream in whose midst the server reports one.
    pub(crate) fn in_stream(&self, server: &str) -> BackendError {
        let numbers = self.names.iter().filter_map(|name| name.parse::<u16>().ok());
        let status =
            { numbers }.find(|code| (400..600).contains(code)).and_then(|code| StatusCode::from_u16(code).ok());
        let status = status.unwrap_or_else(|| match () {
            () if self.is("rate_limit_error") || self.is("rate_limit_exceeded") => StatusCode::TOO_MANY_REQUESTS,
            () if self.is("resource_exhausted") => StatusCode::TOO_MANY_REQUESTS,
            () if self.is("authentication_error") || self.is("permission_error") => StatusCode::UNAUTHORIZED,
            () if self.is("invalid_request_error") || self.is("invalid_argument") => StatusCode::BAD_REQUEST,
            () => StatusCode::INTERNAL_SERVER_ERROR,
        });
        let error = self.with_status(status, server);
        BackendError { message: format!("{} (in the midst of its answer)", error.message), ..error }
    }

    /// The error for a reply with `status`.
    pub(crate) fn with_status(&self, status: StatusCode, server: &str) -> BackendError {
        use BackendErrorKind as Kind;
        let said = self.quoted();
        let code = status.as_u16();
        let (kind, message) = match code {
            _ if code != 429 && self.is_about_context() => {
                (Kind::ContextExceeded, format!("prompt and answer do not fit the model's context at {server}{said}"))
            }
            401 | 403 => (
                Kind::Unauthorized,
                format!("{server} refuses who asks ({code}){said}; check the backend's key and what it may use"),
            ),
            402 => (Kind::Unauthorized, format!("{server} wants to be paid first ({code}){said}")),
            429 if self.is("insufficient_quota") || self.is("billing_error") => {
                (Kind::Unauthorized, format!("the account's quota at {server} is used up ({code}){said}"))
            }
            429 => (Kind::RateLimited, format!("{server} allows no more requests or tokens for now ({code}){said}")),
            404 => (
                Kind::Unusable,
                format!("{server} knows no such model or path ({code}){said}; check `model` and `base_url`"),
            ),
            408 | 409 | 425 => (Kind::Transient, format!("{server} could not take the request now ({code}){said}")),
            529 => (Kind::Transient, format!("{server} is overloaded ({code}){said}")),
            500.. => (Kind::Transient, format!("{server} failed ({code}){said}")),
            413 => (Kind::InvalidRequest, format!("the request is too large for {server} ({code}){said}")),
            _ => (Kind::InvalidRequest, format!("{server} refuses the request ({code}){said}{}", self.way_out())),
        };
        BackendError { retry_after_us: self.retry_after_us, ..error(kind, message) }
    }

    /// What helps against a refused field.
    fn way_out(&self) -> &'static str {
        let unsupported = self.is("unsupported_value") || self.is("unsupported_parameter");
        if unsupported { "; name the field in the backend's `omit` to leave it out" } else { "" }
    }
}

/// The beginning of a server's message, on one line.
pub(crate) fn quote(text: &str) -> String {
    let mut shown: String = text.chars().take(MOST_QUOTED).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}

/// Whether the connection was closed before any byte of a reply came.
pub(crate) fn is_closed_early(failure: &reqwest::Error) -> bool {
    use io::ErrorKind as Kind;
    let mut source = failure.source();
    while let Some(cause) = source {
        let hyper = cause.downcast_ref::<hyper::Error>();
        let socket = cause.downcast_ref::<io::Error>().map(io::Error::kind);
        if hyper.is_some_and(hyper::Error::is_incomplete_message)
            || matches!(socket, Some(Kind::ConnectionReset | Kind::ConnectionAborted | Kind::BrokenPipe))
        {
            return !failure.is_connect();
        }
        source = cause.source();
    }
    false
}

/// The error for a request that got no reply, or whose reply broke off.
pub(crate) fn broken(failure: &reqwest::Error, server: &str, connect_s: f64) -> BackendError {
    use BackendErrorKind as Kind;
    let mut causes = Vec::new();
    let mut refused = false;
    let mut certificate = None;
    let mut source = failure.source();
    while let Some(cause) = source {
        if let Some(io) = cause.downcast_ref::<io::Error>() {
            refused |= io.kind() == io::ErrorKind::ConnectionRefused;
        }
        certificate = certificate.or_else(|| carried(cause));
        causes.push(cause.to_string());
        source = cause.source();
    }
    causes.dedup();
    let what = causes.join(": ");
    if let Some(rustls::Error::InvalidCertificate(why)) = certificate {
        let message = format!(
            "the certificate of {server} is not trusted ({why}); if it is your own authority's, give that one's \
             certificate to the backend"
        );
        return error(Kind::Unusable, message);
    }
    let message = match () {
        () if refused => format!("{server} refused the connection; is it running?"),
        () if failure.is_timeout() => format!("no connection to {server} within {connect_s} s; is it reachable?"),
        () if what.contains("dns error") => format!("the host of {server} cannot be found; check `base_url`: {what}"),
        () if failure.is_connect() => format!("no connection to {server}: {what}"),
        () => format!("the connection to {server} broke off: {what}"),
    };
    error(Kind::Transient, message)
}

/// The error of TLS that `cause` is, or carries: `io::Error` hides what it carries from `source`.
fn carried<'a>(cause: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let inner = || cause.downcast_ref::<io::Error>()?.get_ref();
    cause.downcast_ref().or_else(|| carried(inner()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(code: u16, body: &str) -> BackendError {
        Said::read(body).with_status(StatusCode::from_u16(code).unwrap(), "http://x")
    }

    #[test]
    fn a_status_decides_about_a_retry_unless_the_document_knows_better() {
        use BackendErrorKind as Kind;
        for (code, body, wanted) in [
            (400, r#"{"error": {"message": "bad", "type": "invalid_request_error"}}"#, Kind::InvalidRequest),
            (400, r#"{"error": {"message": "x", "code": "context_length_exceeded"}}"#, Kind::ContextExceeded),
            (400, r#"{"error": {"message": "the request exceeds the available context size"}}"#, Kind::ContextExceeded),
            (400, r#"{"type": "error", "error": {"message": "prompt is too long: 9 > 8"}}"#, Kind::ContextExceeded),
            (401, "{}", Kind::Unauthorized),
            (403, "no", Kind::Unauthorized),
            (404, "", Kind::Unusable),
            (408, "", Kind::Transient),
            (413, "", Kind::InvalidRequest),
            (429, "", Kind::RateLimited),
            (429, r#"{"error": {"message": "x", "code": "insufficient_quota"}}"#, Kind::Unauthorized),
            (500, "<html>", Kind::Transient),
            (529, r#"{"type": "error", "error": {"type": "overloaded_error"}}"#, Kind::Transient),
        ] {
            assert_eq!(status(code, body).kind, wanted, "{code} {body}");
        }
    }

    #[test]
    fn the_servers_message_is_quoted_in_short_on_one_line() {
        let shown = status(500, r#"[{"error": {"message": "a\nb"}}]"#).message;
        assert_eq!(shown, "http://x failed (500): a b");
        assert!(status(500, &"é".repeat(9_999)).message.chars().count() < 400);
        assert_eq!(status(500, "<html>secrets of a proxy</html>").message, "http://x failed (500)");
    }

    #[test]
    fn geminis_retry_delay_is_read() {
        let body = r#"{"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "details":
            [{"@type": "x"}, {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "13.5s"}]}}"#;
        assert_eq!(status(429, body).retry_after_us, Some(13_500_000));
    }

    #[test]
    fn an_error_in_the_midst_of_a_stream_has_the_kind_of_its_name() {
        use BackendErrorKind as Kind;
        for (body, wanted) in [
            (r#"{"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}"#, Kind::Transient),
            (r#"{"error": {"type": "rate_limit_error"}}"#, Kind::RateLimited),
            (r#"{"error": {"code": 429}}"#, Kind::RateLimited),
            (r#"{"error": {"type": "invalid_request_error"}}"#, Kind::InvalidRequest),
        ] {
            assert_eq!(Said::read(body).in_stream("x").kind, wanted, "{body}");
        }
    }
}
