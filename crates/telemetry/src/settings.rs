//! What to send and where: the environment variables that OpenTelemetry defines, read through a function.

use std::time::Duration;

use percent_encoding::percent_decode_str;
use url::Url;

/// How OTLP is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// `grpc`.
    Grpc,
    /// `http/protobuf`.
    Http,
}

/// Where one signal goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// How it is sent.
    pub protocol: Protocol,
    /// The address; with HTTP the whole one, path included.
    pub endpoint: Url,
    /// Sent with each request.
    pub headers: Vec<(String, String)>,
    /// How long a request may take.
    pub timeout: Duration,
}

/// Which runs' spans are kept.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampler {
    /// Whether a caller that has decided is followed.
    pub follows_parent: bool,
    /// The share of the others that is kept, by trace id.
    pub ratio: f64,
}

impl Sampler {
    /// Whether the spans of a trace are kept.
    pub fn keeps(&self, trace_id: u128, parent_sampled: Option<bool>) -> bool {
        match parent_sampled {
            Some(sampled) if self.follows_parent => sampled,
            _ if self.ratio >= 1.0 => true,
            // As the SDKs do it, so that a trace is kept by all of them or by none.
            _ => ((trace_id as u64 >> 1) as f64) < self.ratio * (1u64 << 63) as f64,
        }
    }
}

/// Which names are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conventions {
    /// Those of the GenAI conventions v0.1.0.
    Latest,
    /// Those of v1.36.0, which older dashboards read.
    Legacy,
}

/// Where messages go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Content {
    /// Into attributes of spans.
    pub on_spans: bool,
    /// Into events, which are log records.
    pub on_events: bool,
}

/// What is sent.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Where traces go; `None` sends none.
    pub traces: Option<Target>,
    /// Where metrics go.
    pub metrics: Option<Target>,
    /// Where logs go.
    pub logs: Option<Target>,
    /// Attributes of this process, `service.name` among them.
    pub resource: Vec<(String, String)>,
    /// Which runs' spans are kept.
    pub sampler: Sampler,
    /// Which names are used.
    pub conventions: Conventions,
    /// Whether messages are sent.
    pub content: Content,
    /// Most spans that wait; a run that would wait behind more is left out.
    pub queue: usize,
    /// Most spans of a request.
    pub batch: usize,
    /// How long spans wait for company.
    pub delay: Duration,
    /// How often metrics are sent.
    pub interval: Duration,
}

/// A variable that cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{variable}` is {value:?}; wanted {wanted}")]
pub struct SettingsError {
    /// Its name.
    pub variable: String,
    /// What it says.
    pub value: String,
    /// What would be valid.
    pub wanted: &'static str,
}

/// Reads variables; those that are empty count as absent, as the specification asks.
struct Variables<'a>(&'a dyn Fn(&str) -> Option<String>);

impl Variables<'_> {
    fn get(&self, name: &str) -> Option<String> {
        (self.0)(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
    }

    /// A variable of one signal, else of all.
    fn signal(&self, signal: &str, what: &str) -> Option<(String, String)> {
        let names = [format!("OTEL_EXPORTER_OTLP_{signal}_{what}"), format!("OTEL_EXPORTER_OTLP_{what}")];
        names.into_iter().find_map(|name| self.get(&name).map(|value| (name, value)))
    }

    fn number(&self, name: &str, default: u64) -> Result<u64, SettingsError> {
        let Some(value) = self.get(name) else { return Ok(default) };
        value.parse().map_err(|_| wrong(name, value, "a whole number"))
    }
}

fn wrong(variable: impl Into<String>, value: String, wanted: &'static str) -> SettingsError {
    SettingsError { variable: variable.into(), value, wanted }
}

impl Settings {
    /// What the variables ask for; `None` when they name neither an endpoint nor an exporter, or switch telemetry off.
    ///
    /// # Errors
    /// The first variable that cannot be understood.
    pub fn read(variable: &dyn Fn(&str) -> Option<String>) -> Result<Option<Self>, SettingsError> {
        let variables = Variables(variable);
        if variables.get("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            return Ok(None);
        }
        let traces = target(&variables, "TRACES", "v1/traces")?;
        let metrics = target(&variables, "METRICS", "v1/metrics")?;
        let logs = target(&variables, "LOGS", "v1/logs")?;
        if traces.is_none() && metrics.is_none() && logs.is_none() {
            return Ok(None);
        }
        Ok(Some(Self {
            traces,
            metrics,
            logs,
            resource: resource(&variables)?,
            sampler: sampler(&variables)?,
            conventions: conventions(&variables),
            content: content(&variables)?,
            queue: variables.number("OTEL_BSP_MAX_QUEUE_SIZE", 8192)?.max(1) as usize,
            batch: variables.number("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 512)?.max(1) as usize,
            delay: Duration::from_millis(variables.number("OTEL_BSP_SCHEDULE_DELAY", 5000)?.max(1)),
            interval: Duration::from_millis(variables.number("OTEL_METRIC_EXPORT_INTERVAL", 60_000)?.max(1)),
        }))
    }
}

fn target(variables: &Variables<'_>, signal: &str, path: &str) -> Result<Option<Target>, SettingsError> {
    let exporter = format!("OTEL_{signal}_EXPORTER");
    let endpoint = variables.signal(signal, "ENDPOINT");
    match variables.get(&exporter).as_deref() {
        Some("none") => return Ok(None),
        Some("otlp") => {}
        Some(other) => return Err(wrong(exporter, other.to_owned(), "`otlp` or `none`")),
        None if endpoint.is_none() => return Ok(None),
        None => {}
    }
    let protocol = match variables.signal(signal, "PROTOCOL") {
        None => Protocol::Http,
        Some((name, value)) => match value.as_str() {
            "grpc" => Protocol::Grpc,
            "http/protobuf" => Protocol::Http,
            _ => return Err(wrong(name, value, "`grpc` or `http/protobuf`")),
        },
    };
    let default = match protocol {
        Protocol::Grpc => "http://localhost:4317",
        Protocol::Http => "http://localhost:4318",
    };
    let (name, text) = endpoint.unwrap_or_else(|| ("OTEL_EXPORTER_OTLP_ENDPOINT".to_owned(), default.to_owned()));
    let wanted = "an address, such as http://localhost:4318";
    let mut endpoint = match Url::parse(&text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => url,
        // gRPC's own form: a host and a port.
        _ if protocol == Protocol::Grpc => {
            let insecure = variables.signal(signal, "INSECURE").is_some_and(|(_, value)| value == "true");
            let scheme = if insecure { "http" } else { "https" };
            Url::parse(&format!("{scheme}://{text}")).map_err(|_| wrong(&name, text.clone(), wanted))?
        }
        _ => return Err(wrong(name, text, wanted)),
    };
    // An address for one signal is taken as it is; the one for all is where the signals' paths begin.
    if protocol == Protocol::Http
        && name == "OTEL_EXPORTER_OTLP_ENDPOINT"
        && let Ok(mut segments) = endpoint.path_segments_mut()
    {
        segments.pop_if_empty().extend(path.split('/'));
    }
    let headers = match variables.signal(signal, "HEADERS") {
        None => Vec::new(),
        Some((name, value)) => pairs(&value).ok_or_else(|| wrong(name, value, "`key=value,key=value`"))?,
    };
    let timeout = match variables.signal(signal, "TIMEOUT") {
        None => 10_000,
        Some((name, value)) => value.parse().map_err(|_| wrong(name, value, "milliseconds"))?,
    };
    Ok(Some(Target { protocol, endpoint, headers, timeout: Duration::from_millis(timeout) }))
}

/// `key=value,key=value`, values percent-encoded.
fn pairs(text: &str) -> Option<Vec<(String, String)>> {
    let pair = |pair: &str| {
        let (key, value) = pair.split_once('=')?;
        let value = percent_decode_str(value.trim()).decode_utf8().ok()?;
        (!key.trim().is_empty()).then(|| (key.trim().to_owned(), value.into_owned()))
    };
    text.split(',').filter(|part| !part.trim().is_empty()).map(pair).collect()
}

fn resource(variables: &Variables<'_>) -> Result<Vec<(String, String)>, SettingsError> {
    const NAME: &str = "OTEL_RESOURCE_ATTRIBUTES";
    let given = variables.get(NAME).unwrap_or_default();
    let mut attributes = pairs(&given).ok_or_else(|| wrong(NAME, given, "`key=value,key=value`"))?;
    if let Some(service) = variables.get("OTEL_SERVICE_NAME") {
        attributes.retain(|(key, _)| key != crate::names::SERVICE_NAME);
        attributes.push((crate::names::SERVICE_NAME.to_owned(), service));
    }
    let ours = [
        (crate::names::SERVICE_NAME, "lumos"),
        (crate::names::SERVICE_VERSION, env!("CARGO_PKG_VERSION")),
        (crate::names::TELEMETRY_SDK_NAME, "lumos"),
        (crate::names::TELEMETRY_SDK_LANGUAGE, "rust"),
        (crate::names::TELEMETRY_SDK_VERSION, env!("CARGO_PKG_VERSION")),
    ];
    for (key, value) in ours {
        if attributes.iter().all(|(given, _)| given != key) {
            attributes.push((key.to_owned(), value.to_owned()));
        }
    }
    Ok(attributes)
}

fn sampler(variables: &Variables<'_>) -> Result<Sampler, SettingsError> {
    const ARGUMENT: &str = "OTEL_TRACES_SAMPLER_ARG";
    let name = variables.get("OTEL_TRACES_SAMPLER").unwrap_or_else(|| "parentbased_always_on".to_owned());
    let follows_parent = name.starts_with("parentbased_");
    let ratio = match name.trim_start_matches("parentbased_") {
        "always_on" => 1.0,
        "always_off" => 0.0,
        "traceidratio" => match variables.get(ARGUMENT) {
            None => 1.0,
            Some(value) => {
                let ratio = value.parse().ok().filter(|ratio: &f64| (0.0..=1.0).contains(ratio));
                ratio.ok_or_else(|| wrong(ARGUMENT, value, "a number from 0 to 1"))?
            }
        },
        _ => {
            let wanted = "`always_on`, `always_off` or `traceidratio`, with or without `parentbased_` before it";
            return Err(wrong("OTEL_TRACES_SAMPLER", name, wanted));
        }
    };
    Ok(Sampler { follows_parent, ratio })
}

/// `OTEL_SEMCONV_STABILITY_OPT_IN` is a list. Instrumentations that spoke an older version keep to it until
/// `gen_ai_latest_experimental` is in the list; lumos never spoke one, so that is its default, and `gen_ai_legacy` asks
/// for the old names.
fn conventions(variables: &Variables<'_>) -> Conventions {
    let list = variables.get("OTEL_SEMCONV_STABILITY_OPT_IN").unwrap_or_default();
    let mut asked = list.split(',').map(str::trim);
    if asked.any(|word| word == "gen_ai_legacy") { Conventions::Legacy } else { Conventions::Latest }
}

fn content(variables: &Variables<'_>) -> Result<Content, SettingsError> {
    const NAME: &str = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT";
    let value = variables.get(NAME).unwrap_or_default();
    let (on_spans, on_events) = match value.to_ascii_lowercase().as_str() {
        "" | "false" | "no_content" => (false, false),
        "span_only" => (true, false),
        "event_only" => (false, true),
        "true" | "span_and_event" => (true, true),
        _ => {
            return Err(wrong(
                NAME,
                value,
                "`span_only`, `event_only`, `span_and_event`, `no_content`, `true` or `false`",
            ));
        }
    };
    Ok(Content { on_spans, on_events })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Option<Settings>, SettingsError> {
        let get = |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        Settings::read(&get)
    }

    fn some(variables: &[(&str, &str)]) -> Settings {
        read(variables).expect("valid").expect("something to send")
    }

    #[test]
    fn nothing_is_sent_unless_somebody_says_where() {
        assert_eq!(read(&[]), Ok(None));
        assert_eq!(read(&[("OTEL_SERVICE_NAME", "me"), ("OTEL_EXPORTER_OTLP_ENDPOINT", " ")]), Ok(None));
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318");
        assert_eq!(read(&[endpoint, ("OTEL_SDK_DISABLED", "TRUE")]), Ok(None));
        let none = ["OTEL_TRACES_EXPORTER", "OTEL_METRICS_EXPORTER", "OTEL_LOGS_EXPORTER"].map(|name| (name, "none"));
        assert_eq!(read(&[&none[..], &[endpoint]].concat()), Ok(None));
        let settings = some(&[("OTEL_TRACES_EXPORTER", "otlp")]);
        assert_eq!(settings.traces.expect("traces").endpoint.as_str(), "http://localhost:4318/v1/traces");
        assert_eq!(settings.metrics, None);
    }

    #[test]
    fn a_signals_own_variables_come_first() {
        let settings = some(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318/base/"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "a=1, b=x%20y"),
            ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "http://l/logs"),
            ("OTEL_EXPORTER_OTLP_LOGS_TIMEOUT", "250"),
        ]);
        let (traces, metrics) = (settings.traces.expect("traces"), settings.metrics.expect("metrics"));
        assert_eq!((traces.protocol, traces.endpoint.as_str()), (Protocol::Grpc, "http://c:4318/base/"));
        assert_eq!((metrics.protocol, metrics.endpoint.as_str()), (Protocol::Http, "http://c:4318/base/v1/metrics"));
        assert_eq!(metrics.headers, [("a".to_owned(), "1".to_owned()), ("b".to_owned(), "x y".to_owned())]);
        let logs = settings.logs.expect("logs");
        assert_eq!((logs.endpoint.as_str(), logs.timeout), ("http://l/logs", Duration::from_millis(250)));
    }

    #[test]
    fn what_cannot_be_understood_is_said() {
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318");
        let wrong = [
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "nowhere"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "smoke"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "a"),
            ("OTEL_TRACES_EXPORTER", "zipkin"),
            ("OTEL_TRACES_SAMPLER", "sometimes"),
            ("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "maybe"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "many"),
        ];
        for (name, value) in wrong {
            let error = read(&[endpoint, (name, value)]).expect_err(name);
            assert_eq!((error.variable.as_str(), error.value.as_str()), (name, value));
        }
    }

    #[test]
    fn names_and_resource_are_as_asked() {
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318");
        let attributes = ("OTEL_RESOURCE_ATTRIBUTES", "service.name=a,team=b");
        let settings = some(&[endpoint, attributes, ("OTEL_SERVICE_NAME", "c")]);
        let service = ("service.name".to_owned(), "c".to_owned());
        let team = ("team".to_owned(), "b".to_owned());
        assert!(settings.resource.contains(&service) && settings.resource.contains(&team));
        assert_eq!(settings.resource.iter().filter(|(key, _)| *key == service.0).count(), 1);
        assert_eq!(settings.conventions, Conventions::Latest);
        let legacy = some(&[endpoint, ("OTEL_SEMCONV_STABILITY_OPT_IN", "http, gen_ai_legacy")]);
        assert_eq!(legacy.conventions, Conventions::Legacy);
    }

    #[test]
    fn samplers_follow_the_caller_or_the_trace_id() {
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318");
        let of = |name: &str, argument: &str| {
            some(&[endpoint, ("OTEL_TRACES_SAMPLER", name), ("OTEL_TRACES_SAMPLER_ARG", argument)]).sampler
        };
        assert!(some(&[endpoint]).sampler.keeps(1, None));
        assert!(!some(&[endpoint]).sampler.keeps(1, Some(false)));
        assert!(of("always_on", "").keeps(1, Some(false)));
        assert!(!of("always_off", "").keeps(1, Some(true)));
        let half = of("traceidratio", "0.5");
        let kept = (0..1000u64).filter(|id| half.keeps(u128::from(lumos_core::chance::mix(*id)), None)).count();
        assert!((400..600).contains(&kept), "{kept}");
    }
}
