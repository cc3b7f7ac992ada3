//! One record as one line, JSON or text. Whatever a client sent, a line stays one line, and a terminal that shows it
//! sees no control character.

use std::fmt::{self, Display, Write as _};
use std::io::{self, Write};
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use axum::http::Version;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};
use tidegate_gateway::access::{Record, Text};
use tidegate_gateway::config::plan::Format;

/// Appends the line for `record`, with its end.
pub(super) fn append(lines: &mut Vec<u8>, format: Format, record: &Record) {
    match format {
        Format::Json => append_json(lines, record),
        Format::Text => lines.extend_from_slice(text(record).as_bytes()),
    }
    lines.push(b'\n');
}

/// The fields of a JSON line, in this order; those that have no value are left out.
#[derive(Serialize)]
struct Line<'a> {
    time: String,
    client: IpAddr,
    protocol: &'static str,
    method: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<&'a str>,
    path: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fault: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    route: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    endpoint: Option<&'a str>,
    attempts: u32,
    request_bytes: u64,
    response_bytes: u64,
    duration_ms: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_agent: Option<&'a str>,
}

impl<'a> From<&'a Record> for Line<'a> {
    fn from(record: &'a Record) -> Self {
        Self {
            time: format!("{:.3}", timestamp(record.time)),
            client: record.client,
            protocol: protocol(record.protocol),
            method: record.method.as_str(),
            host: record.host.as_ref().map(Text::as_str),
            path: record.path.as_str(),
            status: record.status.map(|status| status.as_u16()),
            fault: record.fault,
            route: record.route.as_deref(),
            upstream: record.upstream.as_deref(),
            endpoint: record.endpoint.as_deref(),
            attempts: record.attempts,
            request_bytes: record.request_bytes,
            response_bytes: record.response_bytes,
            duration_ms: milliseconds(record.duration),
            upstream_ms: record.upstream_duration.map(milliseconds),
            request_id: record.request_id.as_ref().map(Text::as_str),
            trace_id: record.trace_id.as_ref().map(Text::as_str),
            user_agent: record.user_agent.as_ref().map(Text::as_str),
        }
    }
}

fn append_json(lines: &mut Vec<u8>, record: &Record) {
    let mut serializer = Serializer::with_formatter(lines, Visible);
    Line::from(record).serialize(&mut serializer).expect("a vector takes every byte, and every key is a string");
}

/// Compact JSON that also escapes what JSON allows in a string but a terminal or an editor obeys.
struct Visible;

impl Formatter for Visible {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let mut rest = fragment;
        while let Some((index, character)) = rest.char_indices().find(|(_, character)| is_obeyed(*character)) {
            writer.write_all(&rest.as_bytes()[..index])?;
            // All of them lie in the basic plane: one escape each.
            write!(writer, "\\u{:04x}", u32::from(character))?;
            rest = &rest[index + character.len_utf8()..];
        }
        writer.write_all(rest.as_bytes())
    }
}

/// Control characters, line and paragraph separators, and those that turn the direction of writing.
fn is_obeyed(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The combined log format of web servers, which many tools read, and then what it has no place for, as `name="value"`.
fn text(record: &Record) -> String {
    let mut line = format!(
        "{client} - - [{time}] \"{method} {path} {protocol}\" {status} {bytes} \"-\" \"{user_agent}\"",
        client = record.client,
        time = timestamp(record.time).strftime("%d/%b/%Y:%H:%M:%S +0000"),
        method = Escaped(record.method.as_str()),
        path = Escaped(record.path.as_str()),
        protocol = protocol(record.protocol),
        status = record.status.as_ref().map_or("-", |status| status.as_str()),
        bytes = record.response_bytes,
        user_agent = Escaped(record.user_agent.as_ref().map_or("-", Text::as_str)),
    );
    let mut push = |name: &str, value: Option<&dyn Display>| {
        if let Some(value) = value {
            line.push_str(&format!(" {name}=\"{value}\""));
        }
    };
    push("host", escaped(record.host.as_ref().map(Text::as_str)).as_ref().map(display));
    push("route", escaped(record.route.as_deref()).as_ref().map(display));
    push("upstream", escaped(record.upstream.as_deref()).as_ref().map(display));
    push("endpoint", escaped(record.endpoint.as_deref()).as_ref().map(display));
    push("attempts", Some(&record.attempts));
    push("request_bytes", Some(&record.request_bytes));
    push("duration_ms", Some(&milliseconds(record.duration)));
    push("upstream_ms", record.upstream_duration.map(milliseconds).as_ref().map(display));
    push("request_id", escaped(record.request_id.as_ref().map(Text::as_str)).as_ref().map(display));
    push("trace_id", escaped(record.trace_id.as_ref().map(Text::as_str)).as_ref().map(display));
    push("fault", record.fault.as_ref().map(display));
    line
}

fn display(value: &impl Display) -> &dyn Display {
    value
}

fn escaped(value: Option<&str>) -> Option<Escaped<'_>> {
    value.map(Escaped)
}

/// Text between quotes: spaces stay, quotes and backslashes get a backslash, and every byte that is not printable
/// ASCII becomes `\xhh`.
struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0.bytes() {
            match byte {
                b'"' | b'\\' => write!(f, "\\{}", char::from(byte))?,
                b' '..=b'~' => f.write_char(char::from(byte))?,
                _ => write!(f, "\\x{byte:02x}")?,
            }
        }
        Ok(())
    }
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2",
        Version::HTTP_3 => "HTTP/3",
        _ => "HTTP/1.1",
    }
}

/// A clock beyond the year 9999 reads as 1970.
fn timestamp(time: SystemTime) -> Timestamp {
    Timestamp::try_from(time).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// With three decimals at most.
fn milliseconds(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1000.0
}

#[cfg(test)]
pub(super) mod tests {
    use axum::http::{Method, StatusCode};
    use serde_json::Value;

    use super::*;

    /// A record with every field.
    pub(in crate::access_log) fn record() -> Record {
        Record {
            time: SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_123),
            client: "192.0.2.7".parse().expect("an address"),
            protocol: Version::HTTP_11,
            method: Text::from(&Method::GET),
            host: Some(Text::clip(b"app.example:8080")),
            path: Text::clip(b"/users/7"),
            status: Some(StatusCode::BAD_GATEWAY),
            fault: Some("SVC_001"),
            route: Some("users".into()),
            upstream: Some("app".into()),
            endpoint: Some("10.0.0.1:80".into()),
            attempts: 2,
            request_bytes: 10,
            response_bytes: 2000,
            duration: Duration::from_micros(12_345),
            upstream_duration: Some(Duration::from_millis(12)),
            request_id: Some(Text::clip(b"r-1")),
            trace_id: Some(Text::clip(b"4bf92f3577b34da6a3ce929d0e0e4736")),
            user_agent: Some(Text::clip(b"curl/8")),
        }
    }

    /// The same without what may be missing.
    fn bare() -> Record {
        Record {
            host: None,
            status: None,
            fault: None,
            route: None,
            upstream: None,
            endpoint: None,
            upstream_duration: None,
            request_id: None,
            trace_id: None,
            user_agent: None,
            protocol: Version::HTTP_2,
            ..record()
        }
    }

    fn line(format: Format, record: &Record) -> String {
        let mut lines = Vec::new();
        append(&mut lines, format, record);
        String::from_utf8(lines).expect("UTF-8")
    }

    #[test]
    fn json_has_every_field_under_its_name() {
        let expected = concat!(
            r#"{"time":"2023-11-14T22:13:20.123Z","client":"192.0.2.7","protocol":"HTTP/1.1","method":"GET","#,
            r#""host":"app.example:8080","path":"/users/7","status":502,"fault":"SVC_001","route":"users","#,
            r#""upstream":"app","endpoint":"10.0.0.1:80","attempts":2,"request_bytes":10,"response_bytes":2000,"#,
            r#""duration_ms":12.345,"upstream_ms":12.0,"request_id":"r-1","#,
            r#""trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","user_agent":"curl/8"}"#,
            "\n"
        );
        assert_eq!(line(Format::Json, &record()), expected);
    }

    #[test]
    fn json_leaves_out_what_is_missing() {
        let expected = concat!(
            r#"{"time":"2023-11-14T22:13:20.123Z","client":"192.0.2.7","protocol":"HTTP/2","method":"GET","#,
            r#""path":"/users/7","attempts":2,"request_bytes":10,"response_bytes":2000,"duration_ms":12.345}"#,
            "\n"
        );
        assert_eq!(line(Format::Json, &bare()), expected);
    }

    #[test]
    fn text_is_the_combined_format_and_more() {
        let expected = concat!(
            r#"192.0.2.7 - - [14/Nov/2023:22:13:20 +0000] "GET /users/7 HTTP/1.1" 502 2000 "-" "curl/8""#,
            r#" host="app.example:8080" route="users" upstream="app" endpoint="10.0.0.1:80" attempts="2""#,
            r#" request_bytes="10" duration_ms="12.345" upstream_ms="12" request_id="r-1""#,
            r#" trace_id="4bf92f3577b34da6a3ce929d0e0e4736" fault="SVC_001""#,
            "\n"
        );
        assert_eq!(line(Format::Text, &record()), expected);
        let expected = concat!(
            r#"192.0.2.7 - - [14/Nov/2023:22:13:20 +0000] "GET /users/7 HTTP/2" - 2000 "-" "-""#,
            r#" attempts="2" request_bytes="10" duration_ms="12.345""#,
            "\n"
        );
        assert_eq!(line(Format::Text, &bare()), expected);
    }

    /// Every character that could matter, and some that do not.
    fn hostile() -> Text {
        let controls: String = ('\0'..='\u{9f}').filter(|character| character.is_control()).collect();
        Text::clip(format!("a{controls}\"\\\u{2028}\u{2029}\u{202e}\u{2066}\u{feff}é😀 \" 200 1\r\n[").as_bytes())
    }

    #[test]
    fn hostile_text_stays_inside_its_line() {
        let text = hostile();
        let record = Record {
            method: text.clone(),
            host: Some(text.clone()),
            path: text.clone(),
            request_id: Some(text.clone()),
            trace_id: Some(text.clone()),
            user_agent: Some(text.clone()),
            route: Some(text.as_str().into()),
            upstream: Some(text.as_str().into()),
            ..record()
        };
        for format in [Format::Json, Format::Text] {
            let line = line(format, &record);
            let line = line.strip_suffix('\n').expect("an end");
            assert!(!line.contains(is_obeyed), "{format:?} {line:?}");
        }
        let parsed: Value = serde_json::from_str(&line(Format::Json, &record)).expect("JSON");
        for field in ["method", "host", "path", "request_id", "trace_id", "user_agent", "route", "upstream"] {
            assert_eq!(parsed[field], text.as_str(), "{field}");
        }
    }

    #[test]
    fn quotes_in_text_are_always_escaped() {
        let hostile = Record { user_agent: Some(Text::clip(b"x\" status=\"200\\")), ..bare() };
        let line = line(Format::Text, &hostile);
        assert!(line.contains(r#" "x\" status=\"200\\" attempts="#), "{line}");
    }

    #[test]
    fn clocks_that_are_off_still_give_a_line() {
        let far = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(1 << 40)).expect("a time");
        assert!(
            line(Format::Json, &Record { time: far, ..bare() }).starts_with(r#"{"time":"1970-01-01T00:00:00.000Z""#)
        );
    }

    #[test]
    fn the_document_lists_every_field() {
        let document = include_str!("../../../../docs/access-log.md");
        let rows = document.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
        let documented: Vec<_> = rows.map(|(name, _)| name).collect();
        let parsed: Value = serde_json::from_str(&line(Format::Json, &record())).expect("JSON");
        let written: Vec<_> = parsed.as_object().expect("an object").keys().collect();
        assert_eq!(documented, written);
    }
}
