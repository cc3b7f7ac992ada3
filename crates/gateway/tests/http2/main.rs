//! HTTP/2 on both sides of a gateway that runs inside this program: what its peers see of it, down to
//! the frames. The tests of the real process cover what correct clients and common attacks see.

mod floods;
mod lifecycle;
mod mixtures;
mod rig;
mod upstreams;
