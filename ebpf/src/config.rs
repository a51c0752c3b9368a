//! The settings the agent writes before loading. They are read-only and known to the verifier as constants.

use syspan_abi::Config;

/// Overridden by the loader, by this name.
#[unsafe(no_mangle)]
// SAFETY: plain integers.
pub static CONFIG: Config = unsafe { core::mem::zeroed() };

/// Reads a setting where the loader left it.
#[inline(always)]
pub fn read<T>(setting: *const T) -> T {
    // SAFETY: only called on members of the static above.
    unsafe { core::ptr::read_volatile(setting) }
}

/// Reads one setting (`config!(head_limit)`, `config!(offsets.task_files)`), kept from being folded to the zeros above.
macro_rules! config {
    ($($field:ident).+ $([$index:expr])?) => {
        $crate::config::read(&raw const $crate::config::CONFIG.$($field).+ $([$index])?)
    };
}
pub(crate) use config;
