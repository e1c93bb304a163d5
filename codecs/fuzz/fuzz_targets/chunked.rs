//! See `codecs::fuzz::chunked`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| codecs::fuzz::chunked(data));
