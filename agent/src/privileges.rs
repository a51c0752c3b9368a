//! Giving up privileges: what loading needed and running does not (capabilities(7), docs/security.md).
//!
//! Capabilities and "no new privileges" belong to a thread, and a new thread has its creator's. So each thread gives up its own:
//! the main one when everything is attached, those for the collector and for reading identities when they begin.

use rustix::{
    io::{Errno, Result},
    process::{DumpableBehavior, set_dumpable_behavior},
    thread::{
        CapabilitySet, CapabilitySets, capabilities, capability_is_in_bounding_set,
        remove_capability_from_bounding_set, set_capabilities, set_no_new_privs,
    },
};

/// From this kernel on a map may be read and written through its descriptor whatever `kernel.unprivileged_bpf_disabled` says;
/// before, it takes `CAP_BPF` (bpf(2); Linux 5.19, `__sys_bpf`).
const FREE_MAPS: (u32, u32) = (5, 19);

/// What looking at processes takes: other users' executables, folders and namespaces, and their descriptors and environments.
pub const LOOKING: CapabilitySet = CapabilitySet::SYS_PTRACE.union(CapabilitySet::DAC_READ_SEARCH);

/// What capturing takes once everything is attached, on a kernel of version `major, minor`: looking at processes that appear,
/// putting programs into the functions of those that are Go's (perf_event_open(2)), and using BPF maps.
#[must_use]
pub fn capturing(kernel: (u32, u32)) -> CapabilitySet {
    let needed = LOOKING | CapabilitySet::PERFMON;
    if kernel < FREE_MAPS { needed | CapabilitySet::BPF } else { needed }
}

/// Gives up for good all capabilities of the calling thread but those in `kept` that it has, in all its capability sets, and the way back: programs that it or
/// its children would execute gain nothing either. Threads that it starts have what it has left.
///
/// # Errors
/// When the kernel refuses, which it has no reason to.
pub fn give_up_all_but(kept: CapabilitySet) -> Result<()> {
    let had = capabilities(None)?;
    // First, while there may be CAP_SETPCAP. Without it the bounding set stays as it is, and nothing can be gained from it,
    // because of what follows.
    if had.effective.contains(CapabilitySet::SETPCAP) {
        for capability in (0..u64::BITS).map(|number| CapabilitySet::from_bits_retain(1 << number)) {
            match capability_is_in_bounding_set(capability) {
                Ok(true) if !kept.contains(capability) => remove_capability_from_bounding_set(capability)?,
                Ok(_) => {}
                Err(Errno::INVAL) => break, // beyond the last one that this kernel knows
                Err(error) => return Err(error),
            }
        }
    }
    set_no_new_privs(true)?;
    // Ambient capabilities go with the inheritable ones.
    set_capabilities(
        None,
        CapabilitySets {
            effective: had.effective & kept,
            permitted: had.permitted & kept,
            inheritable: CapabilitySet::empty(),
        },
    )
}

/// No core dump of this process and no debugger of the same user: its memory holds bytes of others.
///
/// # Errors
/// When the kernel refuses, which it has no reason to.
pub fn close_memory() -> Result<()> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_need_a_capability_on_older_kernels_only() {
        let needed = LOOKING | CapabilitySet::PERFMON;
        assert_eq!(capturing((5, 18)), needed | CapabilitySet::BPF);
        assert_eq!(capturing((5, 19)), needed);
        assert_eq!(capturing((6, 1)), needed);
    }
}
