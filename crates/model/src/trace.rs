//! The trace that a task belongs to: W3C Trace Context from the request that started
//! it, through its row, to its handler and what that asks of others.

use std::str::FromStr;

use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};

/// A place in a trace (W3C Trace Context, Recommendation of 2021-11-23): the header
/// `traceparent` and, if there is one, `tracestate`.
#[derive(Debug, Clone, PartialEq)]
pub struct TraceContext(SpanContext);

/// Longer ones are dropped (3.3.1.5 asks for at least 512 characters to be passed on).
const STATE_LIMIT: usize = 2_048;

impl TraceContext {
    /// What two headers say. A `traceparent` that is not valid makes a request count
    /// as without one (3.2.2.3 and 4.3), whatever its `tracestate` is; a `tracestate`
    /// that is not valid is dropped alone (3.3.1).
    #[must_use]
    pub fn from_headers(parent: &str, state: Option<&str>) -> Option<Self> {
        let fields: Vec<&str> = parent.trim_matches([' ', '\t']).split('-').collect();
        let [version, trace_id, span_id, flags, more @ ..] = fields.as_slice() else { return None };
        let hex = |text: &str, digits: usize| {
            text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
        };
        // Later versions may have more fields; this one has not, and ff never will be one.
        let known = hex(version, 2) && *version != "ff" && (*version != "00" || more.is_empty());
        if !known || !hex(trace_id, 32) || !hex(span_id, 16) || !hex(flags, 2) {
            return None;
        }
        let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?) & TraceFlags::SAMPLED;
        let state = state
            .filter(|state| state.len() <= STATE_LIMIT && state.split(',').count() <= 32)
            .and_then(|state| TraceState::from_str(state).ok())
            .unwrap_or_default();
        let context =
            SpanContext::new(TraceId::from_hex(trace_id).ok()?, SpanId::from_hex(span_id).ok()?, flags, true, state);
        context.is_valid().then_some(Self(context))
    }

    /// The place that the running code has in a trace, if any.
    #[must_use]
    pub fn current() -> Option<Self> {
        Context::map_current(|context| {
            let span = context.span();
            let place = span.span_context();
            place.is_valid().then(|| Self(place.clone()))
        })
    }

    /// `traceparent`.
    #[must_use]
    pub fn parent(&self) -> String {
        format!("00-{}-{}-{:02x}", self.0.trace_id(), self.0.span_id(), self.0.trace_flags().to_u8())
    }

    /// `tracestate`, unless it is empty.
    #[must_use]
    pub fn state(&self) -> Option<String> {
        let state = self.0.trace_state().header();
        (!state.is_empty()).then_some(state)
    }

    /// The trace's id: 32 hexadecimal digits.
    #[must_use]
    pub fn trace_id(&self) -> String {
        self.0.trace_id().to_string()
    }

    /// For spans whose parent is elsewhere.
    #[must_use]
    pub fn to_context(&self) -> Context {
        Context::current().with_remote_span_context(self.0.clone())
    }

    /// As it is stored with a task: both headers, a space between.
    #[must_use]
    pub(crate) fn stored(&self) -> String {
        match self.state() {
            Some(state) => format!("{} {state}", self.parent()),
            None => self.parent(),
        }
    }

    pub(crate) fn from_stored(text: &str) -> Option<Self> {
        match text.split_once(' ') {
            Some((parent, state)) => Self::from_headers(parent, Some(state)),
            None => Self::from_headers(text, None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::TraceContext;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_context_survives_the_row() {
        let context =
            TraceContext::from_headers(PARENT, Some("congo=t61rcWkgMzE,rojo=00f067aa0ba902b7")).expect("valid");
        assert_eq!(context.parent(), PARENT);
        assert_eq!(context.state().as_deref(), Some("congo=t61rcWkgMzE,rojo=00f067aa0ba902b7"));
        assert_eq!(TraceContext::from_stored(&context.stored()), Some(context));
        let bare = TraceContext::from_headers(PARENT, None).expect("valid");
        assert_eq!(TraceContext::from_stored(&bare.stored()), Some(bare));
    }

    #[test]
    fn what_the_recommendation_calls_invalid_is_ignored() {
        for invalid in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1",
            "zz-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "0\u{301}-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(TraceContext::from_headers(invalid, Some("a=b")), None, "{invalid}");
        }
        let later = TraceContext::from_headers(&format!("cc{}-more", &PARENT[2..]), None).expect("a later version");
        assert_eq!(later.parent(), PARENT);
        let state = TraceContext::from_headers(PARENT, Some("no state")).expect("the parent counts").state();
        assert_eq!(state, None);
    }

    #[test]
    fn without_a_trace_there_is_no_place_in_one() {
        assert_eq!(TraceContext::current(), None);
        let context = TraceContext::from_headers(PARENT, None).expect("valid");
        let _guard = context.to_context().attach();
        assert_eq!(TraceContext::current(), Some(context));
    }
}
