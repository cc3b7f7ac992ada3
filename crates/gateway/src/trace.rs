//! Where a request stands in a distributed trace: the `traceparent` field (W3C Trace Context, sections 3.2 and 4).
//!
//! A request continues the trace that it came with, or begins one. The gateway's own work is a span in it, whose
//! parent is what the client sent; the upstream is told the gateway's span. Ids come from a fast generator: they are
//! unlikely to collide and easy to guess, so nothing may be allowed because of one.
//!
//! A `tracestate` belongs to its `traceparent`: where that is absent, repeated or invalid, it must not pass on either
//! (section 3.3). That is up to whoever holds the fields.

use std::num::{NonZeroU64, NonZeroU128};

use fastrand::Rng;

use crate::hex;

/// The length of version 00, and the least of any later version.
const LENGTH: usize = 55;
/// The caller may have recorded the trace.
const SAMPLED: u8 = 0b01;
/// The low 56 bits of the trace id are random (level 2 of the specification).
const RANDOM: u8 = 0b10;

/// A trace, and a span in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    trace_id: NonZeroU128,
    span_id: NonZeroU64,
    flags: u8,
}

impl TraceContext {
    /// Begins a trace, with a span of its own.
    pub fn begin(is_sampled: bool, random: &mut Rng) -> Self {
        let trace_id = NonZeroU128::new(random.u128(..)).unwrap_or(NonZeroU128::MIN);
        let flags = if is_sampled { SAMPLED | RANDOM } else { RANDOM };
        Self { trace_id, span_id: new_span(random), flags }
    }

    /// The context in the value of a `traceparent` field; `None` when the trace must begin anew.
    ///
    /// A later version than 00 is read as far as 00 goes, and continues as 00 (section 4.3 of level 2). Flags that
    /// are not defined are dropped.
    #[must_use]
    pub fn parse(value: &[u8]) -> Option<Self> {
        let (head, tail) = value.split_at_checked(LENGTH)?;
        let [v0, v1, b'-', rest @ ..] = head else { return None };
        let version = hex::decode(&[*v0, *v1])?;
        let is_well_ended = tail.is_empty() || (version > 0 && tail[0] == b'-');
        if version == 0xff || !is_well_ended {
            return None;
        }
        let (trace_id, rest) = rest.split_at_checked(32)?;
        let (span_id, flags) = rest.strip_prefix(b"-")?.split_at_checked(16)?;
        let flags = hex::decode(flags.strip_prefix(b"-")?)?;
        Some(Self {
            trace_id: NonZeroU128::new(hex::decode(trace_id)?)?,
            span_id: NonZeroU64::new(u64::try_from(hex::decode(span_id)?).ok()?)?,
            flags: u8::try_from(flags).ok()? & (SAMPLED | RANDOM),
        })
    }

    /// A new span in the same trace.
    #[must_use]
    pub fn child(self, random: &mut Rng) -> Self {
        Self { span_id: new_span(random), ..self }
    }

    /// The value of a `traceparent` field, version 00.
    #[must_use]
    pub fn to_bytes(self) -> [u8; LENGTH] {
        let mut text = *b"00-________________________________-________________-__";
        text[3..35].copy_from_slice(&self.trace_id());
        text[36..52].copy_from_slice(&self.span_id());
        text[53..].copy_from_slice(&hex::encode::<2>(self.flags.into()));
        text
    }

    /// The trace's id, in the digits that tracing tools show.
    #[must_use]
    pub fn trace_id(self) -> [u8; 32] {
        hex::encode(self.trace_id.get())
    }

    /// The span's id.
    #[must_use]
    pub fn span_id(self) -> [u8; 16] {
        hex::encode(self.span_id.get().into())
    }

    /// Whether the caller may have recorded the trace.
    #[must_use]
    pub fn is_sampled(self) -> bool {
        self.flags & SAMPLED != 0
    }
}

/// Zero is not an id; once in 2⁶⁴ it becomes one.
fn new_span(random: &mut Rng) -> NonZeroU64 {
    NonZeroU64::new(random.u64(..)).unwrap_or(NonZeroU64::MIN)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use fastrand::Rng;
    use proptest::prelude::*;

    use super::*;

    const EXAMPLE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn text(context: TraceContext) -> String {
        String::from_utf8(context.to_bytes().to_vec()).unwrap()
    }

    #[test]
    fn the_example_of_the_specification() {
        let context = TraceContext::parse(EXAMPLE.as_bytes()).unwrap();
        assert_eq!(&context.trace_id(), b"4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(&context.span_id(), b"00f067aa0ba902b7");
        assert!(context.is_sampled());
        assert_eq!(text(context), EXAMPLE);
    }

    #[test]
    fn a_child_stays_in_the_trace() {
        let mut random = Rng::with_seed(7);
        let parent = TraceContext::parse(EXAMPLE.as_bytes()).unwrap();
        let (first, second) = (parent.child(&mut random), parent.child(&mut random));
        assert_eq!(first.trace_id(), parent.trace_id());
        assert!(first.is_sampled());
        assert!(first.span_id() != parent.span_id() && first.span_id() != second.span_id());
    }

    #[test]
    fn later_versions_continue_as_ours() {
        for value in [
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what-the-future-holds",
            "fe-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-fd-",
        ] {
            assert_eq!(text(TraceContext::parse(value.as_bytes()).unwrap()), EXAMPLE, "{value}");
        }
    }

    #[test]
    fn undefined_flags_are_dropped() {
        for (sent, passed) in [("00", "00"), ("01", "01"), ("02", "02"), ("03", "03"), ("ff", "03"), ("fc", "00")] {
            let value = format!("{}{sent}", &EXAMPLE[..53]);
            assert_eq!(&text(TraceContext::parse(value.as_bytes()).unwrap())[53..], passed, "{sent}");
        }
    }

    #[test]
    fn what_is_malformed_begins_a_new_trace() {
        for value in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01 ",
            " 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01.more",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-012",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "0g-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7_01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00F067AA0BA902B7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0A",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-600f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473\u{e9}-0f067aa0ba902b7-01",
        ] {
            assert_eq!(TraceContext::parse(value.as_bytes()), None, "{value:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_begun_is_read_back(seed: u64, is_sampled: bool) {
            let context = TraceContext::begin(is_sampled, &mut Rng::with_seed(seed));
            prop_assert_eq!(context.is_sampled(), is_sampled);
            prop_assert_eq!(TraceContext::parse(&context.to_bytes()), Some(context));
        }

        #[test]
        fn nothing_panics(value in prop::collection::vec(any::<u8>(), 0..80), at in 0..55_usize, byte: u8) {
            let _ = TraceContext::parse(&value);
            let mut near = EXAMPLE.as_bytes().to_vec();
            near[at] = byte;
            let _ = TraceContext::parse(&near);
        }
    }
}
