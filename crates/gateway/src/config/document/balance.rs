//! What a user writes about the choice of an endpoint.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, IntoDeserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

use crate::config::units::{DAY, Period};

/// How an endpoint is chosen: a word, or a map with one algorithm and its options.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Balance {
    /// An algorithm that has no options.
    Word(Algorithm),
    /// An algorithm with options.
    Keyed(KeyedBalance),
}

impl Default for Balance {
    fn default() -> Self {
        Self::Word(Algorithm::RoundRobin)
    }
}

/// An algorithm that needs no options.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Algorithm {
    /// In turn, by weight.
    RoundRobin,
    /// The same as `round_robin`, for who wants to say that weights are meant.
    Weighted,
    /// The one with the fewest requests in flight for its weight; of more than 8 endpoints, the better of two.
    LeastRequests,
    /// The one with the fewest connections in use for its weight. An HTTP/2 connection counts once.
    LeastConnections,
    /// The one that is likely to answer first, of two, by its latency and its requests in flight.
    PeakEwma,
    /// The same one for the same client address; IPv6 addresses count by their first 64 bits.
    IpHash,
}

/// An algorithm with options. Exactly one is written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(description = "An algorithm with its options. Exactly one.", extend("minProperties" = 1, "maxProperties" = 1))]
pub struct KeyedBalance {
    /// The same endpoint for the same key, found in a table: when an endpoint leaves, few keys but its own move.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maglev: Option<Maglev>,

    /// The endpoint that a cookie names. The gateway sets the cookie; a new client has the endpoint whose turn
    /// it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sticky_cookie: Option<StickyCookie>,
}

/// The same endpoint for the same key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Maglev {
    /// The key: `header:NAME` or `cookie:NAME` for a value, `client_address`, or `path` without the query. A
    /// request that has no such value goes to any endpoint.
    pub by: String,
}

/// A cookie that keeps a client at its endpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StickyCookie {
    /// Its name.
    pub name: String,

    /// A secret that names of endpoints are hashed with, so that the cookie tells nobody which they are. It has
    /// to be the same in every gateway. Default: the upstream's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,

    /// How long a client keeps it (`Max-Age`), in whole seconds. Default: until the client is closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Period<1000, { 400 * DAY }>>,

    /// For which paths the client sends it.
    #[serde(default = "everywhere")]
    pub path: String,

    /// Whether the client sends it over TLS alone. Default: where the request came over TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secure: Option<bool>,

    /// Whether it is hidden from scripts.
    #[serde(default = "hidden")]
    pub http_only: bool,

    /// When the client sends it with requests that another site causes.
    #[serde(default)]
    pub same_site: SameSite,
}

fn everywhere() -> String {
    "/".to_owned()
}

fn hidden() -> bool {
    true
}

/// When a client sends a cookie with requests that another site causes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SameSite {
    /// Never.
    Strict,
    /// When the user follows a link.
    #[default]
    Lax,
    /// Always. The cookie is sent over TLS alone then.
    None,
}

struct BalanceVisitor;

impl<'de> Visitor<'de> for BalanceVisitor {
    type Value = Balance;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a word such as `round_robin`, or a map with `maglev` or `sticky_cookie`")
    }

    fn visit_str<E: Error>(self, word: &str) -> Result<Balance, E> {
        match word {
            "maglev" => Err(E::custom("`maglev` needs to know its key: write `{ maglev: { by: path } }`")),
            "sticky_cookie" => Err(E::custom("the cookie needs a name: write `{ sticky_cookie: { name: NAME } }`")),
            word => Algorithm::deserialize(word.into_deserializer()).map(Balance::Word),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Balance, A::Error> {
        KeyedBalance::deserialize(MapAccessDeserializer::new(map)).map(Balance::Keyed)
    }
}

impl<'de> Deserialize<'de> for Balance {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(BalanceVisitor)
    }
}

impl JsonSchema for Balance {
    fn schema_name() -> Cow<'static, str> {
        "Balance".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let word = generator.subschema_for::<Algorithm>();
        let keyed = generator.subschema_for::<KeyedBalance>();
        json_schema!({
            "description": "How an endpoint is chosen: a word, or a map with one algorithm and its options.",
            "anyOf": [word, keyed],
        })
    }
}
