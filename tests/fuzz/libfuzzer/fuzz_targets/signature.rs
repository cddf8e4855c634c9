//! The target `signature` for libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| cairn_libfuzzer::run("signature", data));
