//! See `codecs::fuzz::tls_records`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| codecs::fuzz::tls_records(data));
