//! The fuzz target `fastcgi`; see the library.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| syspan_fuzz::fastcgi(data));
