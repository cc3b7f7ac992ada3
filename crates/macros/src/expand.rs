//! The function, written anew.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{ItemFn, Result, parse_quote, parse2};

use crate::arguments::{Instrument, Protection, Source};
use crate::function::{parameters_of, result_of};

pub(crate) fn protect(arguments: TokenStream, function: TokenStream) -> Result<TokenStream> {
    let Protection { source, call } = parse2(arguments)?;
    let mut function: ItemFn = parse2(function)?;
    let result = result_of(&function)?.clone();
    let parameters = parameters_of(&function)?;
    let pipeline = match source {
        Source::Pipeline(pipeline) => quote_spanned! { pipeline.span() => (#pipeline).clone() },
        Source::Named { name, registry } => quote_spanned! { name.span() =>
            match (#registry).pipeline(#name) {
                ::core::option::Option::Some(pipeline) => pipeline,
                ::core::option::Option::None => {
                    let unknown = ::tidegate_resilience::Rejection::new(
                        ::tidegate_resilience::Code::UnknownPolicy,
                        &::tidegate_resilience::Name::from(#name),
                    );
                    return ::core::result::Result::Err(::core::convert::From::from(unknown));
                }
            }
        },
    };
    let call = call.iter().map(|(method, value)| quote_spanned! { method.span() => .#method(#value) });
    let body = &function.block;
    function.block = parse_quote! {{
        let __pipeline = #pipeline;
        let __call = ::tidegate_resilience::Call::new() #(#call)*;
        let __attempt = |_: ::tidegate_resilience::Attempt| {
            #(#[allow(unused_mut, unused_variables)] let #parameters = ::core::clone::Clone::clone(&#parameters);)*
            ::tidegate_resilience::macro_support::returning::<#result, _>(async move #body)
        };
        match __pipeline.execute_call(__call, __attempt).await {
            ::core::result::Result::Ok(value) => ::core::result::Result::Ok(value),
            ::core::result::Result::Err(::tidegate_resilience::Error::Call(error)) => ::core::result::Result::Err(error),
            ::core::result::Result::Err(::tidegate_resilience::Error::Rejected(rejection)) => {
                ::core::result::Result::Err(::core::convert::From::from(rejection))
            }
        }
    }};
    Ok(quote! { #function })
}

pub(crate) fn instrumented(arguments: TokenStream, function: TokenStream) -> Result<TokenStream> {
    let Instrument { recorder } = parse2(arguments)?;
    let mut function: ItemFn = parse2(function)?;
    let result = result_of(&function)?.clone();
    let body = &function.block;
    let begin = quote_spanned! { recorder.span() => (#recorder).begin() };
    function.block = parse_quote! {{
        let __recording = #begin;
        let __result = ::tidegate_resilience::macro_support::returning::<#result, _>(async move #body).await;
        __recording.end_with(&__result);
        __result
    }};
    Ok(quote! { #function })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where the error points, as the text it covers in its first line, and what it says.
    fn refused(expansion: Result<TokenStream>, source: &str) -> (String, String) {
        let error = expansion.expect_err("refused");
        let (start, end) = (error.span().start(), error.span().end());
        let text = source.chars().skip(start.column).take(end.column - start.column).collect();
        (text, error.to_string())
    }

    fn arguments_refused(arguments: &str) -> (String, String) {
        let function = quote! { async fn f() -> Result<(), E> { Ok(()) } };
        refused(protect(arguments.parse().expect("tokens"), function), arguments)
    }

    fn function_refused(function: &str) -> (String, String) {
        refused(protect(quote! { PIPELINE }, function.parse().expect("tokens")), function)
    }

    #[test]
    fn an_error_points_at_the_wrong_argument() {
        for (arguments, place, says) in [
            ("PIPELINE, keys = tenant", "keys", "there is no `keys`"),
            ("PIPELINE, cost", "cost", "needs a value"),
            ("PIPELINE, idempotent = true", "true", "stands alone"),
            ("PIPELINE, cost = 1, cost = 2", "cost", "given twice"),
            ("\"payments\"", "\"payments\"", "needs its registry"),
            ("cost = 3", "cost", "the first argument says which policies"),
        ] {
            let (text, message) = arguments_refused(arguments);
            assert_eq!(text, place, "{arguments}");
            assert!(message.contains(says), "{arguments}: {message}");
        }
        let (_, message) = arguments_refused("");
        assert!(message.contains("which policies?"), "{message}");
    }

    #[test]
    fn an_error_points_at_what_cannot_be_protected() {
        for (function, place, says) in [
            ("fn f() -> Result<(), E> { Ok(()) }", "fn", "only an `async fn`"),
            ("async fn f() {}", "f", "must return a `Result`"),
            ("async fn f(&mut self) -> Result<(), E> { Ok(()) }", "&mut self", "every attempt"),
            ("async fn f(self) -> Result<(), E> { Ok(()) }", "self", "take `&self`"),
            ("async fn f(buffer: &mut Vec<u8>) -> Result<(), E> { Ok(()) }", "&mut Vec<u8>", "every attempt"),
            ("async fn f((a, b): (u8, u8)) -> Result<(), E> { Ok(()) }", "(a, b)", "give the parameter a name"),
        ] {
            let (text, message) = function_refused(function);
            assert_eq!(text, place, "{function}");
            assert!(message.contains(says), "{function}: {message}");
        }
    }

    #[test]
    fn instrumented_takes_a_recorder_and_nothing_else() {
        let function = quote! { async fn f() -> Result<(), E> { Ok(()) } };
        assert!(instrumented(quote! { RECORDER }, function.clone()).is_ok());
        assert!(instrumented(quote! {}, function.clone()).is_err());
        let two = "RECORDER, OTHER";
        let (text, _) = refused(instrumented(two.parse().expect("tokens"), function), two);
        assert_eq!(text, "OTHER");
    }
}
