//! `tidegate diff`

use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};

use super::{Format, loaded, print};
use crate::difference::{OptionChange, Owner, PolicyChange, Weight, changed, changed_owners, changed_policies};

/// Lines of each kind that are shown in a text; there are more of them in JSON.
const SHOWN: usize = 50;

#[derive(Debug, Args)]
pub(super) struct Options {
    /// The configuration file as it is
    before: PathBuf,

    /// The configuration file as it will be
    after: PathBuf,

    /// How to show what is different
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

pub(super) fn run(options: &Options) -> ExitCode {
    let (Some(before), Some(after)) = (loaded(&options.before), loaded(&options.after)) else {
        return ExitCode::FAILURE;
    };
    let owners = changed_owners(&before.plan, &after.plan);
    let options_changed = changed(&before, &after);
    let policies = changed_policies(&before, &after);
    match options.format {
        Format::Text => print(&text(&owners, &policies, &options_changed)),
        Format::Json => print(&format!("{:#}\n", report(&owners, &policies, &options_changed))),
    }
}

fn text(owners: &[Owner], policies: &[PolicyChange], options: &[OptionChange]) -> String {
    let mut out = String::new();
    let lines = owners.iter().map(|owner| {
        format!("{}: {} -> {}", owner.request, called(owner.before.as_ref()), called(owner.after.as_ref()))
    });
    section(&mut out, "requests that another route answers", lines);
    for (weight, title) in [
        (Weight::Unprotected, "protection that is lost"),
        (Weight::Protected, "protection that is new"),
        (Weight::Tighter, "limits that allow less"),
        (Weight::Looser, "limits that allow more"),
        (Weight::Other, "other changes"),
    ] {
        let policies = policies.iter().filter(|policy| policy.weight == weight).map(|policy| policy.words.clone());
        let options = options.iter().filter(|option| option.weight == weight).map(ToString::to_string);
        section(&mut out, title, policies.chain(options));
    }
    if out.is_empty() { "no difference\n".into() } else { out }
}

fn called(route: Option<&String>) -> String {
    route.map_or_else(|| "no route".into(), |name| format!("`{name}`"))
}

fn section(out: &mut String, title: &str, lines: impl Iterator<Item = String>) {
    let lines: Vec<_> = lines.collect();
    if lines.is_empty() {
        return;
    }
    // Writing to a string cannot fail.
    let _ = writeln!(out, "{title}");
    for line in lines.iter().take(SHOWN) {
        let _ = writeln!(out, "  {line}");
    }
    if let Some(more) = lines.len().checked_sub(SHOWN).filter(|more| *more > 0) {
        let _ = writeln!(out, "  and {more} more; --format json shows all");
    }
}

fn report(owners: &[Owner], policies: &[PolicyChange], options: &[OptionChange]) -> Value {
    let owners: Vec<_> = owners
        .iter()
        .map(|owner| json!({ "request": owner.request, "before": owner.before, "after": owner.after }))
        .collect();
    let policies: Vec<_> = policies
        .iter()
        .map(|policy| {
            json!({
                "policy": policy.policy,
                "listeners": policy.places.listeners,
                "routes": policy.places.routes,
                "words": policy.words,
                "meaning": meaning(policy.weight),
            })
        })
        .collect();
    let options: Vec<_> = options
        .iter()
        .map(|option| {
            json!({
                "path": option.path,
                "before": option.before,
                "after": option.after,
                "meaning": meaning(option.weight),
                "note": option.note,
            })
        })
        .collect();
    json!({ "requests": owners, "policies": policies, "options": options })
}

fn meaning(weight: Weight) -> &'static str {
    match weight {
        Weight::Unprotected => "protection_lost",
        Weight::Protected => "protection_gained",
        Weight::Tighter => "tighter",
        Weight::Looser => "looser",
        Weight::Other => "other",
    }
}
