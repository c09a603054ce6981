//! The atomics of the cell: those of `core`, or loom's, which try every order that the memory model allows.

#[cfg(not(loom))]
pub(crate) use core::{
    hint::spin_loop,
    sync::atomic::{Ordering, fence},
};

#[cfg(loom)]
pub(crate) use loom::{
    sync::atomic::{Ordering, fence},
    thread::yield_now as spin_loop,
};

#[cfg(all(target_has_atomic = "64", not(leasehold_halves)))]
pub(crate) use whole::{Version, Word};

#[cfg(any(not(target_has_atomic = "64"), leasehold_halves))]
pub(crate) use halves::{Version, Word};

#[cfg(all(target_has_atomic = "64", not(leasehold_halves)))]
mod whole {
    use super::Ordering;
    #[cfg(not(loom))]
    use core::sync::atomic::AtomicU64;
    #[cfg(loom)]
    use loom::sync::atomic::AtomicU64;

    /// The atomic number of a version.
    pub(crate) type Version = AtomicU64;

    /// A number that is loaded and stored in no particular order.
    #[derive(Debug, Default)]
    pub(crate) struct Word(AtomicU64);

    impl Word {
        #[inline]
        pub(crate) fn load(&self) -> u64 {
            self.0.load(Ordering::Relaxed)
        }

        pub(crate) fn store(&self, value: u64) {
            self.0.store(value, Ordering::Relaxed);
        }
    }
}

/// For platforms without 64-bit atomics. The two halves of a word may be of different versions, like two words.
#[cfg(any(not(target_has_atomic = "64"), leasehold_halves))]
mod halves {
    use super::Ordering;
    #[cfg(not(loom))]
    use core::sync::atomic::AtomicU32;
    #[cfg(loom)]
    use loom::sync::atomic::AtomicU32;

    /// The atomic number of a version. It starts again after four billion: a reader would have to be stopped, in the middle of
    /// a load, for exactly two billion publications to mistake one version for another.
    pub(crate) type Version = AtomicU32;

    /// A number that is loaded and stored in no particular order.
    #[derive(Debug, Default)]
    pub(crate) struct Word {
        low: AtomicU32,
        high: AtomicU32,
    }

    impl Word {
        pub(crate) fn load(&self) -> u64 {
            u64::from(self.high.load(Ordering::Relaxed)) << 32 | u64::from(self.low.load(Ordering::Relaxed))
        }

        pub(crate) fn store(&self, value: u64) {
            self.low.store(value as u32, Ordering::Relaxed);
            self.high.store((value >> 32) as u32, Ordering::Relaxed);
        }
    }
}
