//! What HotSpot, the usual virtual machine of Java, tells debuggers of its own structures: the tables that its Serviceability Agent reads, to
//! which exported symbols lead (`gHotSpotVMStructs` and others, src/hotspot/share/runtime/vmStructs.cpp).
//!
//! All of it is memory of a process, which may hold anything: every loop and every text has a bound.

mod class;

use std::collections::HashMap;

use super::memory::Memory;

pub use class::field_offset;

/// Rows of a table that are looked at; a release has some 800.
const MAX_ROWS: u64 = 8192;
/// Its flags that are looked at; a release has some 1300.
const MAX_FLAGS: u64 = 8192;

/// The symbols, in the order in which [`Tables::read`] takes their addresses.
pub const SYMBOLS: [&[u8]; 10] = [
    b"gHotSpotVMStructs",
    b"gHotSpotVMStructEntryArrayStride",
    b"gHotSpotVMStructEntryTypeNameOffset",
    b"gHotSpotVMStructEntryFieldNameOffset",
    b"gHotSpotVMStructEntryOffsetOffset",
    b"gHotSpotVMStructEntryAddressOffset",
    b"gHotSpotVMTypes",
    b"gHotSpotVMTypeEntryArrayStride",
    b"gHotSpotVMTypeEntryTypeNameOffset",
    b"gHotSpotVMTypeEntrySizeOffset",
];

/// The types that are looked at.
const TYPES: [&str; 14] = [
    "Array<int>",
    "Array<u1>",
    "CollectedHeap",
    "ConstantPool",
    "InstanceKlass",
    "JVMFlag",
    "JavaThread",
    "OSThread",
    "OopHandle",
    "Symbol",
    "Thread",
    "ThreadsList",
    "ThreadsSMRSupport",
    "Universe",
];
/// And the classes that the machine itself knows.
const CLASSES: &str = "vmClasses";

/// A member of a structure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Member {
    /// Its place in the structure, bytes.
    offset: u64,
    /// Where it is, if there is only one of it.
    address: u64,
}

/// The tables.
#[derive(Debug, Clone, Default)]
pub struct Tables {
    members: HashMap<(String, String), Member>,
    /// Of types, bytes.
    sizes: HashMap<String, u64>,
}

impl Tables {
    /// Reads them in a process that has the symbols at these addresses.
    pub fn read(memory: &impl Memory, symbols: [u64; SYMBOLS.len()]) -> Option<Self> {
        let mut values = [0; SYMBOLS.len()];
        for (value, address) in values.iter_mut().zip(symbols) {
            *value = memory.word(address)?;
        }
        let [structs, struct_stride, type_name, field_name, offset, address, types, type_stride, name, size] = values;
        let mut tables = Self::default();
        for (row, owner) in rows(memory, structs, struct_stride, type_name) {
            if TYPES.contains(&owner.as_str()) || owner == CLASSES {
                let word = |place: u64| memory.word(row.checked_add(place)?);
                let member = Member { offset: word(offset)?, address: word(address)? };
                let Some(field) = memory.text(word(field_name)?) else { continue };
                tables.members.insert((owner, field), member);
            }
        }
        for (row, of) in rows(memory, types, type_stride, name) {
            if TYPES.contains(&of.as_str()) {
                tables.sizes.insert(of, memory.word(row.checked_add(size)?)?);
            }
        }
        Some(tables)
    }

    fn member(&self, owner: &str, field: &str) -> Option<Member> {
        self.members.get(&(owner.to_owned(), field.to_owned())).copied()
    }

    /// The place of a member in its structure, bytes.
    pub fn offset(&self, owner: &str, field: &str) -> Option<u64> {
        self.member(owner, field).map(|member| member.offset)
    }

    /// The address of a member of which there is only one.
    pub fn address(&self, owner: &str, field: &str) -> Option<u64> {
        self.member(owner, field).map(|member| member.address).filter(|address| *address != 0)
    }

    /// The size of a structure, bytes.
    fn size(&self, of: &str) -> Option<u64> {
        self.sizes.get(of).copied()
    }

    /// The class of the machine's own with this name.
    pub fn class(&self, memory: &impl Memory, name: &str) -> Option<u64> {
        memory.word(self.address(CLASSES, &format!("_klasses[static_cast<int>(vmClassID::{name}_klass_knum)]"))?)
    }

    /// Whether one of these flags, which are `true` or `false`, is set (`-XX:+NAME`).
    pub fn has_flag(&self, memory: &impl Memory, names: &[&str]) -> Option<bool> {
        let flags = memory.word(self.address("JVMFlag", "flags")?)?;
        let count = memory.word(self.address("JVMFlag", "numFlags")?)?.min(MAX_FLAGS);
        let (size, name) = (self.size("JVMFlag")?, self.offset("JVMFlag", "_name")?);
        let value = self.offset("JVMFlag", "_addr")?;
        for number in 0..count {
            let flag = flags.checked_add(number.checked_mul(size)?)?;
            let Some(found) = memory.text(memory.word(flag.checked_add(name)?)?) else { continue };
            if names.contains(&found.as_str()) && memory.bytes(memory.word(flag.checked_add(value)?)?)? == [1] {
                return Some(true);
            }
        }
        Some(false)
    }
}

/// The rows of a table with the names of the types they are of; the first without a name ends it.
fn rows(memory: &impl Memory, table: u64, stride: u64, name: u64) -> impl Iterator<Item = (u64, String)> {
    (0..MAX_ROWS).map_while(move |number| {
        let row = table.checked_add(number.checked_mul(stride)?)?;
        let text = memory.word(row.checked_add(name)?).filter(|text| *text != 0)?;
        // One that is too long is no type that is looked at.
        Some((row, memory.text(text).unwrap_or_default()))
    })
}
