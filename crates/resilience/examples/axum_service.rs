//! An axum service that limits each client and sheds what it cannot take.
//!
//!     cargo run -p tidegate-resilience --example axum_service

use std::convert::Infallible;
use std::error::Error as StdError;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::error_handling::HandleErrorLayer;
use axum::extract::Request;
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tidegate_resilience::{
    Bulkhead, BulkheadOptions, Call, Error, FixedWindow, KeyedRateLimiter, Pipeline, ProtectLayer, RateLimitOptions,
    Timeout, TimeoutOptions, Verdict,
};
use tower::{ServiceBuilder, ServiceExt};

/// The client, as the gateway in front of this service names it.
const CLIENT: HeaderName = HeaderName::from_static("x-client");

/// What policies may know of a request.
fn describe(request: &Request) -> Call<'static> {
    let client = request.headers().get(CLIENT).and_then(|client| client.to_str().ok()).unwrap_or("unknown");
    Call::new().key(client.to_owned())
}

/// Server errors are failures; everything else has done what it should.
fn by_status(result: &Result<Response, Infallible>) -> Verdict {
    match result {
        Ok(response) if response.status().is_server_error() => Verdict::PERMANENT,
        _ => Verdict::SUCCESS,
    }
}

/// The answer for a request that a policy rejected.
async fn rejected(error: Error<Infallible>) -> Response {
    let Some(rejection) = error.rejection() else { return StatusCode::INTERNAL_SERVER_ERROR.into_response() };
    let status = StatusCode::from_u16(rejection.code().http_status()).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
    // Whole seconds, rounded up: a client that comes back earlier would be too early (RFC 9110 section 10.2.3).
    let seconds = rejection.retry_after().map_or(1, |time| time.as_secs() + 1).to_string();
    (status, [(header::RETRY_AFTER, seconds)], rejection.to_string()).into_response()
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn StdError>> {
    let window = FixedWindow { limit: 2, window: Duration::from_secs(60) };
    let pipeline = Pipeline::builder("hello")
        .step(KeyedRateLimiter::new("per-client", &RateLimitOptions::fixed_window(window))?)
        .step(Timeout::new(
            "hello",
            &TimeoutOptions { total: Some(Duration::from_secs(1)), ..TimeoutOptions::default() },
        )?)
        .step(Bulkhead::new("hello", &BulkheadOptions::default())?)
        .build()?
        .classified_by(by_status);

    let protection = ServiceBuilder::new()
        .layer(HandleErrorLayer::new(rejected))
        .layer(ProtectLayer::new(pipeline).describing(describe));
    let app = Router::new().route("/", get(|| async { "hello" })).layer(protection);

    // Instead of a listener, so that the example ends: the third request of one client is one too many.
    for client in ["ann", "ann", "ann", "bob"] {
        let request = Request::get("/").header(CLIENT, client).body(Body::empty())?;
        let response = app.clone().oneshot(request).await?;
        println!("{client}: {}", response.status());
    }
    Ok(())
}
