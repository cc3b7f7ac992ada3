//! See [`tidegate_fuzz::head_round_trip`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tidegate_fuzz::head_round_trip::check(data));
