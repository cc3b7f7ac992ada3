//! The application log: what the process says about itself, on standard error.
//!
//! The configuration sets the level of Tidegate's own events. Libraries below it stay at warnings, because some of
//! them print header fields, and so secrets, at lower levels. `TIDEGATE_LOG` overrides both for this process, with
//! the directives of `RUST_LOG` (`debug`, `tidegate_wire=trace,info`, …).

use std::io::{self, IsTerminal};

use anyhow::Context;
use tidegate_gateway::config::plan::{Format, Log, LogLevel};
use tracing::Subscriber;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

/// The environment variable that overrides the configured level.
pub(crate) const OVERRIDE: &str = "TIDEGATE_LOG";

/// Our own crates, as event targets begin.
const OWN: [&str; 3] = ["tidegate", "tidegate_gateway", "tidegate_wire"];

/// Changes the level of the running log.
#[derive(Debug, Clone)]
pub(crate) struct LevelControl {
    filter: reload::Handle<EnvFilter, Registry>,
    overridden: bool,
}

impl LevelControl {
    /// Applies the level of a new configuration; an override stays in force.
    pub(crate) fn set(&self, level: LogLevel) {
        if !self.overridden {
            // Fails only when the log is gone, and then nobody would read it.
            let _ = self.filter.reload(configured(level));
        }
    }
}

/// Starts the log. `directives` is the value of [`OVERRIDE`], if there is one.
///
/// # Errors
///
/// When the directives cannot be understood, or a log was started before.
pub(crate) fn start(log: &Log, directives: Option<&str>) -> anyhow::Result<LevelControl> {
    let (subscriber, control) = subscriber(log, directives, io::stderr, io::stderr().is_terminal())?;
    subscriber.try_init().context("the log was started twice")?;
    Ok(control)
}

fn subscriber<W>(
    log: &Log,
    directives: Option<&str>,
    writer: W,
    colours: bool,
) -> anyhow::Result<(impl Subscriber + Send + Sync + 'static, LevelControl)>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let overridden = directives.is_some();
    let filter = match directives {
        Some(directives) => EnvFilter::try_new(directives).with_context(|| format!("{OVERRIDE}={directives}"))?,
        None => configured(log.level),
    };
    let (filter, handle) = reload::Layer::new(filter);
    let lines = fmt::layer().with_writer(writer).with_ansi(colours);
    let lines = match log.format {
        Format::Text => lines.boxed(),
        Format::Json => lines.json().flatten_event(true).with_ansi(false).boxed(),
    };
    let subscriber = tracing_subscriber::registry().with(filter).with(lines);
    Ok((subscriber, LevelControl { filter: handle, overridden }))
}

/// The filter for a configured level.
fn configured(level: LogLevel) -> EnvFilter {
    let libraries = level.min(LogLevel::Warn);
    let mut directives = libraries.as_str().to_owned();
    for own in OWN {
        directives.push_str(&format!(",{own}={}", level.as_str()));
    }
    EnvFilter::new(directives)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use serde_json::Value;
    use tracing::subscriber::with_default;
    use tracing::{debug, error, info, warn};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no panic").write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Lines {
        fn take(&self) -> String {
            String::from_utf8(std::mem::take(&mut *self.0.lock().expect("no panic"))).expect("UTF-8")
        }
    }

    /// Runs `test` under a log of that level and format; it may read the lines and change the level.
    fn with_log(level: LogLevel, format: Format, directives: Option<&str>, test: impl FnOnce(&Lines, &LevelControl)) {
        let lines = Lines::default();
        let writer = lines.clone();
        let log = Log { level, format };
        let (subscriber, control) = subscriber(&log, directives, move || writer.clone(), false).expect("a log");
        with_default(subscriber, || test(&lines, &control));
    }

    #[test]
    fn the_level_decides() {
        with_log(LogLevel::Info, Format::Text, None, |lines, _| {
            info!("shown");
            debug!("hidden");
            let text = lines.take();
            assert!(text.contains("shown") && !text.contains("hidden"), "{text}");
        });
    }

    #[test]
    fn libraries_stay_at_warnings_and_below_the_level() {
        with_log(LogLevel::Trace, Format::Text, None, |lines, _| {
            info!(target: "h2::codec", "hidden");
            warn!(target: "h2::codec", "shown");
            let text = lines.take();
            assert!(text.contains("shown") && !text.contains("hidden"), "{text}");
        });
        with_log(LogLevel::Error, Format::Text, None, |lines, _| {
            warn!(target: "h2::codec", "hidden");
            assert_eq!(lines.take(), "");
        });
    }

    #[test]
    fn json_lines_are_objects_with_the_fields() {
        with_log(LogLevel::Info, Format::Json, None, |lines, _| {
            error!(path = "/x\n\u{1b}[31m", "broken");
            let text = lines.take();
            assert_eq!(text.lines().count(), 1, "{text}");
            let line: Value = serde_json::from_str(&text).expect("JSON");
            assert_eq!((&line["level"], &line["message"]), (&"ERROR".into(), &"broken".into()));
            assert_eq!(line["path"], "/x\n\u{1b}[31m");
        });
    }

    #[test]
    fn text_keeps_terminals_safe() {
        with_log(LogLevel::Info, Format::Text, None, |lines, _| {
            info!(path = "/x\n\u{1b}[31m", "m");
            let text = lines.take();
            assert_eq!(text.lines().count(), 1, "{text}");
            assert!(!text.contains('\u{1b}'), "{text:?}");
        });
    }

    #[test]
    fn a_reload_changes_the_level() {
        with_log(LogLevel::Warn, Format::Text, None, |lines, control| {
            info!("before");
            control.set(LogLevel::Info);
            info!("after");
            let text = lines.take();
            assert!(text.contains("after") && !text.contains("before"), "{text}");
        });
    }

    #[test]
    fn the_override_wins_and_stays() {
        with_log(LogLevel::Error, Format::Text, Some("debug"), |lines, control| {
            control.set(LogLevel::Error);
            debug!("shown");
            assert!(lines.take().contains("shown"));
        });
    }

    #[test]
    fn directives_that_make_no_sense_are_an_error() {
        let log = Log { level: LogLevel::Info, format: Format::Text };
        let result = subscriber(&log, Some("tidegate=loud"), io::sink, false);
        let message = format!("{:#}", result.err().expect("an error"));
        assert!(message.starts_with("TIDEGATE_LOG=tidegate=loud: "), "{message}");
    }
}
