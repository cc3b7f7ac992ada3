//! The atomics of the policies: those of the standard library, or, for the models that try every order of them
//! (`cargo xtask models`), those of `loom`.

#[cfg(not(tidegate_models))]
pub(crate) use std::sync::atomic;

#[cfg(tidegate_models)]
pub(crate) use loom::sync::atomic;
