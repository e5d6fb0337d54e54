//! Fuzzes any bytes as a version's files; the check stands in `checks.rs`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| leadwire_fuzz::manifest(data));
