//! What is written in the attribute.

use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{Error, Expr, Ident, LitStr, Result, Token};

/// Where the pipeline comes from.
pub(crate) enum Source {
    /// `self.payments`.
    Pipeline(Expr),
    /// `"payments" in self.registry`.
    Named { name: LitStr, registry: Expr },
}

/// The arguments of `#[protect]`.
pub(crate) struct Protection {
    pub(crate) source: Source,
    /// Methods of `Call`, with their arguments.
    pub(crate) call: Vec<(Ident, Option<Expr>)>,
}

/// What may stand behind the source, and whether it has a value.
const CALL: &[(&str, bool)] =
    &[("key", true), ("cost", true), ("priority", true), ("deadline", true), ("idempotent", false)];

impl Parse for Protection {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        if input.is_empty() {
            return Err(input.error("which policies? Write a pipeline, or `\"name\" in registry`"));
        }
        let source = input.parse()?;
        let mut call: Vec<(Ident, Option<Expr>)> = Vec::new();
        while !input.is_empty() {
            input.parse::<Token![,]>()?;
            if input.is_empty() {
                break;
            }
            let (name, value) = input.call(argument)?;
            if call.iter().any(|(other, _)| *other == name) {
                return Err(Error::new(name.span(), format!("`{name}` is given twice")));
            }
            call.push((name, value));
        }
        Ok(Self { source, call })
    }
}

impl Parse for Source {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        if input.peek(LitStr) && input.peek2(Token![in]) {
            let name = input.parse()?;
            input.parse::<Token![in]>()?;
            return Ok(Self::Named { name, registry: input.parse()? });
        }
        let pipeline: Expr = input.parse()?;
        match &pipeline {
            Expr::Lit(literal) => {
                Err(Error::new(literal.span(), "a name needs its registry: write `\"name\" in registry`"))
            }
            Expr::Assign(argument) => Err(Error::new(
                argument.left.span(),
                "the first argument says which policies: a pipeline, or `\"name\" in registry`",
            )),
            _ => Ok(Self::Pipeline(pipeline)),
        }
    }
}

/// One `name = value`, or a `name` alone.
fn argument(input: ParseStream<'_>) -> Result<(Ident, Option<Expr>)> {
    let name: Ident = input.parse()?;
    let Some((_, takes_value)) = CALL.iter().find(|(known, _)| name == known) else {
        let known: Vec<_> = CALL.iter().map(|(known, _)| format!("`{known}`")).collect();
        return Err(Error::new(name.span(), format!("there is no `{name}`; there is {}", known.join(", "))));
    };
    let value = match input.peek(Token![=]) {
        true => {
            input.parse::<Token![=]>()?;
            Some(input.parse::<Expr>()?)
        }
        false => None,
    };
    match (value, takes_value) {
        (Some(value), false) => Err(Error::new(value.span(), format!("`{name}` stands alone, without a value"))),
        (None, true) => Err(Error::new(name.span(), format!("`{name}` needs a value: `{name} = ...`"))),
        (value, _) => Ok((name, value)),
    }
}

/// The argument of `#[instrumented]`.
pub(crate) struct Instrument {
    pub(crate) recorder: Expr,
}

impl Parse for Instrument {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let mut arguments = Punctuated::<Expr, Token![,]>::parse_terminated(input)?.into_iter();
        let Some(recorder) = arguments.next() else {
            return Err(input.error("where are calls recorded? Write a `Recorder`"));
        };
        match arguments.next() {
            Some(another) => Err(Error::new(another.span(), "there is one argument: the `Recorder`")),
            None => Ok(Self { recorder }),
        }
    }
}
