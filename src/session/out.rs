//! Bytes on their way out: either a range of the buffer that they came in with, or bytes of our own when
//! something was changed. Pure.

use std::ops::Range;

/// What one step wants to send to one side. An unchanged run of frames is never copied.
#[derive(Debug, Default)]
pub struct Out {
    own: Vec<u8>,
    span: Range<usize>,
}

impl Out {
    /// Passes on `input[range]` as it is.
    #[inline]
    pub fn pass(&mut self, input: &[u8], range: Range<usize>) {
        if self.own.is_empty() {
            if self.span.is_empty() {
                self.span = range;
                return;
            }
            if self.span.end == range.start {
                self.span.end = range.end;
                return;
            }
        }
        self.own(input).extend_from_slice(&input[range]);
    }

    /// A place for bytes of our own, behind all that was passed before.
    pub fn own(&mut self, input: &[u8]) -> &mut Vec<u8> {
        if !self.span.is_empty() {
            let span = std::mem::take(&mut self.span);
            self.own.extend_from_slice(&input[span]);
        }
        &mut self.own
    }

    /// All there is to send; `input` is the buffer that `pass` was called with.
    pub fn bytes<'a>(&'a self, input: &'a [u8]) -> &'a [u8] {
        if self.own.is_empty() { &input[self.span.clone()] } else { &self.own }
    }

    pub fn is_empty(&self) -> bool {
        self.own.is_empty() && self.span.is_empty()
    }

    pub fn clear(&mut self) {
        self.own.clear();
        // A long statement must not leave its size behind in every worker for ever.
        if self.own.capacity() > 256 * 1024 {
            self.own = Vec::new();
        }
        self.span = 0..0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_stay_spans_until_something_is_changed() {
        let input = b"abcdef";
        let mut out = Out::default();
        out.pass(input, 0..2);
        out.pass(input, 2..4);
        assert_eq!((out.bytes(input), out.own.len()), (&b"abcd"[..], 0));
        out.own(input).push(b'!');
        out.pass(input, 5..6);
        assert_eq!(out.bytes(input), b"abcd!f");
        out.clear();
        assert!(out.is_empty());
        out.pass(input, 0..1);
        out.pass(input, 3..4);
        assert_eq!(out.bytes(input), b"ad");
    }
}
