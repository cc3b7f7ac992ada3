//! Who asks, and under which names a request is known: what the gateway believes of proxies, and
//! what it tells the upstream.

use super::Exchange;
use super::context::RequestId;
use crate::config::plan::Forwarded;
use crate::forwarded::{Origin, Peer, XForwarded, is_spoofable};
use crate::request_id;
use crate::trace::TraceContext;
use tidegate_wire::name::Known;

impl Exchange<'_> {
    /// Finds the client behind trusted proxies and removes every field with which a client could
    /// pretend to be another; what is true of them is written anew by [`Exchange::prepare_forward`].
    pub(super) fn read_origin(&mut self) {
        let trusted = &self.client.listener.plan.trusted_proxies;
        let fields = &mut self.scratch.request.fields;
        if !trusted.is_empty() {
            let peer = Peer { address: self.client.address.ip(), scheme: self.client.scheme };
            self.context.origin = if self.local.snapshot.plan.headers.forwarded == Forwarded::Rfc7239 {
                Origin::from_forwarded(peer, trusted, fields.values(Known::Forwarded))
            } else {
                let values = XForwarded {
                    addresses: fields.values(Known::XForwardedFor),
                    schemes: fields.values(Known::XForwardedProto),
                    hosts: fields.values(Known::XForwardedHost),
                };
                Origin::from_x_forwarded(peer, trusted, values)
            };
        }
        fields.remove_where(|field| match field.known {
            Known::Forwarded | Known::XForwardedFor | Known::XForwardedHost | Known::XForwardedProto => true,
            Known::Other => is_spoofable(field.name),
            _ => false,
        });
    }

    /// Writes what an upstream shall know: who asks, by which name, in which trace.
    pub(super) fn prepare_forward(&mut self) {
        // Written once, where the body is framed: two of them are a smuggler's tool.
        self.scratch.request.fields.remove(Known::ContentLength);
        self.name_request();
        self.continue_trace();
        let headers = &self.local.snapshot.plan.headers;
        let origin = &self.context.origin;
        let fields = &mut self.scratch.request.fields;
        if headers.forwarded.x_forwarded() {
            fields.add(Known::XForwardedFor, |out| origin.write_x_forwarded_for(out));
            fields.set(Known::XForwardedProto, origin.scheme().as_str().as_bytes());
            match origin.host() {
                Some(host) => fields.set(Known::XForwardedHost, host),
                None => fields.append_copy(Known::XForwardedHost, Known::Host),
            }
        }
        if headers.forwarded.rfc7239() {
            let host = fields.value(Known::Host).unwrap_or_default().to_vec();
            fields.append_with("forwarded", |out| origin.write_forwarded(&host, out));
        }
        if headers.via {
            let protocol = self.scratch.request.version.text().trim_start_matches("HTTP/").as_bytes();
            self.scratch.request.fields.append_with("via", |out| {
                out.extend_from_slice(protocol);
                out.extend_from_slice(b" tidegate");
            });
        }
    }

    /// Takes a well-formed `X-Request-Id` over or makes one.
    pub(super) fn name_request(&mut self) {
        let fields = &mut self.scratch.request.fields;
        let sent = fields.value(Known::XRequestId).filter(|_| !fields.is_repeated(Known::XRequestId));
        self.context.request_id = match sent.filter(|sent| request_id::is_acceptable(sent)) {
            Some(sent) => RequestId::Sent(sent.into()),
            None => RequestId::Own(self.worker.make_request_id(self.context.now)),
        };
        if self.local.snapshot.plan.headers.request_id {
            fields.set(Known::XRequestId, self.context.request_id.as_bytes());
        } else {
            fields.remove(Known::XRequestId);
        }
    }

    /// Continues the trace that the client is in, or begins one (W3C Trace Context).
    fn continue_trace(&mut self) {
        let fields = &mut self.scratch.request.fields;
        let sent = fields.value(Known::Traceparent).filter(|_| !fields.is_repeated(Known::Traceparent));
        let parent = sent.and_then(TraceContext::parse);
        if parent.is_none() {
            fields.remove(Known::Tracestate);
        }
        let mut random = self.worker.random();
        let own = match parent {
            Some(parent) => parent.child(&mut random),
            None => TraceContext::begin(false, &mut random),
        };
        fields.set(Known::Traceparent, &own.to_bytes());
        self.context.trace_id = Some(own.trace_id());
    }
}
