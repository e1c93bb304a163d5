//! See `codecs::fuzz::http2_talk`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| codecs::fuzz::http2_talk(data));
