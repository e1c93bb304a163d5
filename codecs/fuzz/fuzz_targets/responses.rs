//! See `codecs::fuzz::responses`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| codecs::fuzz::responses(data));
