//! The symbols of an ELF file: what its linker exports, and what it tells debuggers where that was not stripped.

use object::{
    Endianness, ReadRef,
    elf::{FileHeader64, SHT_DYNSYM, SHT_SYMTAB, Sym64},
    read::elf::{SectionHeader as _, SectionTable, Sym as _},
};

/// The tables of a file.
pub type Sections<'a, R> = SectionTable<'a, FileHeader64<Endianness>, R>;

/// One of its two symbol tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Symbols {
    /// What other files may use.
    Exported,
    /// Everything, for debuggers; the linker's `--strip-all` leaves it out.
    All,
}

impl Symbols {
    fn section(self) -> u32 {
        match self {
            Self::Exported => SHT_DYNSYM,
            Self::All => SHT_SYMTAB,
        }
    }

    /// The largest table that is searched, bytes: the largest programs' have a tenth of it. A library exports some thousands of
    /// symbols (24 bytes each).
    fn limit(self) -> u64 {
        match self {
            Self::Exported => 4 * 1024 * 1024,
            Self::All => 64 * 1024 * 1024,
        }
    }

    /// The first `N` symbols of the file, not those that it wants of others, for which this holds.
    pub fn find<'a, R: ReadRef<'a>, const N: usize>(
        self,
        sections: &Sections<'a, R>,
        endian: Endianness,
        data: R,
        wanted: impl Fn(&[u8], &'a Sym64<Endianness>) -> bool,
    ) -> [Option<&'a Sym64<Endianness>>; N] {
        let mut found = [None; N];
        let table = sections.iter().find(|section| section.sh_type(endian) == self.section());
        if table.is_none_or(|table| table.sh_size(endian) > self.limit()) {
            return found;
        }
        let Ok(symbols) = sections.symbols(endian, data, self.section()) else { return found };
        let matching = symbols.iter().filter(|symbol| {
            !symbol.is_undefined(endian)
                && symbol.name(endian, symbols.strings()).is_ok_and(|name| wanted(name, symbol))
        });
        for (place, symbol) in found.iter_mut().zip(matching) {
            *place = Some(symbol);
        }
        found
    }

    /// The value of the symbol of this name.
    pub fn value<'a, R: ReadRef<'a>>(
        self,
        sections: &Sections<'a, R>,
        endian: Endianness,
        data: R,
        name: &[u8],
    ) -> Option<u64> {
        let [symbol] = self.find(sections, endian, data, |found, _| found == name);
        Some(symbol?.st_value(endian))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use object::read::elf::FileHeader as _;

    use super::*;

    /// A symbol of this very test's executable.
    fn symbol(table: Symbols, name: &[u8]) -> Option<u64> {
        let bytes = std::fs::read("/proc/self/exe").unwrap();
        let header = FileHeader64::<Endianness>::parse(bytes.as_slice()).unwrap();
        let endian = header.endian().unwrap();
        let sections = header.sections(endian, bytes.as_slice()).unwrap();
        table.value(&sections, endian, bytes.as_slice(), name)
    }

    #[test]
    fn symbols_are_found_by_their_whole_names() {
        assert!(symbol(Symbols::All, b"main").is_some_and(|value| value != 0));
        assert_eq!(symbol(Symbols::All, b"mai"), None);
        assert_eq!(symbol(Symbols::All, b"no such symbol"), None);
    }

    #[test]
    fn what_a_file_wants_of_others_is_not_its_own() {
        assert_eq!(symbol(Symbols::Exported, b"read"), None);
    }
}
