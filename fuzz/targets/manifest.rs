//! `leadwire_fuzz::manifest`, fed by libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| leadwire_fuzz::manifest(data));
