//! See `codecs::fuzz::paths`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| codecs::fuzz::paths(data));
