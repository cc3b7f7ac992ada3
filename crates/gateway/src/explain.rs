//! What a configuration does with a request, without sending it.
//!
//! The request is read by the same code as one that comes in, so that what is said here is what would happen.

use crate::config::Plan;
use crate::config::plan::Route;
use crate::exchange::{Question, admit_path, read_target};
use crate::fault::Fault;
use crate::path::Separators;
use crate::router::{BuildError, Mismatch, Request, Router};
use http::Method;
use std::net::IpAddr;
use tidegate_wire::head::RequestHead;
use tidegate_wire::parse::{self, HeadLimits};

/// Limits of a head that somebody has typed.
const LIMITS: HeadLimits = HeadLimits { bytes: 64 * 1024, fields: 256, target: 16 * 1024 };

/// A plan that can be asked about requests.
#[derive(Debug)]
pub struct Explainer<'p> {
    plan: &'p Plan,
    router: Router,
}

/// What becomes of a request.
#[derive(Debug)]
pub struct Explanation<'e> {
    /// The host that routes are compared with; empty where the request names none.
    pub host: String,
    /// The method.
    pub method: Method,
    /// The path that routes are compared with and that is forwarded.
    pub path: String,
    /// Every route in the order of precedence, with the first test that the request fails there. The first without one
    /// answers it.
    pub routes: Vec<(&'e Route, Option<Mismatch<'e>>)>,
    /// Why the request is refused nevertheless, or because no route answers it.
    pub refusal: Option<Fault>,
}

impl<'e> Explanation<'e> {
    /// The route that answers the request.
    pub fn answering(&self) -> Option<&'e Route> {
        answering(&self.routes)
    }
}

fn answering<'e>(routes: &[(&'e Route, Option<Mismatch<'e>>)]) -> Option<&'e Route> {
    routes.iter().find(|(_, mismatch)| mismatch.is_none()).map(|(route, _)| *route)
}

impl<'p> Explainer<'p> {
    /// Lays out the routes of a plan.
    ///
    /// # Errors
    /// A pattern that does not compile; a plan that was checked has none.
    pub fn new(plan: &'p Plan) -> Result<Self, BuildError> {
        let matches: Vec<_> = plan.routes.iter().map(|route| route.matches.clone()).collect();
        Ok(Self { plan, router: Router::new(&matches)? })
    }

    /// The route that answers a request from `client`, of which this is the head as HTTP/1.1 has it, up to the empty line.
    ///
    /// # Errors
    /// The request is refused before any route is looked for.
    pub fn answering(&self, head: &[u8], client: IpAddr) -> Result<Option<&'p Route>, Fault> {
        let read = Read::new(head)?;
        Ok(self.router.find(&read.question(client)).map(|route| &self.plan.routes[route]))
    }

    /// Explains what becomes of a request from `client`, of which this is the head as HTTP/1.1 has it, up to the empty
    /// line.
    ///
    /// # Errors
    /// The request is refused before any route is looked for.
    pub fn explain(&self, head: &[u8], client: IpAddr) -> Result<Explanation<'_>, Fault> {
        let read = Read::new(head)?;
        let question = read.question(client);
        let path = question.path().to_owned();
        let verdicts = self.router.explain(&question).into_iter();
        let routes: Vec<_> = verdicts.map(|verdict| (&self.plan.routes[verdict.route], verdict.mismatch)).collect();
        let refusal = match answering(&routes) {
            Some(route) => admit_path(route.allow, read.separators).err(),
            None => Some(Fault::NoRoute),
        };
        let method = read.request.method.clone();
        Ok(Explanation { host: read.host, method, path, routes, refusal })
    }
}

/// A head that was read.
struct Read {
    request: RequestHead,
    host: String,
    /// How long the path in the target is.
    path: usize,
    separators: Separators,
}

impl Read {
    fn new(head: &[u8]) -> Result<Self, Fault> {
        let mut request = RequestHead::default();
        // What ends too early has no end at all.
        parse::request(head, &LIMITS, &mut request)
            .map_err(Fault::Refused)?
            .ok_or(Fault::Refused(parse::Refusal::HeadTooLarge))?;
        let (mut host, mut path, mut separators) = (String::new(), 0, Separators::default());
        if let Some(target) = read_target(&request, LIMITS.target, &mut host, &mut path, &mut separators)? {
            request.target = target;
        }
        Ok(Self { request, host, path, separators })
    }

    fn question(&self, client: IpAddr) -> Question<'_> {
        Question::new(&self.request, &self.host, self.path, client)
    }
}
