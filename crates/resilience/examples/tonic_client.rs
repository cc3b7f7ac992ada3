//! gRPC calls through a pipeline, with the status of each read as what it means.
//!
//!     cargo run -p tidegate-resilience --example tonic_client

use std::error::Error as StdError;
use std::time::Duration;

use tidegate_resilience::{
    CircuitBreaker, CircuitBreakerOptions, Error, Pipeline, Retry, RetryOptions, Timeout, TimeoutOptions, Verdict,
};
use tokio::net::TcpListener;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Server};
use tonic::{Code, Response, Status};
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

/// What a status means, by <https://grpc.io/docs/guides/status-codes/>.
fn by_code<T>(result: &Result<Response<T>, Status>) -> Verdict {
    match result.as_ref().map_err(Status::code) {
        Ok(_) => Verdict::SUCCESS,
        Err(Code::Unavailable | Code::Aborted) => Verdict::TRANSIENT,
        Err(Code::ResourceExhausted) => Verdict::overload(None),
        Err(Code::Internal | Code::Unknown | Code::DataLoss | Code::DeadlineExceeded) => Verdict::PERMANENT,
        Err(_) => Verdict::IGNORED,
    }
}

/// The same error as a caller of a gRPC service expects it.
fn status(error: Error<Status>) -> Status {
    match error {
        Error::Call(status) => status,
        Error::Rejected(rejection) => {
            Status::new(Code::from(i32::from(rejection.code().grpc_code())), rejection.to_string())
        }
    }
}

async fn check(
    pipeline: &Pipeline,
    client: &HealthClient<Channel>,
    service: &str,
) -> Result<HealthCheckResponse, Status> {
    let request = HealthCheckRequest { service: service.to_owned() };
    let call = || {
        let (mut client, request) = (client.clone(), request.clone());
        async move { client.check(request).await }
    };
    pipeline.classified_by(by_code).execute(call).await.map(Response::into_inner).map_err(status)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn StdError>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = format!("http://{}", listener.local_addr()?);
    let (_reporter, health) = tonic_health::server::health_reporter();
    tokio::spawn(Server::builder().add_service(health).serve_with_incoming(TcpIncoming::from(listener)));

    let timeout = TimeoutOptions { total: Some(Duration::from_secs(2)), ..TimeoutOptions::default() };
    let pipeline = Pipeline::builder("health")
        .step(Timeout::new("health", &timeout)?)
        .step(Retry::new("health", &RetryOptions::default())?)
        .step(CircuitBreaker::new("health", &CircuitBreakerOptions::default())?)
        .build()?;
    let client = HealthClient::new(Channel::from_shared(address)?.connect().await?);
    for service in ["", "unknown.Service"] {
        match check(&pipeline, &client, service).await {
            Ok(answer) => println!("{service:?}: {:?}", answer.status()),
            Err(status) => println!("{service:?}: {} ({})", status.code(), status.message()),
        }
    }
    Ok(())
}
