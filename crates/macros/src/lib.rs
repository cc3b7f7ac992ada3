//! The attributes of `tidegate-resilience`, which re-exports and documents them.
//!
//! A procedural macro has to be a crate of its own; nothing else lives here. `arguments` reads what is written in an
//! attribute, `function` what it stands on, and `expand` writes the function anew.

mod arguments;
mod expand;
mod function;

use proc_macro::TokenStream;

/// Runs an async function through a pipeline of policies.
///
/// ```ignore
/// #[protect(self.payments)]                       // a Pipeline
/// #[protect("payments" in self.registry)]         // one by name, from a Registry
/// #[protect(PIPELINE, key = tenant, cost = 3, priority = Priority::High, idempotent)]
/// async fn pay(&self, tenant: &str, order: Order) -> Result<Receipt, PayError> { .. }
/// ```
///
/// | argument | what it is | default |
/// |---|---|---|
/// | the first | an expression for a `Pipeline`, or `"name" in` one for a `Registry` | required |
/// | `key = ` | `&str` or `String`: what keyed policies count by | none |
/// | `cost = ` | `u32`: what the call weighs for rate limits | 1 |
/// | `priority = ` | `Priority` | `Priority::Normal` |
/// | `deadline = ` | `Moment` after which the call is of no use | none |
/// | `idempotent` | running it twice does no more than running it once | not |
///
/// Arguments may use the function's parameters. The function must be `async` and return a `Result<T, E>` whose error
/// is `From<Rejection>`; `Error<E>` is. Its body runs once for every attempt, with the parameters cloned, so that
/// they must be `Clone`, as references are; `&mut` parameters are refused.
#[proc_macro_attribute]
pub fn protect(arguments: TokenStream, function: TokenStream) -> TokenStream {
    expand::protect(arguments.into(), function.into()).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Records every call of an async function: how it ended and how long it took.
///
/// ```ignore
/// #[instrumented(self.recorder)]                  // a Recorder
/// async fn list(&self) -> Result<Vec<Order>, DbError> { .. }
/// ```
///
/// The function must be `async` and return a `Result`. A call that is dropped before its end is recorded as cancelled.
#[proc_macro_attribute]
pub fn instrumented(arguments: TokenStream, function: TokenStream) -> TokenStream {
    expand::instrumented(arguments.into(), function.into()).unwrap_or_else(syn::Error::into_compile_error).into()
}
