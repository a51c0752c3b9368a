//! Go's http.Client: the goroutine that wants a request made hands it to the one that writes for the connection.
//!
//! `net/http.(*persistConn).roundTrip` is called by the first, `net/http.persistConnWriter.Write` by the second, each with the
//! connection. Attached to programs that have both, and only there (user-space probes, since 3.5).

use aya_ebpf::{
    EbpfContext as _,
    bindings::BPF_ANY,
    helpers::{bpf_get_current_pid_tgid, generated::bpf_ktime_get_ns},
    macros::{map, uprobe},
    maps::LruHashMap,
    programs::ProbeContext,
};
use syspan_abi::{Header, Kind, Observed, ProcessEvent, watch, works_for};

use crate::{
    config::config,
    emit,
    goroutine::{self, Parentage},
    socket::kernel,
    thread,
};

/// A connection of a process's http.Client.
#[repr(C)]
#[derive(Clone, Copy)]
struct Connection {
    /// The process.
    pid: u64,
    /// The address of its `persistConn`.
    address: u64,
}

/// A connection -> the goroutine that wants a request made on it.
#[map]
static CARRYING: LruHashMap<Connection, u32> = LruHashMap::with_max_entries(16_384, 0);

/// A process, and a goroutine that writes what others hand it -> who did so last.
#[map]
static HANDED: LruHashMap<u64, u32> = LruHashMap::with_max_entries(16_384, 0);

/// A goroutine of a process as a key.
#[inline(always)]
fn key(pid: u32, goroutine: u32) -> u64 {
    (pid as u64) << 32 | goroutine as u64
}

/// `(pc *persistConn) roundTrip(req)`, called by the goroutine whose request it is. It may have been started for that, and make no system
/// call of its own.
#[uprobe]
pub fn go_round_trip(context: ProbeContext) -> u32 {
    if let Some((connection, Parentage { id, started_by })) = called(&context) {
        let _ = CARRYING.insert(connection, id, BPF_ANY as u64);
        if started_by != 0 {
            // SAFETY: plain helper.
            let (time, tid) = (unsafe { bpf_ktime_get_ns() }, bpf_get_current_pid_tgid() as u32);
            let (kind, relation, pid) = (Kind::Goroutine as u16, works_for::STARTED, connection.pid as u32);
            let header =
                Header { kind, relation, pid, tid, time, goroutine: id, works_for: started_by, ..Header::default() };
            let event = ProcessEvent { header, other: 0, lock: 0, futex: 0 };
            emit::notice(&raw const event);
        }
    }
    0
}

/// `(w persistConnWriter) Write(p)`, called by the goroutine that writes for the connection, right before it does.
#[uprobe]
pub fn go_connection_write(context: ProbeContext) -> u32 {
    if let Some((connection, Parentage { id: goroutine, .. })) = called(&context)
        // SAFETY: one word of a map value.
        && let Some(&by) = unsafe { CARRYING.get(connection) }
    {
        let _ = HANDED.insert(key(connection.pid as u32, goroutine), by, BPF_ANY as u64);
    }
    0
}

/// The receiver of the method that is called, and the goroutine that calls it (Go's internal ABI has both in registers).
#[inline(always)]
fn called(context: &ProbeContext) -> Option<(Connection, Parentage)> {
    let pid = (bpf_get_current_pid_tgid() >> 32) as u32;
    let Observed { selection: _, watch, go } = thread::observed(pid)?;
    if watch & watch::HANDOVERS == 0 {
        return None;
    }
    let registers = context.as_ptr() as u64;
    let address: u64 = kernel(registers, config!(offsets.regs_receiver));
    let goroutine = goroutine::parentage(kernel(registers, config!(offsets.regs_running)), go);
    Some((Connection { pid: pid as u64, address }, goroutine))
}

/// Who handed this goroutine what it now writes; 0: nobody.
///
/// A function of its own with plain numbers as arguments, so that the verifier checks it once.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn handed_by(pid: u64, goroutine: u64) -> u64 {
    // SAFETY: one word of a map value.
    match unsafe { HANDED.get(key(pid as u32, goroutine as u32)) } {
        Some(&by) => by as u64,
        None => 0,
    }
}
