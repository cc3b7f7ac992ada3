//! Leave of an endpoint's circuit breaker to send it a request.

use tidegate_resilience::{CircuitBreaker, Guard, Outcome, Rejection, Ticket};

/// Leave to send one request to one endpoint. Dropped untold, it says that nobody waited for the end.
pub(super) struct Admission {
    breaker: CircuitBreaker,
    ticket: Option<Ticket>,
}

impl Admission {
    /// Asks the breaker; a half-open one admits as many as it has probes, whoever else asks.
    pub(super) fn ask(breaker: &CircuitBreaker) -> Result<Self, Rejection> {
        let ticket = breaker.try_acquire()?.into_ticket();
        Ok(Self { breaker: breaker.clone(), ticket: Some(ticket) })
    }

    /// Says what came of the request. What is said first counts.
    pub(super) fn complete(&mut self, outcome: Outcome) {
        if let Some(ticket) = self.ticket.take() {
            self.breaker.settle(ticket, outcome, &tidegate_resilience::Reading::of(self.breaker.clock()));
        }
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.complete(Outcome::Cancelled);
    }
}
