//! What a PromQL expression asks for: not what it means, only which series it selects and by which labels it groups
//! them.

use std::collections::BTreeMap;

/// What an expression asks for.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Expression {
    pub(super) selectors: Vec<Selector>,
    /// Whether anything is summed, counted or the like.
    pub(super) is_aggregated: bool,
}

/// One selection of series.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Selector {
    pub(super) metric: String,
    /// Labels and the patterns they have to match, or not to match.
    pub(super) matchers: Vec<(String, String)>,
    /// The labels that are left by the outermost aggregation around it, or by all of them where these say more.
    pub(super) grouped_by: Vec<String>,
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Name(String),
    Text(String),
    /// `$variable`, or a number with or without a unit.
    Other,
    Sign(char),
}

const AGGREGATIONS: [&str; 10] =
    ["sum", "min", "max", "avg", "count", "group", "topk", "bottomk", "quantile", "stddev"];

impl Expression {
    pub(super) fn parse(text: &str) -> Self {
        let tokens = tokens(text);
        let mut expression = Self::default();
        // The labels of the aggregations that are open, by the depth of their parentheses.
        let mut groups = BTreeMap::<usize, Vec<String>>::new();
        let (mut depth, mut at) = (0, 0);
        while let Some(token) = tokens.get(at) {
            at += 1;
            match token {
                Token::Sign('(') => depth += 1,
                Token::Sign(')') => {
                    groups.remove(&depth);
                    depth -= 1;
                }
                Token::Name(name) if AGGREGATIONS.contains(&name.as_str()) => {
                    expression.is_aggregated = true;
                    if tokens.get(at) == Some(&Token::Name("by".to_owned())) {
                        let labels = list(&tokens, &mut at);
                        assert_eq!(tokens.get(at), Some(&Token::Sign('(')), "labels come first: {text}");
                        groups.insert(depth + 1, labels);
                    }
                }
                // A function, or its end in a query of Grafana: `label_values(metric, label)`.
                Token::Name(_) if tokens.get(at) == Some(&Token::Sign('(')) => {}
                Token::Name(name) if ["and", "or", "unless"].contains(&name.as_str()) => {}
                Token::Name(name) => {
                    let is_label = tokens.get(at.wrapping_sub(2)) == Some(&Token::Sign(','));
                    if is_label {
                        let last = expression.selectors.last_mut().expect("a label comes after what has it");
                        last.grouped_by.push(name.clone());
                        continue;
                    }
                    let matchers = matchers(&tokens, &mut at);
                    let grouped_by = groups.values().flatten().cloned().collect();
                    expression.selectors.push(Selector { metric: name.clone(), matchers, grouped_by });
                }
                Token::Sign('{') => {
                    // Any metric at all.
                    at -= 1;
                    drop(matchers(&tokens, &mut at));
                    break;
                }
                Token::Text(_) | Token::Other | Token::Sign(_) => {}
            }
        }
        expression
    }
}

/// `by (a, b)` from `by` on.
fn list(tokens: &[Token], at: &mut usize) -> Vec<String> {
    *at += 1;
    let mut names = Vec::new();
    while let Some(token) = tokens.get(*at) {
        *at += 1;
        match token {
            Token::Name(name) => names.push(name.clone()),
            Token::Sign(')') => break,
            _ => {}
        }
    }
    names
}

/// `{a="b", c=~"d"}`, if it comes here.
fn matchers(tokens: &[Token], at: &mut usize) -> Vec<(String, String)> {
    let mut matchers = Vec::new();
    if tokens.get(*at) != Some(&Token::Sign('{')) {
        return matchers;
    }
    let mut label = String::new();
    while let Some(token) = tokens.get(*at) {
        *at += 1;
        match token {
            Token::Name(name) => label.clone_from(name),
            Token::Text(pattern) => matchers.push((label.clone(), pattern.clone())),
            Token::Sign('}') => break,
            _ => {}
        }
    }
    matchers
}

fn tokens(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = text.chars().peekable();
    while let Some(first) = rest.next() {
        let mut word = String::from(first);
        let mut take = |is_part: fn(char) -> bool| {
            while let Some(next) = rest.next_if(|next| is_part(*next)) {
                word.push(next);
            }
        };
        tokens.push(match first {
            '"' => {
                take(|next| next != '"');
                rest.next();
                Token::Text(word.split_off(1))
            }
            'a'..='z' | 'A'..='Z' | '_' | ':' => {
                take(|next| next.is_ascii_alphanumeric() || matches!(next, '_' | ':'));
                Token::Name(word)
            }
            '0'..='9' | '$' => {
                take(|next| next.is_ascii_alphanumeric() || matches!(next, '_' | '.'));
                Token::Other
            }
            ' ' | '\n' => continue,
            sign => Token::Sign(sign),
        });
    }
    tokens
}

#[test]
fn selectors_are_found_with_their_labels() {
    let parsed = Expression::parse(
        "histogram_quantile(0.9, sum by (a, le) (rate(x_bucket{b=~\"c|d\"}[$__rate_interval]))) / (y > 0.5)",
    );
    let selector = |metric: &str, matchers: &[(&str, &str)], grouped_by: &[&str]| Selector {
        metric: metric.to_owned(),
        matchers: matchers.iter().map(|(label, pattern)| ((*label).to_owned(), (*pattern).to_owned())).collect(),
        grouped_by: grouped_by.iter().map(|label| (*label).to_owned()).collect(),
    };
    assert_eq!(parsed.selectors, [selector("x_bucket", &[("b", "c|d")], &["a", "le"]), selector("y", &[], &[])]);
    let query = Expression::parse("label_values(x{job=~\"$job\"}, route)");
    assert_eq!(query.selectors, [selector("x", &[("job", "$job")], &["route"])]);
}
