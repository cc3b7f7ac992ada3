//! Pipelines as tower layers.
//!
//! [`ProtectLayer`] puts a [`Pipeline`] around any service, and so around an axum router, a tonic server or client,
//! or whatever else is built on tower. Every policy alone is a pipeline of one: `ProtectLayer::new(Pipeline::of(...))`.
//!
//! Readiness is the inner service's own and nothing is reserved in `poll_ready`: policies decide when the call is
//! made, so that layers compose in any order without holding what others wait for.

#[cfg(all(test, not(tidegate_models)))]
mod tests;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::call::Call;
use crate::error::Error;
use crate::outcome::{ByResult, Classify};
use crate::pipeline::{Attempt, Composition, Execution, Operation, Pipeline};

/// Puts a pipeline around services.
#[derive(Debug, Clone)]
pub struct ProtectLayer<C = ByResult, D = Plain> {
    pipeline: Pipeline<C>,
    describe: D,
}

/// Says of a request what policies may know, and how to send it again.
///
/// Every `Fn(&Request) -> Call<'static>` does the first: key, cost, priority, deadline, and whether it is idempotent.
pub trait Describe<R> {
    /// What policies may know of the request.
    fn describe(&self, request: &R) -> Call<'static>;

    /// A copy to send in another attempt; `None` where there can be only one attempt.
    fn copy(&self, request: &R) -> Option<R> {
        let _ = request;
        None
    }
}

impl<R, F: Fn(&R) -> Call<'static>> Describe<R> for F {
    fn describe(&self, request: &R) -> Call<'static> {
        self(request)
    }
}

/// Describes every request as [`Call::new`] does, to be sent once.
#[derive(Debug, Clone, Copy, Default)]
pub struct Plain;

impl<R> Describe<R> for Plain {
    fn describe(&self, _: &R) -> Call<'static> {
        Call::new()
    }
}

/// Describes requests as `D` does, and clones them for other attempts.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cloning<D>(D);

impl<R: Clone, D: Describe<R>> Describe<R> for Cloning<D> {
    fn describe(&self, request: &R) -> Call<'static> {
        self.0.describe(request)
    }

    fn copy(&self, request: &R) -> Option<R> {
        Some(request.clone())
    }
}

impl<C> ProtectLayer<C> {
    /// A layer of these policies. Requests are sent once: a retry or a hedge needs [`ProtectLayer::cloning`], or a
    /// [`Describe`] that copies.
    pub fn new(pipeline: Pipeline<C>) -> Self {
        Self { pipeline, describe: Plain }
    }
}

impl<C, D> ProtectLayer<C, D> {
    /// The same layer, with what policies may know of each request.
    pub fn describing<E>(self, describe: E) -> ProtectLayer<C, E> {
        ProtectLayer { pipeline: self.pipeline, describe }
    }

    /// The same layer, for requests that can be cloned and so be sent again.
    pub fn cloning(self) -> ProtectLayer<C, Cloning<D>> {
        ProtectLayer { pipeline: self.pipeline, describe: Cloning(self.describe) }
    }
}

impl<S, C: Clone, D: Clone> Layer<S> for ProtectLayer<C, D> {
    type Service = Protect<S, C, D>;

    fn layer(&self, service: S) -> Self::Service {
        Protect { service, pipeline: self.pipeline.clone(), describe: self.describe.clone() }
    }
}

/// A service with a pipeline around it. Made by [`ProtectLayer`].
#[derive(Debug, Clone)]
pub struct Protect<S, C = ByResult, D = Plain> {
    service: S,
    pipeline: Pipeline<C>,
    describe: D,
}

impl<S, C, D, R> Service<R> for Protect<S, C, D>
where
    S: Service<R> + Clone,
    C: Classify<S::Response, S::Error> + Clone,
    D: Describe<R> + Clone,
{
    type Response = S::Response;
    type Error = Error<S::Error>;
    type Future = Execution<'static, Arc<Composition>, C, Sender<S, D, R>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.service.poll_ready(context).map_err(Error::Call)
    }

    fn call(&mut self, request: R) -> Self::Future {
        let call = self.describe.describe(&request);
        // The service that is ready makes the first attempt. Clones of it may not be, and are asked again.
        let clone = self.service.clone();
        let ready = std::mem::replace(&mut self.service, clone.clone());
        let describe = self.pipeline.repeats().then(|| self.describe.clone());
        let sender = Sender { ready: Some(ready), clone, describe, request: Some(request) };
        self.pipeline.execute_owned(call, sender)
    }
}

/// Sends a request to a service, once for every attempt.
#[derive(Debug)]
pub struct Sender<S, D, R> {
    ready: Option<S>,
    clone: S,
    describe: Option<D>,
    request: Option<R>,
}

impl<S: Service<R> + Clone, D: Describe<R>, R> Operation for Sender<S, D, R> {
    type Future = Sending<S, R>;

    fn start(&mut self, _: Attempt) -> Self::Future {
        let request = self.request.take();
        self.request = request.as_ref().zip(self.describe.as_ref()).and_then(|(request, by)| by.copy(request));
        let state = match (self.ready.take(), request) {
            (Some(mut service), Some(request)) => State::Called { future: service.call(request) },
            (_, request) => State::Waiting { service: self.clone.clone(), request },
        };
        Sending { state }
    }

    fn repeatable(&self) -> bool {
        self.request.is_some()
    }
}

pin_project! {
    /// A request on its way through a service, from the wait until that is ready to its response.
    #[must_use = "futures do nothing unless polled"]
    pub struct Sending<S: Service<R>, R> {
        #[pin]
        state: State<S, R>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<S: Service<R>, R> {
        Waiting { service: S, request: Option<R> },
        Called { #[pin] future: S::Future },
    }
}

impl<S: Service<R>, R> Future for Sending<S, R> {
    type Output = Result<S::Response, S::Error>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            let future = match state.as_mut().project() {
                StateProjection::Called { future } => return future.poll(context),
                StateProjection::Waiting { service, request } => {
                    ready!(service.poll_ready(context))?;
                    match request.take() {
                        Some(request) => service.call(request),
                        None => return Poll::Pending,
                    }
                }
            };
            state.set(State::Called { future });
        }
    }
}

impl<S: Service<R>, R> fmt::Debug for Sending<S, R> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Sending")
    }
}
