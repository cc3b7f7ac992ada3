//! One reader of request streams with a switch for every way to misread.

use super::dialect::{Coding, Dialect, Folds, Hosts, Length, Lines, Names, Precedence, Sizes};
use crate::http1::is_token;
use crate::{latin1, shown};

/// A request as one model understood it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The method.
    pub method: String,
    /// The target.
    pub target: String,
    /// The host that the model would serve it for.
    pub host: Option<String>,
    /// The content, decoded from its framing.
    pub body: Vec<u8>,
    /// Whether all of it was there.
    pub complete: bool,
}

impl std::fmt::Display for Request {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let cut = if self.complete { "" } else { ", cut" };
        let host = self.host.as_deref().unwrap_or("no host");
        write!(formatter, "{} {} ({host}), {} bytes{cut}", self.method, self.target, self.body.len())
    }
}

/// Reads all requests of a connection; the last one may be cut.
///
/// # Errors
/// Why this model would refuse the connection.
pub fn read(bytes: &[u8], dialect: &Dialect) -> Result<Vec<Request>, String> {
    match read_up_to_refusal(bytes, dialect) {
        (requests, None) => Ok(requests),
        (_, Some(reason)) => Err(reason),
    }
}

/// As [`read`], but keeps what comes before the point at which the model refuses.
pub fn read_up_to_refusal(bytes: &[u8], dialect: &Dialect) -> (Vec<Request>, Option<String>) {
    let mut requests = Vec::new();
    let mut cursor = Cursor { bytes, dialect };
    while !cursor.bytes.is_empty() {
        match cursor.request() {
            Ok(request) => requests.push(request),
            Err(Stop::Cut(cut)) => {
                requests.extend(cut);
                break;
            }
            Err(Stop::Refused(reason)) => return (requests, Some(reason)),
        }
    }
    (requests, None)
}

enum Stop {
    /// The bytes end inside a request; it is known once its head is complete.
    Cut(Option<Request>),
    Refused(String),
}

impl From<String> for Stop {
    fn from(reason: String) -> Self {
        Self::Refused(reason)
    }
}

struct Cursor<'a> {
    bytes: &'a [u8],
    dialect: &'a Dialect,
}

enum Framing {
    Length(u64),
    Chunked,
}

impl<'a> Cursor<'a> {
    fn request(&mut self) -> Result<Request, Stop> {
        let mut start = self.line()?;
        if start.is_empty() && self.dialect.skips_empty_line {
            start = self.line()?;
        }
        let start = latin1(start);
        let [method, target, version] = self.request_line(&start)?;
        let fields = self.fields()?;
        let host = self.host(&fields, &version)?;
        let framing = self.framing(&fields, &version)?;
        let mut request = Request { method, target, host, body: Vec::new(), complete: false };
        let whole = match framing {
            Framing::Length(length) => Ok(self.content(length, &mut request.body)),
            Framing::Chunked => self.chunks(&mut request.body),
        };
        match whole {
            Ok(true) => {
                request.complete = true;
                Ok(request)
            }
            Ok(false) | Err(Stop::Cut(_)) => Err(Stop::Cut(Some(request))),
            Err(refused) => Err(refused),
        }
    }

    fn request_line(&self, line: &str) -> Result<[String; 3], Stop> {
        let wrong = || format!("request line {line:?}");
        let (method, rest) = line.split_once(' ').ok_or_else(wrong)?;
        let split = if self.dialect.greedy_target { rest.rsplit_once(' ') } else { rest.split_once(' ') };
        let (target, version) = split.ok_or_else(wrong)?;
        let is_strict = !method.is_empty()
            && method.bytes().all(is_token)
            && target.bytes().all(|byte| byte.is_ascii_graphic())
            && !target.is_empty()
            && matches!(version, "HTTP/1.1" | "HTTP/1.0");
        if !is_strict {
            return Err(wrong().into());
        }
        Ok([method, target, version].map(str::to_owned))
    }

    /// The next line without its end.
    fn line(&mut self) -> Result<&'a [u8], Stop> {
        let ends: &[u8] = match self.dialect.lines {
            Lines::Either => b"\r\n",
            Lines::Crlf | Lines::Lf => b"\n",
        };
        let at = self.bytes.iter().position(|byte| ends.contains(byte)).ok_or(Stop::Cut(None))?;
        let (mut line, mut rest) = (&self.bytes[..at], &self.bytes[at + 1..]);
        match self.dialect.lines {
            Lines::Crlf => {
                line = line.strip_suffix(b"\r").ok_or_else(|| format!("bare LF after {}", shown(line)))?;
                if line.contains(&b'\r') {
                    return Err(format!("bare CR in {}", shown(line)).into());
                }
            }
            Lines::Lf => line = line.strip_suffix(b"\r").unwrap_or(line),
            Lines::Either if self.bytes[at] == b'\r' => rest = rest.strip_prefix(b"\n").unwrap_or(rest),
            Lines::Either => {}
        }
        self.bytes = rest;
        Ok(line)
    }

    fn fields(&mut self) -> Result<Vec<(String, String)>, Stop> {
        let mut fields: Vec<(String, String)> = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(fields);
            }
            let text = latin1(line);
            if text.starts_with([' ', '\t']) {
                match (self.dialect.folds, fields.last_mut()) {
                    (Folds::Refuse, _) | (Folds::Join, None) => return Err(format!("folded line {text:?}").into()),
                    (Folds::Join, Some((_, value))) => *value = format!("{value} {}", text.trim()),
                    (Folds::Own, _) => fields.extend(self.field(text.trim_start()).ok()),
                    (Folds::Skip, _) => {}
                }
                continue;
            }
            fields.push(self.field(&text)?);
        }
    }

    fn field(&self, line: &str) -> Result<(String, String), String> {
        let (name, value) = line.split_once(':').ok_or_else(|| format!("no colon in {line:?}"))?;
        let name = match self.dialect.names {
            Names::Token => name.to_owned(),
            Names::Trimmed => name.trim().to_owned(),
            Names::Cgi => name.trim().replace('_', "-"),
        };
        let value = match value.split_once('\0') {
            Some((before, _)) if self.dialect.nul_ends => before,
            Some(_) => return Err(format!("NUL in the value of {name}")),
            None => value,
        };
        if name.is_empty() || (self.dialect.names == Names::Token && !name.bytes().all(is_token)) {
            return Err(format!("field name {name:?}"));
        }
        let blank: &[char] = match self.dialect.names {
            Names::Token => &[' ', '\t'],
            Names::Trimmed | Names::Cgi => &[' ', '\t', '\x0b', '\x0c', '\r', '"', '\''],
        };
        Ok((name.to_ascii_lowercase(), value.trim_matches(blank).to_owned()))
    }

    fn host(&self, fields: &[(String, String)], version: &str) -> Result<Option<String>, String> {
        let mut hosts = fields.iter().filter(|(name, _)| name == "host").map(|(_, value)| value.clone());
        match self.dialect.hosts {
            Hosts::First => Ok(hosts.next()),
            Hosts::Last => Ok(hosts.next_back()),
            Hosts::One => {
                let host = hosts.next();
                if hosts.next().is_some() || (host.is_none() && version == "HTTP/1.1") {
                    return Err("not exactly one Host".to_owned());
                }
                Ok(host)
            }
        }
    }

    fn framing(&self, fields: &[(String, String)], version: &str) -> Result<Framing, String> {
        let all = |wanted: &str| -> Vec<&str> {
            fields.iter().filter(|(name, _)| name == wanted).map(|(_, value)| value.as_str()).collect()
        };
        let (codings, lengths) = (all("transfer-encoding"), all("content-length"));
        let old = version == "HTTP/1.0";
        let chunked = (!old || self.dialect.codes_old) && self.is_chunked(&codings)?;
        if self.dialect.precedence == Precedence::Refuse && !codings.is_empty() && (!lengths.is_empty() || old) {
            return Err("Transfer-Encoding beside Content-Length or in HTTP/1.0".to_owned());
        }
        let prefers_length = self.dialect.precedence == Precedence::Length && !lengths.is_empty();
        if chunked && !prefers_length {
            return Ok(Framing::Chunked);
        }
        self.length(&lengths).map(Framing::Length)
    }

    fn is_chunked(&self, codings: &[&str]) -> Result<bool, String> {
        let exact = |value: &str| value.eq_ignore_ascii_case("chunked");
        Ok(match self.dialect.coding {
            Coding::Present => !codings.is_empty(),
            Coding::Contains => codings.iter().any(|value| value.to_ascii_lowercase().contains("chunked")),
            Coding::First => codings.first().copied().is_some_and(exact),
            Coding::Last => {
                codings.last().and_then(|value| value.rsplit(',').next()).is_some_and(|value| exact(value.trim()))
            }
            Coding::Exact => match codings {
                [] => false,
                [value] if exact(value) => true,
                _ => return Err(format!("Transfer-Encoding {codings:?}")),
            },
        })
    }

    fn length(&self, lengths: &[&str]) -> Result<u64, String> {
        let (Some(first), Some(last)) = (lengths.first(), lengths.last()) else { return Ok(0) };
        match self.dialect.length {
            Length::Strict => match lengths {
                [one] if !one.is_empty() && one.bytes().all(|byte| byte.is_ascii_digit()) => {
                    one.parse().map_err(|_| format!("Content-Length {one}"))
                }
                _ => Err(format!("Content-Length {lengths:?}")),
            },
            Length::First => Ok(strtoul(first, 10)),
            Length::Last => Ok(strtoul(last, 10)),
            Length::LastOfList => Ok(strtoul(last.rsplit(',').next().unwrap_or(last), 10)),
            Length::Wrapping => Ok(wrapping(first, 10)),
        }
    }

    /// Takes `length` bytes of content; `false` when there are fewer.
    fn content(&mut self, length: u64, body: &mut Vec<u8>) -> bool {
        let count = usize::try_from(length).unwrap_or(usize::MAX).min(self.bytes.len());
        let (content, rest) = self.bytes.split_at(count);
        body.extend_from_slice(content);
        self.bytes = rest;
        count as u64 == length
    }

    fn chunks(&mut self, body: &mut Vec<u8>) -> Result<bool, Stop> {
        loop {
            let line = latin1(self.line()?);
            let size = self.chunk_size(&line)?;
            if size == 0 {
                // Trailers end like a head; a model that merged them into the head would have to
                // have waited for them, so they cannot change the framing.
                self.fields()?;
                return Ok(true);
            }
            if !self.content(size, body) {
                return Ok(false);
            }
            let end = self.line()?;
            if !end.is_empty() {
                return Err(format!("after chunk data: {}", shown(end)).into());
            }
        }
    }

    fn chunk_size(&self, line: &str) -> Result<u64, String> {
        match self.dialect.sizes {
            Sizes::Prefix => Ok(strtoul(line, 16)),
            Sizes::Wrapping => Ok(wrapping(line, 16)),
            Sizes::Strict => {
                let digits = line.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(line.len());
                let (size, extension) = line.split_at(digits);
                if !extension.is_empty() && !extension.starts_with(';') {
                    return Err(format!("chunk size line {line:?}"));
                }
                u64::from_str_radix(size, 16).map_err(|_| format!("chunk size line {line:?}"))
            }
        }
    }
}

/// As in C: white space, a sign and a `0x` are skipped, digits are taken as long as there are any,
/// and what is too large becomes the largest.
fn strtoul(text: &str, radix: u32) -> u64 {
    let text = text.trim_start().trim_start_matches('+');
    let text = if radix == 16 { text.strip_prefix("0x").unwrap_or(text) } else { text };
    let digits = text.chars().map_while(|c| c.to_digit(radix));
    digits.fold(0, |value: u64, digit| value.saturating_mul(radix.into()).saturating_add(digit.into()))
}

fn wrapping(text: &str, radix: u32) -> u64 {
    let digits = text.trim_start().chars().map_while(|c| c.to_digit(radix));
    digits.fold(0, |value: u32, digit| value.wrapping_mul(radix).wrapping_add(digit)).into()
}
