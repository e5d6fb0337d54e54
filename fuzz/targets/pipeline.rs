//! Fuzzes a client's connection from its first byte to the upstream's last; the check stands in `pipeline.rs`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| leadwire_fuzz::pipeline(data));
