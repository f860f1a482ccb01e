#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| foreshadow_fuzz::relay_v6::run(data));
