//! OpenMetrics text as the older Prometheus text format (version 0.0.4).
//!
//! The samples are the same. The comments differ: in the older format a counter and an info metric are named in
//! full, info is a gauge, and units and the end mark do not exist.

/// Rewrites the comments of a complete OpenMetrics text.
pub(super) fn from_openmetrics(text: &str) -> String {
    let mut classic = String::with_capacity(text.len());
    let mut suffix = "";
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            // The kind, which decides about the name, comes one line later.
            suffix = suffix_of(lines.peek().and_then(|next| next.rsplit(' ').next()).unwrap_or_default());
            push_comment(&mut classic, "# HELP ", rest, suffix);
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let rest = rest.strip_suffix(" info").map_or_else(|| rest.to_owned(), |name| format!("{name} gauge"));
            push_comment(&mut classic, "# TYPE ", &rest, suffix);
        } else if !line.starts_with('#') {
            classic.push_str(line);
            classic.push('\n');
        }
    }
    classic
}

fn suffix_of(kind: &str) -> &'static str {
    match kind {
        "counter" => "_total",
        "info" => "_info",
        _ => "",
    }
}

fn push_comment(classic: &mut String, keyword: &str, rest: &str, suffix: &str) {
    let (name, text) = rest.split_once(' ').unwrap_or((rest, ""));
    for part in [keyword, name, suffix, " ", text, "\n"] {
        classic.push_str(part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_change_and_samples_stay() {
        let openmetrics = "# HELP a_seconds Time.\n# TYPE a_seconds counter\n# UNIT a_seconds seconds\n\
                           a_seconds_total{x=\"# HELP y\"} 1\n\
                           # HELP b Build.\n# TYPE b info\nb_info{v=\"1\"} 1\n\
                           # HELP c Now.\n# TYPE c gauge\nc 2\n# EOF\n";
        let classic = "# HELP a_seconds_total Time.\n# TYPE a_seconds_total counter\n\
                       a_seconds_total{x=\"# HELP y\"} 1\n\
                       # HELP b_info Build.\n# TYPE b_info gauge\nb_info{v=\"1\"} 1\n\
                       # HELP c Now.\n# TYPE c gauge\nc 2\n";
        assert_eq!(from_openmetrics(openmetrics), classic);
    }
}
