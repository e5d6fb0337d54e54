//! Fuzzes any text as a configuration; the check stands in `checks.rs`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| leadwire_fuzz::config(data));
