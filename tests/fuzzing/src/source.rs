//! Takes decisions from bytes. The usual decisions need few bytes, and every byte has a meaning.

use bytes::Bytes;

/// Bytes that decisions are taken from. When they are used up, zeros follow.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source<'a>(pub(crate) &'a [u8]);

impl Source<'_> {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    /// Takes a number less than `end`, which is at most 256.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::from(self.byte()) % end
    }

    /// Returns true one time in `in_all`, and false once the bytes are used up.
    pub(crate) fn rarely(&mut self, in_all: usize) -> bool {
        self.below(in_all) == in_all - 1
    }

    /// Takes a number of eight bytes.
    pub(crate) fn wide(&mut self) -> u64 {
        u64::from_le_bytes(std::array::from_fn(|_| self.byte()))
    }

    /// Takes `usual`, a number close to it, a small number, or any number.
    pub(crate) fn near(&mut self, usual: u64) -> u64 {
        match self.byte() {
            0 => usual,
            above @ 1..=31 => usual.saturating_add(above.into()),
            below @ 32..=63 => usual.saturating_sub(u64::from(below) - 31),
            255 => self.wide(),
            254 => u64::MAX - u64::from(self.byte()),
            small => u64::from(small) - 64,
        }
    }

    /// Takes at most 255 bytes.
    pub(crate) fn bytes(&mut self) -> Bytes {
        let length = usize::from(self.byte()).min(self.0.len());
        let (taken, rest) = self.0.split_at(length);
        self.0 = rest;
        Bytes::copy_from_slice(taken)
    }
}
