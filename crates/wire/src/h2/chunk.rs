//! Body bytes on their way out, and how many of them one connection may hold.

use crate::buffer;
use bytes::Buf;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// The most bytes that are taken into one chunk.
pub(super) const CHUNK: usize = 64 * 1024;

/// How many bytes may wait in a connection before its streams are held back.
const ROOM: usize = 1024 * 1024;

/// Body bytes that wait to be written; their memory goes back to the thread's pool.
#[derive(Debug)]
pub struct Chunk {
    memory: Box<[u8]>,
    start: usize,
    end: usize,
    outbox: Option<Rc<Outbox>>,
}

impl Chunk {
    /// Takes `data` over; at most [`CHUNK`] bytes.
    pub(super) fn copy(data: &[u8], outbox: &Rc<Outbox>) -> Self {
        let memory = buffer::filled_with(data);
        outbox.queued.set(outbox.queued.get() + memory.len());
        Self { memory, start: 0, end: data.len(), outbox: Some(Rc::clone(outbox)) }
    }

    /// No bytes: the end of a body.
    pub(super) fn empty() -> Self {
        Self { memory: Box::default(), start: 0, end: 0, outbox: None }
    }
}

impl Buf for Chunk {
    fn remaining(&self) -> usize {
        self.end - self.start
    }

    fn chunk(&self) -> &[u8] {
        &self.memory[self.start..self.end]
    }

    fn advance(&mut self, count: usize) {
        assert!(count <= self.remaining(), "more bytes taken than there are");
        self.start += count;
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        let memory = std::mem::take(&mut self.memory);
        if let Some(outbox) = self.outbox.take() {
            outbox.left(memory.len());
        }
        buffer::give_back(memory);
    }
}

/// The chunks of one connection that have not left yet.
///
/// A peer that opens its windows wide and reads slowly would otherwise make each of its streams
/// buffer. At most [`ROOM`] bytes wait, plus one chunk for each stream.
#[derive(Debug, Default)]
pub struct Outbox {
    queued: Cell<usize>,
    /// At most one for each stream of the connection.
    waiting: RefCell<Vec<Waker>>,
}

impl Outbox {
    /// Ready while there is room for another chunk.
    pub(super) fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.queued.get() < ROOM {
            return Poll::Ready(());
        }
        let mut waiting = self.waiting.borrow_mut();
        if !waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
            waiting.push(cx.waker().clone());
        }
        Poll::Pending
    }

    fn left(&self, count: usize) {
        let queued = self.queued.get() - count;
        self.queued.set(queued);
        // Half empty, so that those who wait are not woken once for each chunk.
        if queued < ROOM / 2 {
            self.waiting.take().into_iter().for_each(Waker::wake);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::task::Wake;

    struct Task;

    impl Wake for Task {
        fn wake(self: Arc<Self>) {}
    }

    #[test]
    fn chunks_hold_streams_back_until_half_of_them_have_left() {
        let outbox = Rc::new(Outbox::default());
        let waker = Waker::from(Arc::new(Task));
        let mut cx = Context::from_waker(&waker);
        let mut chunks = Vec::new();
        while outbox.poll_room(&mut cx).is_ready() {
            chunks.push(Chunk::copy(&[b'x'; CHUNK], &outbox));
        }
        assert_eq!(chunks.len(), ROOM / CHUNK);
        assert!(outbox.poll_room(&mut cx).is_pending());
        assert_eq!(outbox.waiting.borrow().len(), 1, "one waker, however often it asks");
        chunks.truncate(ROOM / CHUNK / 2);
        assert_eq!(outbox.waiting.borrow().len(), 1, "half is not less than half");
        chunks.pop();
        assert!(outbox.waiting.borrow().is_empty());
        assert!(outbox.poll_room(&mut cx).is_ready());
    }

    #[test]
    fn a_chunk_reads_as_its_bytes() {
        let outbox = Rc::new(Outbox::default());
        for length in [0, 1, 1000, 5000, 20_000, CHUNK] {
            let data: Vec<u8> = (0..length).map(|i| (i % 251).try_into().unwrap_or_default()).collect();
            let mut chunk = Chunk::copy(&data, &outbox);
            let half = length / 2;
            chunk.advance(half);
            assert_eq!(chunk.chunk(), &data[half..]);
        }
        assert_eq!(outbox.queued.get(), 0);
        assert!(!Chunk::empty().has_remaining());
    }
}
