//! See `codecs::fuzz::http2_frames`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| codecs::fuzz::http2_frames(data));
