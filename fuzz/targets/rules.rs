//! Fuzzes any bytes as a request's and an answer's body; the check stands in `checks.rs`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| leadwire_fuzz::rules(data));
