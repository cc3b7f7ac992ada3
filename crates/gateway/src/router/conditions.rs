//! What a route asks of a request besides host and path: methods, fields, query parameters, clients.

use std::borrow::Cow;
use std::net::IpAddr;

use http::{HeaderName, Method};
use ipnet::IpNet;
use regex::bytes::Regex;

use super::{Mismatch, PatternFault, Request};
use crate::config::plan::{FieldMatch, QueryMatch, RouteMatch, Test};

/// All conditions of a route; every one must hold.
#[derive(Debug)]
pub(super) struct Conditions {
    methods: Vec<Method>,
    headers: Vec<(HeaderName, ValueTest)>,
    query: Vec<(Box<str>, ValueTest)>,
    clients: Vec<IpNet>,
}

#[derive(Debug)]
enum ValueTest {
    Exact(Box<str>),
    Regex(Regex),
    Present,
    Absent,
}

impl Conditions {
    pub(super) fn compile(matches: &RouteMatch) -> Result<Self, PatternFault> {
        let header = |field: &FieldMatch| Ok((field.name.clone(), ValueTest::compile(&field.test)?));
        let parameter = |parameter: &QueryMatch| {
            let test = ValueTest::compile(&parameter.test)?;
            Ok((parameter.name.as_str().into(), test))
        };
        Ok(Self {
            methods: methods(&matches.methods),
            headers: matches.headers.iter().map(header).collect::<Result<_, _>>()?,
            query: matches.query.iter().map(parameter).collect::<Result<_, _>>()?,
            clients: matches.clients.clone(),
        })
    }

    /// The first condition that the request does not meet.
    pub(super) fn mismatch(&self, request: &impl Request) -> Option<Mismatch<'_>> {
        if !self.methods.is_empty() && !self.methods.contains(request.method()) {
            return Some(Mismatch::Method);
        }
        for (name, test) in &self.headers {
            if !test.holds(request.header(name)) {
                return Some(Mismatch::Header(name));
            }
        }
        for (name, test) in &self.query {
            if !test.holds(parameters(request.query(), name)) {
                return Some(Mismatch::Query(name));
            }
        }
        if !self.clients.is_empty() && !self.has_client(request.client()) {
            return Some(Mismatch::Client);
        }
        None
    }

    /// A client of a dual-stack socket may look like `::ffff:192.0.2.1`; networks are written as IPv4.
    fn has_client(&self, client: IpAddr) -> bool {
        let client = client.to_canonical();
        self.clients.iter().any(|network| network.contains(&client))
    }
}

/// HEAD is GET without the body (RFC 9110 section 9.3.2), so a route for GET takes it too.
fn methods(written: &[Method]) -> Vec<Method> {
    let mut methods = written.to_vec();
    if written.contains(&Method::GET) && !written.contains(&Method::HEAD) {
        methods.push(Method::HEAD);
    }
    methods
}

impl ValueTest {
    fn compile(test: &Test) -> Result<Self, PatternFault> {
        Ok(match test {
            Test::Exact(value) => Self::Exact(value.as_str().into()),
            Test::Regex(source) => Self::Regex(whole_value(source)?),
            Test::Present => Self::Present,
            Test::Absent => Self::Absent,
        })
    }

    /// Whether any of the values passes, or for `Absent`, whether there are none.
    fn holds<'v, V: Value<'v>>(&self, mut values: impl Iterator<Item = V>) -> bool {
        match self {
            Self::Exact(expected) => values.any(|value| value.is(expected.as_bytes())),
            Self::Regex(regex) => values.any(|value| regex.is_match(&value.bytes())),
            Self::Present => values.next().is_some(),
            Self::Absent => values.next().is_none(),
        }
    }
}

/// An expression that matches a value as a whole.
fn whole_value(source: &str) -> Result<Regex, PatternFault> {
    // By itself first: `a)|(b` must not slip out of the anchors.
    Regex::new(source)
        .and_then(|_| Regex::new(&format!(r"\A(?:{source})\z")))
        .map_err(|fault| PatternFault::Regex(fault.to_string()))
}

/// A value as it was received, which a test sees decoded.
trait Value<'v> {
    fn is(&self, expected: &[u8]) -> bool;
    fn bytes(&self) -> Cow<'v, [u8]>;
}

/// A field value; it has no encoding.
impl<'v> Value<'v> for &'v [u8] {
    fn is(&self, expected: &[u8]) -> bool {
        *self == expected
    }

    fn bytes(&self) -> Cow<'v, [u8]> {
        Cow::Borrowed(self)
    }
}

/// A name or value in a query, encoded as HTML forms do (URL standard, section 5.1): `+` is a space, and
/// `%` without two hex digits stands for itself.
#[derive(Clone, Copy)]
struct FormEncoded<'v>(&'v str);

impl<'v> FormEncoded<'v> {
    fn decode(self) -> impl Iterator<Item = u8> + 'v {
        let mut rest = self.0.as_bytes();
        std::iter::from_fn(move || {
            let (&first, tail) = rest.split_first()?;
            rest = tail;
            Some(match (first, tail) {
                (b'+', _) => b' ',
                (b'%', &[high, low, ref after @ ..]) => match (hex_digit(high), hex_digit(low)) {
                    (Some(high), Some(low)) => {
                        rest = after;
                        high << 4 | low
                    }
                    _ => first,
                },
                _ => first,
            })
        })
    }
}

impl<'v> Value<'v> for FormEncoded<'v> {
    fn is(&self, expected: &[u8]) -> bool {
        self.decode().eq(expected.iter().copied())
    }

    fn bytes(&self) -> Cow<'v, [u8]> {
        if self.0.contains(['%', '+']) {
            return Cow::Owned(self.decode().collect());
        }
        Cow::Borrowed(self.0.as_bytes())
    }
}

fn hex_digit(digit: u8) -> Option<u8> {
    let value = char::from(digit).to_digit(16)?;
    u8::try_from(value).ok()
}

/// The values of all parameters of this name; a parameter without `=` has an empty value.
fn parameters<'v>(query: Option<&'v str>, name: &str) -> impl Iterator<Item = FormEncoded<'v>> {
    let pairs = query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
    pairs.filter_map(move |pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        FormEncoded(key).is(name.as_bytes()).then_some(FormEncoded(value))
    })
}
