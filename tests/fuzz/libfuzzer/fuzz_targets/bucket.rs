//! The target `bucket` for libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| cairn_libfuzzer::run("bucket", data));
