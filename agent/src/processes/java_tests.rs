//! A virtual machine's own description of itself, as far as it is read, and damaged ones.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use proptest::prelude::*;

use super::*;
use crate::processes::memory::fake::Fake;

/// Puts a machine together. Its tables are appended last.
struct Machine {
    memory: Fake,
    /// Members: type, name, offset, address.
    members: Vec<[u64; 4]>,
    /// Types: name and size.
    types: Vec<[u64; 2]>,
}

impl Machine {
    fn new() -> Self {
        Self { memory: Fake { start: 0x7f00_0000_0000, bytes: Vec::new() }, members: Vec::new(), types: Vec::new() }
    }

    fn member(&mut self, owner: &str, name: &str, offset: u64, address: u64) {
        let (owner, name) = (self.memory.named(owner), self.memory.named(name));
        self.members.push([owner, name, offset, address]);
    }

    fn has(&mut self, name: &str, size: u64) {
        let name = self.memory.named(name);
        self.types.push([name, size]);
    }

    fn symbol(&mut self, text: &str) -> u64 {
        let mut bytes = vec![0; 4];
        bytes.extend((text.len() as u16).to_ne_bytes());
        bytes.extend(text.as_bytes());
        self.memory.add(&bytes)
    }

    /// What all versions have.
    fn describe(&mut self, list: u64) {
        self.member("ThreadsSMRSupport", "_java_thread_list", 0, list);
        self.member("ThreadsList", "_length", 4, 0);
        self.member("ThreadsList", "_threads", 16, 0);
        self.member("OSThread", "_thread_id", 192, 0);
    }

    /// What Java 21 has, with these flags.
    fn describe_objects(&mut self, flags: &[(&str, u8)]) {
        self.member("JavaThread", "_osthread", 784, 0);
        self.member("JavaThread", "_threadObj", 888, 0);
        self.member("JavaThread", "_vthread", 896, 0);
        self.member("OopHandle", "_obj", 0, 0);
        self.member("CollectedHeap", "_is_stw_gc_active", 48, 0);
        let heap = self.memory.words(&[HEAP]);
        self.member("Universe", "_collectedHeap", 0, heap);

        let mut array = Vec::new();
        for (name, value) in flags {
            array.extend([self.memory.add(&[*value]), self.memory.named(name), 0]);
        }
        let array = self.memory.words(&array);
        let place = self.memory.words(&[array, flags.len() as u64]);
        self.member("JVMFlag", "flags", 0, place);
        self.member("JVMFlag", "numFlags", 0, place + 8);
        self.member("JVMFlag", "_addr", 0, 0);
        self.member("JVMFlag", "_name", 8, 0);
        self.has("JVMFlag", 24);

        // `static int tid`, `Object tid`, and at last `long tid` at 24.
        let symbols = ["tid", "I", "Ljava/lang/Object;", "J"].map(|text| self.symbol(text));
        let constants = self.memory.words(&[&[0; 9], symbols.as_slice()].concat());
        let stream = [3, 0, 0, 1, 16, 8, 1, 77, 0, 2, 12, 2, 0, 0, 3, 24, 18, 0].map(|number| number + 1);
        let mut bytes = (stream.len() as u32).to_ne_bytes().to_vec();
        bytes.extend(stream);
        let stream = self.memory.add(&bytes);
        let class = self.memory.words(&[0, constants, stream]);
        let known = self.memory.words(&[class]);
        self.member("vmClasses", "_klasses[static_cast<int>(vmClassID::Thread_klass_knum)]", 0, known);
        self.member("InstanceKlass", "_constants", 8, 0);
        self.member("InstanceKlass", "_fieldinfo_stream", 16, 0);
        self.member("Symbol", "_length", 4, 0);
        self.member("Symbol", "_body", 6, 0);
        self.member("Array<int>", "_length", 0, 0);
        self.member("Array<u1>", "_data", 4, 0);
        self.has("ConstantPool", 72);
    }

    /// The addresses of the symbols, and the memory.
    fn finish(mut self) -> (Fake, [u64; hotspot::SYMBOLS.len()]) {
        let members: Vec<u64> = self.members.iter().flatten().copied().chain([0; 4]).collect();
        let types: Vec<u64> = self.types.iter().flatten().copied().chain([0; 2]).collect();
        let (members, types) = (self.memory.words(&members), self.memory.words(&types));
        let first = self.memory.words(&[members, 32, 0, 8, 16, 24, types, 16, 0, 8]);
        (self.memory, std::array::from_fn(|number| first + 8 * number as u64))
    }
}

const LIST: u64 = 0x7f00_dead_0000;
const HEAP: u64 = 0x7f00_beef_0000;
const IN_OBJECT: Carried = Carried::InObject { own: 888, current: 896, id: 24, collecting: HEAP + 48 };

fn with_flags(flags: &[(&str, u8)]) -> (Fake, [u64; hotspot::SYMBOLS.len()]) {
    let mut machine = Machine::new();
    machine.describe(LIST);
    machine.describe_objects(flags);
    machine.finish()
}

#[test]
fn ids_in_objects_are_found() {
    let (memory, symbols) = with_flags(&[("UseSerialGC", 0), ("UseZGC", 0), ("UseG1GC", 1)]);
    let expected = Layout { threads: LIST, length: 4, array: 16, system: 784, system_id: 192, carried: IN_OBJECT };
    assert_eq!(layout(&memory, symbols), Some(expected));
}

#[test]
fn objects_of_other_collectors_are_not_read() {
    let (memory, symbols) = with_flags(&[("UseSerialGC", 0), ("UseZGC", 1), ("UseG1GC", 0), ("UseParallelGC", 2)]);
    assert_eq!(layout(&memory, symbols), None);
}

#[test]
fn ids_in_threads_are_found() {
    let mut machine = Machine::new();
    machine.describe(LIST);
    machine.member("Thread", "_osthread", 1016, 0);
    machine.member("JavaThread", "_monitor_owner_id", 1312, 0);
    machine.member("JavaThread", "_cont_entry", 1560, 0);
    let (memory, symbols) = machine.finish();
    let found = layout(&memory, symbols).unwrap();
    assert_eq!((found.system, found.carried), (1016, Carried::InThread { entry: 1560, id: 1312 }));
}

#[test]
fn java_without_virtual_threads_is_left_alone() {
    let mut machine = Machine::new();
    machine.describe(LIST);
    machine.member("JavaThread", "_threadObj", 888, 0);
    machine.member("JavaThread", "_osthread", 784, 0);
    let (memory, symbols) = machine.finish();
    assert_eq!(layout(&memory, symbols), None);
}

#[test]
fn tables_without_an_end_are_not_read_for_ever() {
    let (mut memory, symbols) = with_flags(&[("UseG1GC", 1)]);
    // Rows that are all the same one: a stride of 0.
    for stride in [symbols[1], symbols[7]] {
        let at = (stride - memory.start) as usize;
        memory.bytes[at..at + 8].fill(0);
    }
    assert_eq!(layout(&memory, symbols), None);
    assert_eq!(layout(&memory, [u64::MAX; hotspot::SYMBOLS.len()]), None);
}

proptest! {
    #[test]
    fn damaged_memory_does_no_harm(damage in proptest::collection::vec((any::<usize>(), any::<u8>()), 1..24)) {
        let (mut memory, symbols) = with_flags(&[("UseSerialGC", 0), ("UseG1GC", 1)]);
        for (at, value) in damage {
            let at = at % memory.bytes.len();
            memory.bytes[at] = value;
        }
        let _ = layout(&memory, symbols);
    }
}
