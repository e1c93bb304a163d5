//! See `codecs::fuzz::requests`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| codecs::fuzz::requests(data));
