#![no_main]

use leasehold_fuzzing::Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| leasehold_fuzzing::peer_messages(bytes));
