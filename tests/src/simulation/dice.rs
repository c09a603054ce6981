//! Seeded draws, in streams that do not disturb each other.

pub(super) use leasehold_testing::dice::Dice;
