#![no_main]

use leasehold_tests::fuzzing::{self, Counting};

#[global_allocator]
static COUNTING: Counting = Counting;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzzing::peer_requests(bytes));
