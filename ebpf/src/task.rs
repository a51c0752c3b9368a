//! Members of the calling task.

use aya_ebpf::helpers::{bpf_get_current_task, generated};

use crate::{config::config, socket::kernel};

/// A member of the calling task.
#[inline(always)]
pub fn member<T: Copy + Default>(offset: u32) -> T {
    if config!(typed_task) != 0 {
        // SAFETY: the verifier knows the type behind this address and checks that a member of this size is at the offset, which
        // it knows as a constant; a load that faults gives 0.
        return unsafe { core::ptr::read_volatile((typed() + offset as u64) as *const T) };
    }
    // SAFETY: plain helper.
    kernel(unsafe { bpf_get_current_task() }, offset)
}

/// The calling thread's id as it knows it itself: in the innermost of its pid namespaces.
#[inline(always)]
pub fn own_id() -> u32 {
    let ids: u64 = member(config!(offsets.task_ids));
    let level: u32 = kernel(ids, config!(offsets.pid_level));
    let own = level as u64 * config!(offsets.pid_next) as u64;
    kernel(ids.wrapping_add(own), config!(offsets.pid_number))
}

/// The calling task as an address whose type the verifier knows (since 5.11).
#[inline(always)]
fn typed() -> u64 {
    // SAFETY: plain helper.
    unsafe { generated::bpf_get_current_task_btf() as u64 }
}

/// The calling process's table of descriptors: how many there are, and where.
#[inline(always)]
fn table() -> (u32, u64) {
    if config!(typed_task) != 0 {
        // SAFETY: as in `member`; the verifier follows pointers between structures that it knows.
        unsafe {
            let files: u64 = load(typed() + config!(offsets.task_files) as u64);
            let table: u64 = load(files + config!(offsets.files_fdt) as u64);
            return (load(table + config!(offsets.fdt_max_fds) as u64), load(table + config!(offsets.fdt_fd) as u64));
        }
    }
    let files: u64 = member(config!(offsets.task_files));
    let table: u64 = kernel(files, config!(offsets.files_fdt));
    (kernel(table, config!(offsets.fdt_max_fds)), kernel(table, config!(offsets.fdt_fd)))
}

/// How many descriptors the calling process's table has room for.
#[inline(always)]
pub fn descriptors() -> u32 {
    table().0
}

/// The file of a descriptor of the calling process, an address in the kernel.
#[inline(always)]
pub fn file(descriptor: u64) -> Option<u64> {
    let (size, array) = table();
    // System calls take an `int`: the upper half does not count.
    let descriptor = descriptor as u32;
    if descriptor >= size {
        return None;
    }
    let file: u64 = kernel(array + descriptor as u64 * 8, 0);
    if file == 0 { None } else { Some(file) }
}

#[inline(always)]
unsafe fn load<T>(address: u64) -> T {
    // SAFETY: the caller's.
    unsafe { core::ptr::read_volatile(address as *const T) }
}
