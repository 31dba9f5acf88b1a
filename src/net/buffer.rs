//! Read buffers, borrowed from their worker while bytes are in them. An idle connection holds none, which
//! is what keeps thousands of them cheap.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// Size of a read buffer: a helping of several of PostgreSQL's 8 KiB sends fits. Only the pages that bytes were
/// read into cost memory.
pub const BUFFER: usize = 64 * 1024;

/// Free buffers a worker keeps; more than this many sessions are rarely busy in one instant.
const FREE_MAX: usize = 64;

/// A worker's buffers. Last in, first out, so that the warm ones are used again.
#[derive(Clone, Default)]
pub struct Slab(Rc<Free>);

#[derive(Default)]
struct Free {
    buffers: RefCell<Vec<Box<[u8]>>>,
    overflowed: Cell<bool>,
}

impl Slab {
    fn take(&self) -> Box<[u8]> {
        self.0.buffers.borrow_mut().pop().unwrap_or_else(|| vec![0; BUFFER].into_boxed_slice())
    }

    fn give(&self, buffer: Box<[u8]>) {
        let mut free = self.0.buffers.borrow_mut();
        if buffer.len() == BUFFER && free.len() < FREE_MAX {
            free.push(buffer);
        } else {
            self.0.overflowed.set(true);
        }
    }

    /// Whether buffers were freed since this was last asked: a crowd came, and may have gone.
    pub fn take_overflowed(&self) -> bool {
        self.0.overflowed.take()
    }
}

/// The unread bytes of one stream: a borrowed buffer while there are any, nothing otherwise.
#[derive(Default)]
pub struct Window {
    buffer: Option<Box<[u8]>>,
    start: usize,
    end: usize,
}

impl Window {
    /// The bytes that were read and not consumed yet.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        self.buffer.as_deref().map_or(&[], |buffer| &buffer[self.start..self.end])
    }

    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// There is no room until something is consumed.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.start == 0 && self.buffer.as_ref().is_some_and(|buffer| buffer.len() == self.end)
    }

    /// Bytes the present buffer can hold.
    pub fn capacity(&self) -> usize {
        self.buffer.as_ref().map_or(BUFFER, |buffer| buffer.len())
    }

    /// Room behind the unread bytes; borrows a buffer and moves what is left to its front. Empty when the
    /// buffer is full of unread bytes.
    #[inline]
    pub fn room(&mut self, slab: &Slab) -> &mut [u8] {
        if self.start > 0
            && let Some(buffer) = &mut self.buffer
        {
            buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        let end = self.end;
        &mut self.buffer.get_or_insert_with(|| slab.take())[end..]
    }

    /// Puts bytes in that were read before the window was there.
    pub fn preload(&mut self, bytes: &[u8], slab: &Slab) {
        if !bytes.is_empty() {
            let room = self.room(slab);
            room[..bytes.len()].copy_from_slice(bytes);
            self.filled(bytes.len());
        }
    }

    pub fn filled(&mut self, n: usize) {
        self.end += n;
    }

    #[inline]
    pub fn consume(&mut self, n: usize) {
        self.start += n;
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }

    /// Doubles the buffer up to `max` bytes, for a message that has to be seen whole. False when it is
    /// that large already.
    pub fn grow(&mut self, max: usize) -> bool {
        let Some(buffer) = self.buffer.take() else {
            return true;
        };
        let size = (buffer.len() * 2).min(max);
        let grows = size > buffer.len();
        let mut larger = buffer.into_vec();
        larger.resize(size.max(larger.len()), 0);
        self.buffer = Some(larger.into_boxed_slice());
        grows
    }

    /// Gives the buffer back when nothing unread is in it.
    #[inline]
    pub fn release(&mut self, slab: &Slab) {
        if self.start == self.end
            && let Some(buffer) = self.buffer.take()
        {
            (self.start, self.end) = (0, 0);
            slab.give(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_moves_what_is_left_and_gives_back_what_is_empty() {
        let slab = Slab::default();
        let mut window = Window::default();
        window.room(&slab)[..4].copy_from_slice(b"abcd");
        window.filled(4);
        window.consume(3);
        assert_eq!(window.room(&slab).len(), BUFFER - 1);
        assert_eq!(window.bytes(), b"d");
        window.release(&slab);
        assert_eq!(window.bytes(), b"d", "unread bytes are never given away");
        window.consume(1);
        window.release(&slab);
        assert_eq!(slab.0.buffers.borrow().len(), 1);
        assert!(!slab.take_overflowed());
    }

    #[test]
    fn a_window_grows_only_to_its_bound() {
        let slab = Slab::default();
        let mut window = Window::default();
        window.room(&slab);
        window.filled(BUFFER);
        assert!(window.grow(BUFFER * 2));
        assert!(!window.grow(BUFFER * 2));
        assert_eq!(window.bytes().len(), BUFFER);
        assert_eq!(window.room(&slab).len(), BUFFER);
    }
}
