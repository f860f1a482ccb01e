#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| foreshadow_fuzz::import::run(data));
