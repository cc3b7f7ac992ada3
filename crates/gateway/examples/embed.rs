//! A gateway inside another program: `cargo run --example embed -- 127.0.0.1:8080 127.0.0.1:9000`.
//!
//! The first argument is the address to listen on, the others are endpoints of the one upstream.

use std::error::Error;
use std::sync::Arc;
use tidegate_gateway::config::{self, Document};
use tidegate_gateway::server::Gateway;
use tidegate_gateway::snapshot::Snapshot;
use tidegate_gateway::stats::Registry;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().ok_or("which address shall I listen on?")?;
    let document: Document = serde_json::from_value(serde_json::json!({
        "workers": 1,
        "listeners": [{ "address": address }],
        "upstreams": { "app": { "endpoints": arguments.collect::<Vec<_>>() } },
        "routes": [{ "match": { "prefix": "/" }, "upstream": "app" }],
    }))?;
    let checked = config::check(&document, std::path::Path::new("."));
    let plan = checked.map_err(|problems| format!("{problems:#?}"))?.plan;
    let registry = Registry::new(plan.workers.get());
    let snapshot = Arc::new(Snapshot::build(plan, &registry, None)?);
    let gateway = Gateway::start(snapshot, Vec::new(), None)?;
    for address in gateway.addresses() {
        println!("listening on {}", address?);
    }
    std::thread::park();
    Ok(())
}
