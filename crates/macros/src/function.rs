//! What the attribute stands on: an async function that returns a `Result`.

use syn::spanned::Spanned;
use syn::{Error, FnArg, Ident, ItemFn, Pat, Result, ReturnType, Type};

/// The type that the function returns.
pub(crate) fn result_of(function: &ItemFn) -> Result<&Type> {
    if function.sig.asyncness.is_none() {
        return Err(Error::new(function.sig.fn_token.span, "only an `async fn` can be wrapped"));
    }
    match &function.sig.output {
        ReturnType::Type(_, result) if !matches!(**result, Type::ImplTrait(_)) => Ok(result),
        ReturnType::Type(_, result) => Err(Error::new(result.span(), "the result must be a type with a name")),
        ReturnType::Default => {
            Err(Error::new(function.sig.ident.span(), "the function must return a `Result`, or it cannot fail"))
        }
    }
}

/// The parameters that every attempt gets a clone of. `self` is not one of them.
pub(crate) fn parameters_of(function: &ItemFn) -> Result<Vec<&Ident>> {
    function.sig.inputs.iter().filter_map(parameter).collect()
}

fn parameter(input: &FnArg) -> Option<Result<&Ident>> {
    const MORE_THAN_ONCE: &str = "every attempt runs the function anew, so this cannot be lent to it as `&mut`";
    match input {
        FnArg::Receiver(receiver) if receiver.mutability.is_some() && receiver.reference.is_some() => {
            Some(Err(Error::new(receiver.span(), MORE_THAN_ONCE)))
        }
        FnArg::Receiver(receiver) if receiver.reference.is_none() => {
            Some(Err(Error::new(receiver.span(), "every attempt needs it: take `&self`")))
        }
        FnArg::Receiver(_) => None,
        FnArg::Typed(typed) => match (&*typed.ty, &*typed.pat) {
            (Type::Reference(reference), _) if reference.mutability.is_some() => {
                Some(Err(Error::new(typed.ty.span(), MORE_THAN_ONCE)))
            }
            (_, Pat::Ident(name)) => Some(Ok(&name.ident)),
            (_, Pat::Wild(_)) => None,
            (_, pattern) => {
                Some(Err(Error::new(pattern.span(), "give the parameter a name, and take it apart inside")))
            }
        },
    }
}
