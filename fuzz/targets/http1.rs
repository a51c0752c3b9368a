//! The fuzz target `http1`; see the library.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| syspan_fuzz::http1(data));
