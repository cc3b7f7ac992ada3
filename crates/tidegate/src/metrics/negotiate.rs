//! Which text format a scraper gets.

/// A text format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// The Prometheus text format 0.0.4, which every scraper reads.
    Classic,
}

impl Format {
    /// OpenMetrics where the `Accept` fields (RFC 9110 section 12.5.1) name it and do not prefer plain text;
    /// otherwise the classic format, also when nothing that is acceptable could be offered.
    pub(crate) fn accepted<'a>(fields: impl Iterator<Item = &'a str>) -> Self {
        let (mut openmetrics, mut plain) = (0.0, 0.0);
        for range in fields.flat_map(|field| field.split(',')) {
            let (media_type, parameters) = range.split_once(';').unwrap_or((range, ""));
            let media_type = media_type.trim();
            let quality = quality(parameters);
            if media_type.eq_ignore_ascii_case("application/openmetrics-text") {
                openmetrics = quality.max(openmetrics);
            } else if media_type.eq_ignore_ascii_case("text/plain") {
                plain = quality.max(plain);
            }
        }
        if openmetrics > 0.0 && openmetrics >= plain { Self::OpenMetrics } else { Self::Classic }
    }

    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Classic => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// The weight among a media range's parameters; 1 where there is none, 0 where it is no number.
fn quality(parameters: &str) -> f32 {
    parameters
        .split(';')
        .filter_map(|parameter| parameter.split_once('='))
        .find(|(name, _)| name.trim().eq_ignore_ascii_case("q"))
        .map_or(1.0, |(_, value)| value.trim().parse().unwrap_or(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepted(field: &str) -> Format {
        Format::accepted(std::iter::once(field))
    }

    #[test]
    fn what_prometheus_sends_gets_openmetrics() {
        let field = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
                     application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;q=0.3,\
                     text/plain;version=0.0.4;q=0.2,*/*;q=0.1";
        assert_eq!(accepted(field), Format::OpenMetrics);
        assert_eq!(accepted("Application/OpenMetrics-Text"), Format::OpenMetrics);
    }

    #[test]
    fn everybody_else_gets_plain_text() {
        assert_eq!(Format::accepted(std::iter::empty()), Format::Classic);
        for field in [
            "",
            "*/*",
            "text/html, */*;q=0.8",
            "text/plain;version=0.0.4, application/openmetrics-text;q=0.5",
            "application/openmetrics-text;q=0",
            "application/openmetrics-text; q=nonsense",
            "application/openmetrics-text-of-another-kind",
        ] {
            assert_eq!(accepted(field), Format::Classic, "{field}");
        }
    }

    #[test]
    fn several_fields_count_as_one() {
        assert_eq!(
            Format::accepted(["text/plain;q=0.1", "application/openmetrics-text"].into_iter()),
            Format::OpenMetrics
        );
    }
}
