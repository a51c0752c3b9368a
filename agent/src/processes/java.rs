//! Where a Java process keeps what is read of its virtual threads (JEP 444, Java 21): the id of the one that a thread carries.
//!
//! HotSpot describes its structures itself ([`super::hotspot`]), so no version is asked for. Since Java 25.0.3 it tells where a thread's own
//! description has the id of the virtual thread that it carries. Before, it is in that one's object, which can only be read where it is moved
//! at no other time than while all threads that run Java are stopped: with the collectors Serial, Parallel and G1. Of others nothing is read.

use std::path::Path;

use super::{
    hotspot::{self, Tables},
    library,
    memory::Memory,
    proc::Proc,
};
use crate::event::Pid;

/// The name of the executable that starts it.
const NAME: &str = "java";
/// The virtual machine.
const LIBRARY: &str = "libjvm.so";
/// Flags of the collectors that move objects only while all threads are stopped.
const STOPPING: [&str; 3] = ["UseSerialGC", "UseParallelGC", "UseG1GC"];
/// The flag of a heap that is being collected so; its younger name first.
const COLLECTING: [&str; 2] = ["_is_stw_gc_active", "_is_gc_active"];

/// An address, and byte offsets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// Address of the pointer to the list of threads (`ThreadsSMRSupport::_java_thread_list`).
    pub threads: u64,
    /// In the list: how many there are, and the pointer to the array of pointers to them.
    pub length: u32,
    /// The same.
    pub array: u32,
    /// In a thread (`JavaThread`): the pointer to what the system knows of it.
    pub system: u32,
    /// There: the id that the system gives it.
    pub system_id: u32,
    /// How it is known what a thread carries.
    pub carried: Carried,
}

/// How it is known which virtual thread a thread carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carried {
    /// The thread says it.
    InThread {
        /// The pointer that is there while it carries one (`_cont_entry`).
        entry: u32,
        /// The id (`_monitor_owner_id`).
        id: u32,
    },
    /// The virtual thread's object says it.
    InObject {
        /// In the thread: the pointer to the one to its own object (`_threadObj`).
        own: u32,
        /// The same for the object of the thread that it runs, a virtual one or itself (`_vthread`).
        current: u32,
        /// In an object: the id (`java.lang.Thread`'s `tid`).
        id: u32,
        /// Address of the byte that is not 0 while objects are moved.
        collecting: u64,
    },
}

/// Whether a process seems to run Java, by its executable.
#[must_use]
pub fn is_java(exe: &Path) -> bool {
    exe.file_name().is_some_and(|name| name == NAME)
}

/// Finds it in a process; `None` also where the virtual machine is not loaded yet. (The executable may have been started just now.)
#[must_use]
pub fn find(proc: &Proc, pid: Pid) -> Option<Layout> {
    if !is_java(&proc.exe(pid)?) {
        return None;
    }
    let mappings = proc.mappings(pid, |path| path.file_name().is_some_and(|name| name == LIBRARY))?;
    let first = mappings.first()?;
    let symbols = library::inspect(&proc.file_in(pid, &first.path)?, first, |library| {
        let mut addresses = [0; hotspot::SYMBOLS.len()];
        for (address, name) in addresses.iter_mut().zip(hotspot::SYMBOLS) {
            *address = library.address(name)?;
        }
        Some(addresses)
    })?;
    layout(&proc.memory(pid)?, symbols)
}

fn layout(memory: &impl Memory, symbols: [u64; hotspot::SYMBOLS.len()]) -> Option<Layout> {
    let tables = &Tables::read(memory, symbols)?;
    let offset = |owner, field| u32::try_from(tables.offset(owner, field)?).ok();
    Some(Layout {
        threads: tables.address("ThreadsSMRSupport", "_java_thread_list")?,
        length: offset("ThreadsList", "_length")?,
        array: offset("ThreadsList", "_threads")?,
        system: offset("JavaThread", "_osthread").or_else(|| offset("Thread", "_osthread"))?,
        system_id: offset("OSThread", "_thread_id")?,
        carried: in_thread(tables).or_else(|| in_object(tables, memory))?,
    })
}

fn in_thread(tables: &Tables) -> Option<Carried> {
    let offset = |field| u32::try_from(tables.offset("JavaThread", field)?).ok();
    Some(Carried::InThread { entry: offset("_cont_entry")?, id: offset("_monitor_owner_id")? })
}

fn in_object(tables: &Tables, memory: &impl Memory) -> Option<Carried> {
    let handle = tables.offset("OopHandle", "_obj")?;
    let object = |field| u32::try_from(tables.offset("JavaThread", field)?.checked_add(handle)?).ok();
    let (own, current) = (object("_threadObj")?, object("_vthread")?);
    if !tables.has_flag(memory, &STOPPING)? {
        return None;
    }
    let heap = memory.word(tables.address("Universe", "_collectedHeap")?).filter(|heap| *heap != 0)?;
    let flag = COLLECTING.iter().find_map(|flag| tables.offset("CollectedHeap", flag))?;
    let class = tables.class(memory, "Thread")?;
    let id = hotspot::field_offset(tables, memory, class, "tid", "J").filter(|id| *id != 0)?;
    Some(Carried::InObject { own, current, id: u32::try_from(id).ok()?, collecting: heap.checked_add(flag)? })
}

#[cfg(test)]
#[path = "java_tests.rs"]
mod tests;
