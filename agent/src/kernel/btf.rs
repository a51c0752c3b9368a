//! Where the running kernel keeps the members of its structures, read from the type information it ships.
//!
//! The format is BTF (kernel documentation, `Documentation/bpf/btf.rst`): a header, a section of type records that refer
//! to each other by number, and a section of names. Only what answers "at which byte is this member" is understood;
//! everything else is stepped over. The bytes are not trusted: every access is checked and every search is bounded.

use std::collections::HashMap;

/// Where the kernel shows its own BTF.
pub const VMLINUX: &str = "sys/kernel/btf/vmlinux";

/// `BTF_MAGIC`, in the byte order of the machine that wrote it.
const MAGIC: u16 = 0xeb9f;
/// Size of the header fields this reader knows; a later kernel may append others (`hdr_len` says so).
const HEADER: usize = 24;
/// Size of the part every type record begins with (`struct btf_type`).
const RECORD: usize = 12;
/// Size of a struct or union member (`struct btf_member`).
const MEMBER: usize = 12;
/// How many members one look-up may visit. The kernel's largest structures have some hundred, anonymous ones included;
/// records that contain themselves must not keep the search going.
const SEARCH_BUDGET: usize = 100_000;
/// How many typedefs and qualifiers may stand in front of a structure (the kernel has two or three).
const MAX_MODIFIERS: usize = 32;
/// How deep anonymous structures may be nested (the kernel has four or five).
const MAX_DEPTH: usize = 16;

/// Why the kernel's type information does not answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BtfError {
    /// The kernel was built without it, or sysfs is not mounted.
    #[error(
        "this kernel has no type information at /{VMLINUX}: use one built with CONFIG_DEBUG_INFO_BTF=y and mount sysfs"
    )]
    Missing,
    /// The bytes break the format.
    #[error("the kernel's type information cannot be read ({0}): report this together with `uname -r`")]
    Malformed(&'static str),
    /// No structure has this name.
    #[error("this kernel has no `struct {0}`: syspan does not support it yet, report this together with `uname -r`")]
    NoStruct(String),
    /// The structure has no such member, or it is a bit-field, which has no byte offset.
    #[error(
        "this kernel's `struct {0}` has no plain member `{1}`: syspan does not support it yet, report this together with `uname -r`"
    )]
    NoMember(String, String),
}

/// The kinds of type records that matter here (`BTF_KIND_*`).
mod kind {
    pub(super) const INT: u32 = 1;
    pub(super) const PTR: u32 = 2;
    pub(super) const ARRAY: u32 = 3;
    pub(super) const STRUCT: u32 = 4;
    pub(super) const UNION: u32 = 5;
    pub(super) const ENUM: u32 = 6;
    pub(super) const FWD: u32 = 7;
    pub(super) const TYPEDEF: u32 = 8;
    pub(super) const VOLATILE: u32 = 9;
    pub(super) const CONST: u32 = 10;
    pub(super) const RESTRICT: u32 = 11;
    pub(super) const FUNC: u32 = 12;
    pub(super) const FUNC_PROTO: u32 = 13;
    pub(super) const VAR: u32 = 14;
    pub(super) const DATASEC: u32 = 15;
    pub(super) const FLOAT: u32 = 16;
    pub(super) const DECL_TAG: u32 = 17;
    pub(super) const TYPE_TAG: u32 = 18;
    pub(super) const ENUM64: u32 = 19;
}

/// A type record's common part.
#[derive(Clone, Copy)]
struct Record<'a> {
    name: u32,
    info: u32,
    /// Size in bytes of a structure, or the type a typedef or qualifier refers to.
    size_or_type: u32,
    /// What follows it, up to the end of the section.
    rest: &'a [u8],
}

impl<'a> Record<'a> {
    fn at(types: &'a [u8], offset: usize) -> Option<Self> {
        Some(Self {
            name: u32_at(types, offset)?,
            info: u32_at(types, offset.checked_add(4)?)?,
            size_or_type: u32_at(types, offset.checked_add(8)?)?,
            rest: types.get(offset.checked_add(RECORD)?..)?,
        })
    }

    fn kind(self) -> u32 {
        (self.info >> 24) & 0x1f
    }

    fn is_composite(self) -> bool {
        matches!(self.kind(), kind::STRUCT | kind::UNION)
    }

    /// How many members, values or parameters follow.
    fn count(self) -> usize {
        (self.info & 0xffff) as usize
    }

    /// Bytes of the record behind its common part, `None` for a kind this reader does not know.
    fn extra(self) -> Option<usize> {
        let count = self.count();
        Some(match self.kind() {
            kind::PTR
            | kind::FWD
            | kind::TYPEDEF
            | kind::VOLATILE
            | kind::CONST
            | kind::RESTRICT
            | kind::FUNC
            | kind::FLOAT
            | kind::TYPE_TAG => 0,
            kind::INT | kind::VAR | kind::DECL_TAG => 4,
            kind::ARRAY => 12,
            kind::STRUCT | kind::UNION => count * MEMBER,
            kind::DATASEC | kind::ENUM64 => count * 12,
            kind::ENUM | kind::FUNC_PROTO => count * 8,
            _ => return None,
        })
    }

    fn members(self) -> impl Iterator<Item = Member> + 'a {
        // With kind_flag set, the offset's high byte is the width of a bit-field (0: none).
        let has_widths = self.info >> 31 == 1;
        self.rest.chunks_exact(MEMBER).take(self.count()).filter_map(move |bytes| {
            let offset = u32_at(bytes, 8)?;
            let (bits, width) = if has_widths { (offset & 0x00ff_ffff, offset >> 24) } else { (offset, 0) };
            Some(Member { name: u32_at(bytes, 0)?, kind: u32_at(bytes, 4)?, bits, bitfield: width != 0 })
        })
    }
}

/// A member of a structure.
#[derive(Clone, Copy)]
struct Member {
    name: u32,
    /// The number of its type.
    kind: u32,
    /// Offset from the beginning of the structure, in bits.
    bits: u32,
    bitfield: bool,
}

/// A kernel's type information.
#[derive(Debug)]
pub struct Btf<'a> {
    types: &'a [u8],
    names: &'a [u8],
    /// Where the record of type `n + 1` begins (type 0 is `void` and has none).
    records: Vec<u32>,
    /// The named structures and unions.
    structures: HashMap<&'a [u8], u32>,
}

impl<'a> Btf<'a> {
    /// Reads the header and finds the records.
    ///
    /// # Errors
    /// [`BtfError::Malformed`] when the bytes are not BTF of this machine's byte order, are cut off, or contain a kind
    /// of record that this reader cannot step over.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, BtfError> {
        let magic = bytes.first_chunk::<2>().map(|bytes| u16::from_ne_bytes(*bytes));
        if magic != Some(MAGIC) {
            return Err(BtfError::Malformed("no BTF header"));
        }
        let header = |offset| u32_at(bytes, offset).map(|value| value as usize);
        let section = |offset: Option<usize>, length: Option<usize>| {
            let start = header(4)?.checked_add(offset?)?;
            bytes.get(start..start.checked_add(length?)?)
        };
        if header(4).is_none_or(|length| length < HEADER) {
            return Err(BtfError::Malformed("header too short"));
        }
        let types = section(header(8), header(12)).ok_or(BtfError::Malformed("types out of bounds"))?;
        let names = section(header(16), header(20)).ok_or(BtfError::Malformed("names out of bounds"))?;
        let mut btf = Self { types, names, records: Vec::new(), structures: HashMap::new() };
        btf.index()?;
        Ok(btf)
    }

    /// Notes where each record begins, and the structures by their names.
    fn index(&mut self) -> Result<(), BtfError> {
        let mut offset = 0;
        while offset < self.types.len() {
            let record = Record::at(self.types, offset).ok_or(BtfError::Malformed("record cut off"))?;
            let extra = record.extra().ok_or(BtfError::Malformed("unknown kind of type"))?;
            if record.rest.len() < extra {
                return Err(BtfError::Malformed("record cut off"));
            }
            self.records.push(u32::try_from(offset).map_err(|_| BtfError::Malformed("too long"))?);
            if record.is_composite() && record.name != 0 {
                let number = u32::try_from(self.records.len()).map_err(|_| BtfError::Malformed("too long"))?;
                // Rarely, files of the kernel have different private structures of one name. None of those that are
                // asked for; the first is as good as any.
                self.structures.entry(self.name(record.name)).or_insert(number);
            }
            offset += RECORD + extra;
        }
        Ok(())
    }

    /// Offset in bytes of a member from the beginning of a named structure or union.
    ///
    /// A member of an anonymous inner structure is found by its own name, as in C; `outer.inner` descends into a member
    /// that is a structure itself.
    ///
    /// # Errors
    /// [`BtfError::NoStruct`] and [`BtfError::NoMember`] for what this kernel does not have.
    pub fn offset(&self, structure: &str, path: &str) -> Result<u32, BtfError> {
        let no_member = || BtfError::NoMember(structure.to_owned(), path.to_owned());
        let mut number = self.structure(structure)?;
        let mut bits = 0_u32;
        for name in path.split('.') {
            let mut budget = SEARCH_BUDGET;
            let member = self.member(number, name.as_bytes(), MAX_DEPTH, &mut budget).ok_or_else(no_member)?;
            if member.bitfield {
                return Err(no_member());
            }
            bits = bits.checked_add(member.bits).ok_or(BtfError::Malformed("offset too large"))?;
            number = member.kind;
        }
        if bits.is_multiple_of(8) { Ok(bits / 8) } else { Err(no_member()) }
    }

    /// Size in bytes of a named structure or union.
    ///
    /// # Errors
    /// [`BtfError::NoStruct`].
    pub fn size(&self, structure: &str) -> Result<u32, BtfError> {
        let number = self.structure(structure)?;
        self.record(number).map(|record| record.size_or_type).ok_or_else(|| BtfError::NoStruct(structure.to_owned()))
    }

    /// The number of a kernel function: what a program calls it by.
    #[must_use]
    pub fn function(&self, name: &str) -> Option<u32> {
        (1..).zip(&self.records).find_map(|(number, &offset)| {
            let record = Record::at(self.types, offset as usize)?;
            (record.kind() == kind::FUNC && self.name(record.name) == name.as_bytes()).then_some(number)
        })
    }

    fn structure(&self, name: &str) -> Result<u32, BtfError> {
        self.structures.get(name.as_bytes()).copied().ok_or_else(|| BtfError::NoStruct(name.to_owned()))
    }

    /// Finds a member by name; its offset is relative to the outermost structure.
    fn member(&self, number: u32, wanted: &[u8], depth: usize, budget: &mut usize) -> Option<Member> {
        let record = self.composite(number)?;
        for member in record.members() {
            *budget = budget.checked_sub(1)?;
            if member.name != 0 {
                if self.name(member.name) == wanted {
                    return Some(member);
                }
            } else if depth > 0
                && let Some(inner) = self.member(member.kind, wanted, depth - 1, budget)
            {
                return Some(Member { bits: member.bits.checked_add(inner.bits)?, ..inner });
            }
        }
        None
    }

    /// The structure or union a type number stands for, behind typedefs and qualifiers.
    fn composite(&self, mut number: u32) -> Option<Record<'a>> {
        for _ in 0..MAX_MODIFIERS {
            let record = self.record(number)?;
            match record.kind() {
                kind::STRUCT | kind::UNION => return Some(record),
                kind::TYPEDEF | kind::VOLATILE | kind::CONST | kind::RESTRICT | kind::TYPE_TAG => {
                    number = record.size_or_type;
                }
                _ => return None,
            }
        }
        None
    }

    fn record(&self, number: u32) -> Option<Record<'a>> {
        let index = number.checked_sub(1)? as usize;
        Record::at(self.types, *self.records.get(index)? as usize)
    }

    /// The NUL-terminated name at an offset; empty where the offset is wrong.
    fn name(&self, offset: u32) -> &'a [u8] {
        let rest = self.names.get(offset as usize..).unwrap_or_default();
        let length = memchr::memchr(0, rest).unwrap_or(0);
        rest.get(..length).unwrap_or_default()
    }
}

fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    bytes.get(offset..)?.first_chunk::<4>().map(|bytes| u32::from_ne_bytes(*bytes))
}

#[cfg(test)]
#[path = "btf_tests.rs"]
mod tests;
