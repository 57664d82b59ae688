//! The place of a run, its steps and its attempts in a distributed trace: W3C Trace Context in and out.
//!
//! Span ids are functions of (run, step, attempt), so that whoever sends a request and whoever later describes it agree
//! on them without a word, in another process too.

use std::sync::Arc;

use crate::chance;

/// Longest `tracestate` that is passed on.
const MOST_STATE: usize = 512;

/// A span that a request belongs to, as `traceparent` and `tracestate` name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace; never zero.
    pub trace_id: u128,
    /// The span; never zero.
    pub span_id: u64,
    /// Whether whoever made it keeps its spans.
    pub sampled: bool,
    /// What vendors pass along, verbatim.
    pub state: Option<Arc<str>>,
}

impl TraceContext {
    /// Reads the headers `traceparent` and `tracestate`; `None` when the first is not one, as the recommendation asks.
    pub fn parse(parent: &str, state: Option<&str>) -> Option<Self> {
        let mut fields = parent.trim().split('-');
        let version = hex(fields.next()?, 2)?;
        let trace_id = hex(fields.next()?, 32)?;
        let span_id = hex(fields.next()?, 16)? as u64;
        let flags = hex(fields.next()?, 2)?;
        // Version 0 has four fields, later ones may have more; 255 is none.
        if version == 0xff || (version == 0 && fields.next().is_some()) || trace_id == 0 || span_id == 0 {
            return None;
        }
        let state = state.map(str::trim).filter(|state| !state.is_empty() && state.len() <= MOST_STATE);
        let state = state.filter(|state| state.bytes().all(|byte| (0x20..0x7f).contains(&byte))).map(Arc::from);
        Some(Self { trace_id, span_id, sampled: flags & 1 == 1, state })
    }

    /// `traceparent` and, after a line end, `tracestate`, for whoever keeps them.
    pub fn headers(&self) -> String {
        self.state.as_ref().map_or_else(|| self.parent(), |state| format!("{}\n{state}", self.parent()))
    }

    /// Reads what [`Self::headers`] gave.
    pub fn of_headers(text: &str) -> Option<Self> {
        let (parent, state) = text.split_once('\n').map_or((text, None), |(parent, state)| (parent, Some(state)));
        Self::parse(parent, state)
    }

    /// The header `traceparent`.
    pub fn parent(&self) -> String {
        format!("00-{:032x}-{:016x}-{:02x}", self.trace_id, self.span_id, u8::from(self.sampled))
    }
}

/// A number of exactly `digits` lower-case hexadecimal digits.
fn hex(text: &str, digits: usize) -> Option<u128> {
    let is_hex = text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if is_hex { u128::from_str_radix(text, 16).ok() } else { None }
}

/// The spans of one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceScope {
    run: u128,
    sampled: bool,
    parent: Option<Box<TraceContext>>,
}

impl TraceScope {
    /// The spans of the run with this number, in the trace of `parent` or in one of their own.
    pub fn new(run: u128, sampled: bool, parent: Option<Box<TraceContext>>) -> Self {
        Self { run: run.max(1), sampled, parent }
    }

    /// The trace.
    pub fn trace_id(&self) -> u128 {
        self.parent.as_ref().map_or(self.run, |parent| parent.trace_id)
    }

    /// Whether the spans are kept.
    pub fn sampled(&self) -> bool {
        self.sampled
    }

    /// The caller's span.
    pub fn parent(&self) -> Option<&TraceContext> {
        self.parent.as_deref()
    }

    /// The run's own span.
    pub fn root(&self) -> u64 {
        self.span(0, 0)
    }

    /// The span of the step with this number.
    pub fn step(&self, step: u32) -> u64 {
        self.span(u64::from(step) + 1, 0)
    }

    /// The span of an attempt of a step.
    pub fn attempt(&self, step: u32, attempt: u32) -> u64 {
        self.span(u64::from(step) + 1, u64::from(attempt) + 1)
    }

    /// What a request of the attempt carries.
    pub fn context(&self, step: u32, attempt: u32) -> TraceContext {
        TraceContext {
            trace_id: self.trace_id(),
            span_id: self.attempt(step, attempt),
            sampled: self.sampled,
            state: self.parent.as_ref().and_then(|parent| parent.state.clone()),
        }
    }

    fn span(&self, step: u64, attempt: u64) -> u64 {
        let run = chance::combine(self.run as u64, (self.run >> 64) as u64);
        // A number drawn twice within a run would need billions of steps; zero names no span.
        chance::combine(chance::combine(run, step), attempt).max(1)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_callers_context_is_read_and_written_as_it_was() {
        let context = TraceContext::parse(PARENT, Some("vendor=1")).expect("a context");
        assert_eq!((context.parent().as_str(), context.sampled), (PARENT, true));
        assert_eq!(context.state.as_deref(), Some("vendor=1"));
        let later = format!("01{}-more", &PARENT[2..]);
        assert_eq!(TraceContext::parse(&later, None).expect("a later version").parent(), PARENT);
    }

    #[test]
    fn what_is_no_context_is_none() {
        let upper = PARENT.to_uppercase();
        let wrong = [
            "",
            "00",
            &upper,
            &PARENT[..54],
            &format!("{PARENT}-more"),
            &format!("ff{}", &PARENT[2..]),
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ];
        for text in wrong {
            assert_eq!(TraceContext::parse(text, None), None, "{text}");
        }
        let state = TraceContext::parse(PARENT, Some("a=\r\nb")).expect("a context").state;
        assert_eq!(state, None, "a header's line ends nowhere else");
    }

    #[test]
    fn every_span_of_a_run_has_its_own_id_and_other_runs_have_others() {
        let scopes = [TraceScope::new(7, true, None), TraceScope::new(8, true, None)];
        let spans = scopes.iter().flat_map(|scope| {
            let of_step = move |step| (1..4).map(move |attempt| scope.attempt(step, attempt)).chain([scope.step(step)]);
            (0..1000).flat_map(of_step).chain([scope.root()])
        });
        let spans: Vec<u64> = spans.collect();
        assert_eq!(spans.iter().collect::<BTreeSet<_>>().len(), spans.len());
        assert!(!spans.contains(&0));
    }

    #[test]
    fn an_attempt_belongs_to_the_callers_trace() {
        let parent = TraceContext::parse(PARENT, Some("vendor=1")).map(Box::new);
        let scope = TraceScope::new(7, false, parent.clone());
        let context = scope.context(3, 1);
        assert_eq!(context.trace_id, parent.expect("a parent").trace_id);
        assert_eq!((context.span_id, context.sampled), (scope.attempt(3, 1), false));
        assert_eq!(context.state.as_deref(), Some("vendor=1"));
    }
}
