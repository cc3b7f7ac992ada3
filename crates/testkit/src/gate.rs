//! A gate that a scripted upstream waits at until the test opens it.

use std::sync::Arc;

use crate::watched::Watched;

/// Starts closed; once open it stays open. Clones are the same gate.
#[derive(Clone, Debug, Default)]
pub struct Gate(Arc<Watched<bool>>);

impl Gate {
    /// A closed gate.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets everybody through, now and later.
    pub fn open(&self) {
        self.0.change(|open| *open = true);
    }

    /// Waits until the gate is open; `false` when nobody opened it in time.
    pub fn wait(&self) -> bool {
        self.0.wait(|open| open.then_some(())).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_waiter_passes_once_the_gate_opens() {
        let gate = Gate::new();
        let waiter = std::thread::spawn({
            let gate = gate.clone();
            move || gate.wait()
        });
        gate.open();
        assert!(waiter.join().expect("the waiter does not panic"));
        assert!(gate.wait(), "an open gate stays open");
    }
}
