//! The real process over real sockets: what a client, an upstream and an operator would notice.
//!
//! Each test starts a gateway of its own in front of a recording upstream. The hostile cases are
//! tables: raw bytes in, and for each the outcomes that are right.

mod balance;
mod crowd;
mod demo;
mod early;
mod failures;
mod faults;
mod floods;
mod framing;
mod heads;
mod health;
mod http2;
mod http2_faults;
mod hygiene;
mod idempotency;
mod isolation;
mod load;
mod mutations;
mod paths;
mod policies;
mod protection;
mod proxy_protocol;
mod rate_limits;
mod recent;
mod reload;
mod rig;
mod serving;
mod shutdown;
mod slow;
mod supervised;
mod takeover;
mod tls;
mod upgrade;
