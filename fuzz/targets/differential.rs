//! Fuzzes a mode and a body; the check stands in `checks.rs`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| leadwire_fuzz::differential(data));
