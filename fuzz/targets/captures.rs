//! The fuzz target `captures`; see the library.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| syspan_fuzz::captures(data));
