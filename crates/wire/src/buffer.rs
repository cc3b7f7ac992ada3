//! Read buffers, borrowed from a pool of the thread only while they hold something.
//!
//! An idle connection owns no buffer. A buffer starts small and is exchanged for a larger one while
//! a body keeps filling it, so that short messages stay in the cache and long ones need few calls.
//! The memory is always initialised, so reading into it needs no unsafe code and no clearing.

use std::cell::RefCell;

/// The sizes a buffer can have: a head; a body that goes on; a long body.
const SIZES: [usize; 3] = [16 * 1024, 64 * 1024, 256 * 1024];

/// How many free buffers of each size a thread keeps.
const KEEP: [usize; 3] = [256, 32, 16];

/// How many free output buffers a thread keeps, and how large they may be.
const KEEP_OUTPUT: usize = 64;
const OUTPUT: usize = 32 * 1024;

thread_local! {
    static FREE_OUTPUT: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
    static FREE: RefCell<[Vec<Box<[u8]>>; 3]> = const { RefCell::new([Vec::new(), Vec::new(), Vec::new()]) };
}

/// Bytes that were received and not yet consumed.
#[derive(Debug, Default)]
pub struct ReadBuffer {
    /// Empty, or of one of [`SIZES`], or larger where a head needs it.
    data: Box<[u8]>,
    start: usize,
    end: usize,
    /// Whether the last read left no room.
    was_full: bool,
}

impl ReadBuffer {
    /// What has been received and not consumed.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.data[self.start..self.end]
    }

    /// How much has been received and not consumed.
    #[must_use]
    pub fn len(&self) -> usize {
        self.end - self.start
    }

    /// Whether everything received has been consumed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Whether it holds no memory.
    #[must_use]
    pub fn is_released(&self) -> bool {
        self.data.is_empty()
    }

    /// Drops `count` bytes from the front.
    pub fn consume(&mut self, count: usize) {
        self.start = (self.start + count).min(self.end);
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
        }
    }

    /// Room to read into; at least one byte.
    ///
    /// Bytes move to the front, or the buffer grows to the next size, when the room runs out.
    pub fn room(&mut self) -> &mut [u8] {
        if self.end == self.data.len() {
            if self.start > 0 {
                self.data.copy_within(self.start..self.end, 0);
                self.end -= self.start;
                self.start = 0;
            } else {
                self.grow();
            }
        }
        &mut self.data[self.end..]
    }

    /// Reports that `count` bytes were read into the room.
    pub fn filled(&mut self, count: usize) {
        self.end = (self.end + count).min(self.data.len());
        self.was_full = self.end == self.data.len();
    }

    /// Takes a larger buffer; what was received moves along.
    pub fn grow(&mut self) {
        let wanted = SIZES.into_iter().find(|size| *size > self.data.len());
        let mut larger = take(wanted.unwrap_or(self.data.len() * 2));
        let length = self.len();
        larger[..length].copy_from_slice(self.bytes());
        give_back(std::mem::replace(&mut self.data, larger));
        self.start = 0;
        self.end = length;
    }

    /// Makes ready for a body of which `left` bytes are still to come, before the next read.
    ///
    /// A known length picks the smallest size that holds it. Where the length is not known the
    /// buffer takes the next size each time that a read has filled it.
    pub fn prepare(&mut self, left: u64) {
        if !self.is_empty() {
            return;
        }
        let largest = SIZES[SIZES.len() - 1];
        let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(largest);
        if left == u64::MAX {
            if std::mem::take(&mut self.was_full) && self.data.len() < largest {
                self.grow();
            }
        } else if self.data.len() < wanted {
            let size = SIZES.into_iter().find(|size| *size >= wanted).unwrap_or(largest);
            give_back(std::mem::replace(&mut self.data, take(size)));
        }
    }

    /// Gives the memory back to the pool if nothing is left in it.
    pub fn release(&mut self) {
        if self.is_empty() && !self.data.is_empty() {
            give_back(std::mem::take(&mut self.data));
            self.start = 0;
            self.end = 0;
        }
    }
}

impl Drop for ReadBuffer {
    fn drop(&mut self) {
        give_back(std::mem::take(&mut self.data));
    }
}

/// Memory that begins with a copy of `data`: from the pool, or of just that size where it is short.
pub(crate) fn filled_with(data: &[u8]) -> Box<[u8]> {
    match SIZES.into_iter().find(|size| *size >= data.len()) {
        Some(size) if data.len() >= SIZES[0] / 4 => {
            let mut memory = take(size);
            memory[..data.len()].copy_from_slice(data);
            memory
        }
        _ => data.into(),
    }
}

fn take(size: usize) -> Box<[u8]> {
    let pooled = SIZES
        .iter()
        .position(|other| *other == size)
        .and_then(|class| FREE.try_with(|free| free.borrow_mut()[class].pop()).ok().flatten());
    pooled.unwrap_or_else(|| vec![0; size].into_boxed_slice())
}

/// Returns memory to the pool of the thread, where it is of a size that is kept.
pub(crate) fn give_back(data: Box<[u8]>) {
    let Some(class) = SIZES.iter().position(|size| *size == data.len()) else {
        return;
    };
    // The thread may be ending and its pool gone; then the memory is simply freed.
    let _ = FREE.try_with(|free| {
        let list = &mut free.borrow_mut()[class];
        if list.len() < KEEP[class] {
            list.push(data);
        }
    });
}

/// Memory to write a message into, with room that an earlier one has needed.
pub(crate) fn take_output() -> Vec<u8> {
    FREE_OUTPUT.try_with(|free| free.borrow_mut().pop()).ok().flatten().unwrap_or_default()
}

/// Keeps the memory of a message that has left for a later one.
pub(crate) fn keep_output(mut memory: Vec<u8>) {
    if memory.capacity() > OUTPUT {
        return;
    }
    memory.clear();
    let _ = FREE_OUTPUT.try_with(|free| {
        let mut free = free.borrow_mut();
        if free.len() < KEEP_OUTPUT {
            free.push(memory);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_survive_moving_and_growing() {
        let mut buffer = ReadBuffer::default();
        assert!(buffer.bytes().is_empty());
        buffer.room()[..4].copy_from_slice(b"abcd");
        buffer.filled(4);
        buffer.consume(1);
        while buffer.len() < 20_000 {
            let room = buffer.room();
            let count = room.len().min(5000);
            room[..count].fill(b'x');
            buffer.filled(count);
        }
        assert_eq!(&buffer.bytes()[..4], b"bcdx");
        let length = buffer.len();
        buffer.consume(length);
        buffer.release();
        assert_eq!(buffer.data.len(), 0);
    }

    #[test]
    fn the_pool_is_bounded_and_reused() {
        let buffers: Vec<_> = (0..KEEP[0] + 10)
            .map(|_| {
                let mut buffer = ReadBuffer::default();
                buffer.room();
                buffer
            })
            .collect();
        drop(buffers);
        FREE.with(|free| assert_eq!(free.borrow()[0].len(), KEEP[0]));
    }

    #[test]
    fn kept_output_is_empty_and_bounded() {
        keep_output(Vec::with_capacity(OUTPUT + 1));
        assert_eq!(take_output().capacity(), 0, "too large to keep");
        (0..=KEEP_OUTPUT).for_each(|_| keep_output(vec![b'x'; 2000]));
        FREE_OUTPUT.with(|free| assert_eq!(free.borrow().len(), KEEP_OUTPUT));
        let memory = take_output();
        assert!(memory.is_empty() && memory.capacity() >= 2000);
    }
}
