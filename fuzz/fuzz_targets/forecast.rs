#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| foreshadow_fuzz::forecast::run(data));
