//! Structure from bytes: what stands for itself is short, and no bytes are without meaning.

use bytes::Bytes;

/// Bytes that decisions are taken from; zeros once they are used up.
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

    /// A number less than `end`, which is at most 256.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::from(self.byte()) % end
    }

    /// One time in `in_all`; never once the bytes are used up.
    pub(crate) fn rarely(&mut self, in_all: usize) -> bool {
        self.below(in_all) == in_all - 1
    }

    /// Eight bytes.
    pub(crate) fn wide(&mut self) -> u64 {
        u64::from_le_bytes(std::array::from_fn(|_| self.byte()))
    }

    /// `usual`, a neighbour of it, a small number, or any at all.
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

    /// At most 255 bytes.
    pub(crate) fn bytes(&mut self) -> Bytes {
        let length = usize::from(self.byte()).min(self.0.len());
        let (taken, rest) = self.0.split_at(length);
        self.0 = rest;
        Bytes::copy_from_slice(taken)
    }
}
