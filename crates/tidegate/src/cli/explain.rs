//! `tidegate explain`

mod forwarded;

use std::fmt::Write;
use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use http::Method;
use serde_json::{Value, json};
use tidegate_gateway::config::plan::{Action, Route};
use tidegate_gateway::explain::{Explainer, Explanation};
use tidegate_gateway::fault::Fault;

use self::forwarded::Forwarded;
use super::{Format, loaded, print};
use crate::config::{Loaded, conceal};

/// Routes that are shown in a text; there are more of them in JSON.
const SHOWN: usize = 20;

#[derive(Debug, Args)]
pub(super) struct Options {
    /// The requests: `/path`, `POST /path`, or `GET http://host/path?query`
    #[arg(required = true)]
    requests: Vec<String>,

    /// The configuration file, which ends in .yaml, .yml, .json or .toml
    #[arg(long, default_value = "tidegate.yaml")]
    config: PathBuf,

    /// A field of the requests, as `name: value`; may be repeated
    #[arg(short = 'H', long = "header", value_name = "FIELD")]
    fields: Vec<String>,

    /// The address that the requests come from
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    client: IpAddr,

    /// How to show it; `json` has every option of what answers
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

pub(super) fn run(options: &Options) -> ExitCode {
    let Some(loaded) = loaded(&options.config) else { return ExitCode::FAILURE };
    let explainer = match Explainer::new(&loaded.plan) {
        Ok(explainer) => explainer,
        Err(error) => {
            // Where standard error is closed there is nobody to tell.
            let _ = writeln!(io::stderr(), "tidegate cannot explain: {error}");
            return ExitCode::FAILURE;
        }
    };
    let explained = options.requests.iter().map(|request| {
        let head = head(request, &options.fields);
        (request.as_str(), explainer.explain(head.as_bytes(), options.client))
    });
    match options.format {
        Format::Text => {
            let texts: Vec<_> = explained.map(|(request, result)| text(request, &result, &loaded)).collect();
            print(&texts.join("\n"))
        }
        Format::Json => {
            let values: Vec<_> = explained.map(|(request, result)| value(request, &result, &loaded)).collect();
            print(&format!("{:#}\n", Value::from(values)))
        }
    }
}

/// The head of a request as HTTP/1.1 has it. What is wrong with it is found where it is read.
fn head(request: &str, fields: &[String]) -> String {
    let (method, target) = request.trim().split_once(' ').unwrap_or(("GET", request.trim()));
    let host = target.split_once("://").map(|(_, rest)| rest.split(['/', '?']).next().unwrap_or_default());
    let mut head = format!("{method} {} HTTP/1.1\r\n", target.trim());
    let names_host = fields
        .iter()
        .any(|field| field.split_once(':').is_some_and(|(name, _)| name.trim().eq_ignore_ascii_case("host")));
    if !names_host {
        head.push_str(&format!("Host: {}\r\n", host.unwrap_or("localhost")));
    }
    for field in fields {
        head.push_str(field);
        head.push_str("\r\n");
    }
    head + "\r\n"
}

fn text(request: &str, result: &Result<Explanation<'_>, Fault>, loaded: &Loaded) -> String {
    let mut out = format!("{request}\n");
    match result {
        Err(fault) => refused(&mut out, *fault),
        Ok(explanation) => {
            line(&mut out, &format!("host {}, path {}", or_none(&explanation.host), explanation.path));
            match explanation.answering() {
                Some(route) if explanation.refusal.is_none() => answer(&mut out, route, &explanation.method, loaded),
                Some(route) => line(&mut out, &format!("route `{}` would answer it", route.name)),
                None => {}
            }
            if let Some(fault) = explanation.refusal {
                refused(&mut out, fault);
            }
            others(&mut out, explanation);
        }
    }
    out
}

fn refused(out: &mut String, fault: Fault) {
    line(out, &format!("refused with {}: {} [{}]", fault.status(), fault.detail(), fault.code()));
}

fn line(out: &mut String, text: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(out, "  {text}");
}

fn or_none(text: &str) -> &str {
    if text.is_empty() { "(none)" } else { text }
}

fn answer(out: &mut String, route: &Route, method: &Method, loaded: &Loaded) {
    let sent_on = Forwarded::new(loaded, route, method);
    let how = match (&route.action, &sent_on) {
        (Action::Respond(respond), _) => format!("answers it by itself with {}", respond.status),
        (Action::Redirect(redirect), _) => format!("sends the client elsewhere with {}", redirect.status),
        (Action::Forward(_), sent_on) => {
            format!("sends it to upstream `{}`", sent_on.as_ref().map_or("", |request| &request.upstream.name))
        }
    };
    line(out, &format!("route `{}` {how}", route.name));
    limits(out, route, loaded);
    for (title, text) in sent_on.iter().flat_map(Forwarded::lines) {
        below(out, title, &text);
    }
}

/// What the request has to pass first.
fn limits(out: &mut String, route: &Route, loaded: &Loaded) {
    for listener in &loaded.plan.listeners {
        for limit in &listener.rate_limits {
            below(out, "limit", &format!("{limit}, on listener {}", listener.address));
        }
    }
    for limit in &route.rate_limits {
        below(out, "limit", &limit.to_string());
    }
    if let Some(guard) = &route.idempotency {
        below(out, "once", &guard.to_string());
    }
}

/// What is said under a route.
fn below(out: &mut String, title: &str, text: &str) {
    match title {
        "" => line(out, &format!("    {text}")),
        title => line(out, &format!("  {title:<10} {text}")),
    }
}

/// Why it is no other route.
fn others(out: &mut String, explanation: &Explanation<'_>) {
    let mut found = false;
    let reasons = explanation.routes.iter().filter_map(|(route, mismatch)| match mismatch {
        Some(mismatch) if !found => Some(format!("`{}` comes before: {mismatch}", route.name)),
        Some(_) => None,
        None if found => Some(format!("`{}` would answer it too, but comes later", route.name)),
        None => {
            found = true;
            None
        }
    });
    let reasons: Vec<_> = reasons.collect();
    for reason in reasons.iter().take(SHOWN) {
        line(out, reason);
    }
    if let Some(more) = reasons.len().checked_sub(SHOWN).filter(|more| *more > 0) {
        line(out, &format!("and {more} more; --format json shows all"));
    }
}

fn value(request: &str, result: &Result<Explanation<'_>, Fault>, loaded: &Loaded) -> Value {
    let explanation = match result {
        Err(fault) => return json!({ "request": request, "refused": refusal(*fault) }),
        Ok(explanation) => explanation,
    };
    let routes = explanation.routes.iter().map(
        |(route, mismatch)| json!({ "route": &*route.name, "mismatch": mismatch.as_ref().map(ToString::to_string) }),
    );
    let answering = explanation.answering();
    json!({
        "request": request,
        "host": explanation.host,
        "path": explanation.path,
        "refused": explanation.refusal.map(refusal),
        "answered_by": answering.map(|route| &*route.name),
        "route": answering.and_then(|route| written(route, loaded)),
        "upstream": answering.and_then(|route| upstream(route, loaded)),
        "protection": answering.and_then(|route| Forwarded::new(loaded, route, &explanation.method)).map(|sent| sent.value()),
        "routes": routes.collect::<Vec<_>>(),
    })
}

fn refusal(fault: Fault) -> Value {
    json!({ "status": fault.status().as_u16(), "code": fault.code(), "detail": fault.detail() })
}

/// The route as it is written, with every default.
fn written(route: &Route, loaded: &Loaded) -> Option<Value> {
    let index = loaded.plan.routes.iter().position(|other| other.name == route.name)?;
    serde_json::to_value(loaded.document.routes.get(index)?).ok()
}

/// Its upstream as it is written, with every default.
fn upstream(route: &Route, loaded: &Loaded) -> Option<Value> {
    let Action::Forward(index) = route.action else { return None };
    let upstream = &loaded.plan.upstreams[index];
    let written = loaded.document.upstreams.iter().find(|(name, _)| name.as_str() == &*upstream.name)?;
    let mut options = serde_json::to_value(written.1).ok()?;
    conceal(&mut options);
    Some(json!({ "name": written.0, "options": options }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_written_as_people_think_of_it() {
        for (request, expected) in [
            ("/x", "GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n"),
            ("POST /x?y", "POST /x?y HTTP/1.1\r\nHost: localhost\r\n\r\n"),
            ("GET http://a.test:81/x", "GET http://a.test:81/x HTTP/1.1\r\nHost: a.test:81\r\n\r\n"),
            ("GET http://a.test?q", "GET http://a.test?q HTTP/1.1\r\nHost: a.test\r\n\r\n"),
        ] {
            assert_eq!(head(request, &[]), expected);
        }
        let fields = ["host: b.test".to_owned(), "x-team: blue".to_owned()];
        assert_eq!(head("/", &fields), "GET / HTTP/1.1\r\nhost: b.test\r\nx-team: blue\r\n\r\n");
    }
}
