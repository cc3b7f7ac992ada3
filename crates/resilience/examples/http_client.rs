//! An HTTP client whose calls are limited in time, tried again, and stopped while the other side is down.
//!
//!     cargo run -p tidegate-resilience --example http_client

use std::error::Error as StdError;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response, StatusCode, Uri};
use axum::routing::get;
use http_body_util::BodyExt;
use hyper_util::client::legacy::{Client, Error as ClientError};
use hyper_util::rt::TokioExecutor;
use tidegate_resilience::{
    Attempt, Backoff, Call, CircuitBreaker, CircuitBreakerOptions, Pipeline, Retry, RetryOptions, Timeout,
    TimeoutOptions, Verdict,
};

/// What an answer means: 429 and 503 ask for a pause, other server errors may pass, the rest is the caller's business.
fn by_status<B>(result: &Result<Response<B>, ClientError>) -> Verdict {
    let Ok(response) = result else { return Verdict::TRANSIENT };
    let retry_after = || response.headers().get("retry-after")?.to_str().ok()?.parse().ok().map(Duration::from_secs);
    match response.status() {
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => Verdict::overload(retry_after()),
        status if status.is_server_error() => Verdict::TRANSIENT,
        status if status.is_client_error() => Verdict::IGNORED,
        _ => Verdict::SUCCESS,
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn StdError>> {
    let uri: Uri = format!("http://{}/", flaky_service().await?).parse()?;
    let client = Client::builder(TokioExecutor::new()).build_http::<Body>();

    let backoff = Backoff::Constant { delay: Duration::from_millis(20) };
    let timeout = TimeoutOptions {
        total: Some(Duration::from_secs(2)),
        attempt: Some(Duration::from_millis(500)),
        ..TimeoutOptions::default()
    };
    let pipeline = Pipeline::builder("weather")
        .step(Timeout::new("weather", &timeout)?)
        .step(Retry::new("weather", &RetryOptions { attempts: 4, backoff, ..RetryOptions::default() })?)
        .step(CircuitBreaker::new("weather", &CircuitBreakerOptions::default())?)
        .build()?
        .classified_by(by_status);

    let response = pipeline
        .execute_call(Call::new().idempotent(), |attempt: Attempt| {
            println!("attempt {}", attempt.number);
            let request = Request::get(&uri).header("x-attempt", attempt.number).body(Body::empty());
            let client = client.clone();
            async move { client.request(request.expect("a request made of valid parts")).await }
        })
        .await?;
    let status = response.status();
    let body = response.into_body().collect().await?.to_bytes();
    println!("{status}: {}", String::from_utf8_lossy(&body));
    Ok(())
}

/// A service that fails twice before it answers.
async fn flaky_service() -> std::io::Result<std::net::SocketAddr> {
    static ASKED: AtomicU32 = AtomicU32::new(0);
    let answer = || async {
        match ASKED.fetch_add(1, Ordering::Relaxed) {
            0 | 1 => (StatusCode::BAD_GATEWAY, "not yet"),
            _ => (StatusCode::OK, "sunny"),
        }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/", get(answer))).await });
    Ok(address)
}
