//! What a user writes about a route.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

use tidegate_resilience::StepOptions;

use super::{Filter, Timeout};
use crate::config::units::{Count, OneOrMany, OrOff, OrUnlimited, Size, Statuses};

/// Which requests are answered, and how: by exactly one of `upstream`, `respond` and `redirect`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("oneOf" = [
    { "required": ["upstream"] },
    { "required": ["respond"] },
    { "required": ["redirect"] },
]))]
pub struct Route {
    /// Its name in logs and metrics, unique. Default: from its path, such as `prefix /api`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,

    /// Higher goes before lower, whatever else the routes match.
    #[serde(default)]
    pub priority: i32,

    /// Which requests it answers: those that pass every test. Left out or empty, all of them.
    #[serde(default, rename = "match")]
    pub matches: Match,

    /// The name of the upstream that requests are forwarded to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream: Option<String>,

    /// An answer that the gateway gives by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub respond: Option<Respond>,

    /// Sends the client elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redirect: Option<Redirect>,

    /// What requests have to pass before they are answered, behind the filters of the listener. 16 at most.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub filters: Vec<Filter>,

    /// Policies around the requests of this route, outermost first. Those of the upstream stand inside them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub protect: Vec<StepOptions>,

    /// Whether a request may be sent twice whatever its method is. Those with an idempotent method (RFC 9110 section
    /// 9.2.2: GET, HEAD, OPTIONS, TRACE, PUT, DELETE) may be anyway; others are only where the first surely had no
    /// effect.
    #[serde(default)]
    pub idempotent: bool,

    /// What the client gets where the upstream has no answer to give, instead of an error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback: Option<Fallback>,

    /// Bounds on waiting, before those of the upstream.
    #[serde(default)]
    pub timeouts: RouteTimeouts,

    /// Largest request body, before the listener's `limits.body`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_body: Option<OrUnlimited<Size<0, { 1 << 50 }>>>,

    /// Encodings in a path that are refused elsewhere, because an upstream that decodes them sees another
    /// path than the one that was routed.
    #[serde(default)]
    pub allow: Vec<Allowance>,

    /// Protocols that a client may change to. `[]` allows none.
    #[serde(default = "websocket")]
    pub upgrades: Vec<Upgrade>,
}

fn websocket() -> Vec<Upgrade> {
    vec![Upgrade::Websocket]
}

/// Tests on a request, all of which must pass. At most one of `path`, `prefix` and `regex`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Match {
    /// Any of these hosts: `api.example.test`, or `*.example.test` for every name below it. Without port.
    #[serde(skip_serializing_if = "is_empty")]
    pub host: OneOrMany<String>,

    /// The whole path, where `{name}` stands for one segment and `{name*}` at the end for all the rest:
    /// `/users/{id}`, `/files/{rest*}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,

    /// The beginning of the path, by whole segments: `/api` matches `/api` and `/api/x`, not `/apix`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,

    /// The whole path, by a regular expression that is anchored at both ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub regex: Option<String>,

    /// Any of these methods. They are case-sensitive.
    #[serde(skip_serializing_if = "is_empty")]
    pub method: OneOrMany<String>,

    /// Tests on header fields, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub header: BTreeMap<String, FieldTest>,

    /// Tests on query parameters, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub query: BTreeMap<String, FieldTest>,

    /// Clients in any of these networks or at any of these addresses.
    #[serde(skip_serializing_if = "is_empty")]
    pub client: OneOrMany<String>,
}

fn is_empty<T>(list: &OneOrMany<T>) -> bool {
    list.0.is_empty()
}

/// What a field or parameter must be: its exact value, `{ regex: ... }`, or `{ present: true }` (or `false`).
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum FieldTest {
    /// Exactly this.
    Exact(String),
    /// Matched as a whole by this regular expression.
    Regex {
        /// The expression.
        regex: String,
    },
    /// There or not there.
    Present {
        /// Whether it must be there.
        present: bool,
    },
}

/// The tests that have a name; exactly one is written.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "NamedTest")]
#[schemars(description = "Exactly one of these tests.")]
#[schemars(extend("minProperties" = 1, "maxProperties" = 1))]
struct Named {
    /// A regular expression for the whole value.
    #[serde(default)]
    regex: Option<String>,

    /// Whether it must be there.
    #[serde(default)]
    present: Option<bool>,
}

struct TestVisitor;

impl<'de> Visitor<'de> for TestVisitor {
    type Value = FieldTest;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text, or a map with `regex` or `present`")
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<FieldTest, E> {
        Ok(FieldTest::Exact(value.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<FieldTest, A::Error> {
        match Named::deserialize(MapAccessDeserializer::new(map))? {
            Named { regex: Some(regex), present: None } => Ok(FieldTest::Regex { regex }),
            Named { regex: None, present: Some(present) } => Ok(FieldTest::Present { present }),
            _ => Err(A::Error::custom("needs exactly one of `regex` and `present`")),
        }
    }
}

impl<'de> Deserialize<'de> for FieldTest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TestVisitor)
    }
}

impl JsonSchema for FieldTest {
    fn schema_name() -> Cow<'static, str> {
        "FieldTest".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let named = generator.subschema_for::<Named>();
        json_schema!({
            "description": "The exact value, `{ regex: ... }`, or `{ present: true }` (or `false`).",
            "anyOf": [{ "type": "string" }, named],
        })
    }
}

/// An answer that the gateway gives by itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Respond {
    /// The status code.
    pub status: Count<200, 599>,

    /// Fields by name. Framing fields such as `content-length` are the gateway's own.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,

    /// The body. Its type is `text/plain; charset=utf-8` unless `headers` say otherwise.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub body: String,
}

/// A second best answer, where no answer came: by exactly one of `respond` and `upstream`. It stands in for every error
/// that the gateway would answer with because of the upstream or its policies, not for those of the client.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("oneOf" = [{ "required": ["respond"] }, { "required": ["upstream"] }]))]
pub struct Fallback {
    /// An answer that the gateway gives by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub respond: Option<Respond>,

    /// The name of another upstream that is asked. It is only where the request may be sent once more: its body has not
    /// been read or is kept, and it may be sent twice or had no effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream: Option<String>,

    /// Answers of the upstream for which it stands in, too. Default: 502, 503 and 504. `[]` passes all of them on.
    #[serde(default = "unavailable")]
    pub statuses: Vec<Statuses>,
}

fn unavailable() -> Vec<Statuses> {
    vec![Statuses::of(502, 504)]
}

/// Sends the client to its own URL with these parts changed, at least one of them. The query stays.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Redirect {
    /// The new scheme.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheme: Option<Scheme>,

    /// The new host, with a port if it is not the scheme's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,

    /// The new path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,

    /// 301, 302, 303, 307 or 308.
    #[serde(default = "permanent")]
    pub status: Count<301, 308>,
}

fn permanent() -> Count<301, 308> {
    Count::of(308)
}

/// The scheme of a URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Scheme {
    /// Plain text.
    Http,
    /// Over TLS.
    Https,
}

impl Scheme {
    /// The scheme as it is written in a URL.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// Bounds on waiting that hold for one route. Those left out are the upstream's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RouteTimeouts {
    /// The response head, from the end of the request; or `off`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response: Option<OrOff<Timeout>>,

    /// A response body that makes no progress while the request makes none; for gRPC, both directions; or `off`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<OrOff<Timeout>>,

    /// The whole exchange, from the end of the request head to the end of the response; or `off`.
    pub total: OrOff<Timeout>,
}

impl Default for RouteTimeouts {
    fn default() -> Self {
        Self { response: None, body: None, total: OrOff(None) }
    }
}

/// An encoding in a path that a route lets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Allowance {
    /// `%2f`
    EncodedSlash,
    /// `%5c`
    EncodedBackslash,
}

/// A protocol that a client may change to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Upgrade {
    /// WebSocket.
    Websocket,
}
