//! The memory of a process, which may hold anything, and anything else at the next look.

use std::{fs::File, os::unix::fs::FileExt as _};

/// The longest text that is read, bytes.
const MAX_TEXT: usize = 128;

/// What can be read by addresses.
pub trait Memory {
    /// Reads from an address; how many bytes could be read.
    fn read(&self, address: u64, into: &mut [u8]) -> usize;

    /// Some bytes.
    fn bytes<const N: usize>(&self, address: u64) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        (self.read(address, &mut bytes) == N).then_some(bytes)
    }

    /// A word, which may be an address.
    fn word(&self, address: u64) -> Option<u64> {
        self.bytes(address).map(u64::from_ne_bytes)
    }

    /// Half a word.
    fn half(&self, address: u64) -> Option<u32> {
        self.bytes(address).map(u32::from_ne_bytes)
    }

    /// A text up to its NUL; `None` if it is long.
    fn text(&self, address: u64) -> Option<String> {
        let mut bytes = [0; MAX_TEXT];
        let length = self.read(address, &mut bytes);
        let read = bytes.get(..length)?;
        let text = read.get(..memchr::memchr(0, read)?)?;
        Some(str::from_utf8(text).ok()?.to_owned())
    }
}

/// `/proc/PID/mem`.
impl Memory for File {
    fn read(&self, address: u64, into: &mut [u8]) -> usize {
        self.read_at(into, address).unwrap_or(0)
    }
}

#[cfg(test)]
pub(super) mod fake {
    #![allow(clippy::indexing_slicing, reason = "tests")]

    use super::Memory;

    /// Some memory from an address on; what is before and behind it cannot be read.
    #[derive(Debug, Clone, Default)]
    pub(in super::super) struct Fake {
        pub(in super::super) start: u64,
        pub(in super::super) bytes: Vec<u8>,
    }

    impl Fake {
        /// Appends something, at an address that is a multiple of eight, which is given back.
        pub(in super::super) fn add(&mut self, bytes: &[u8]) -> u64 {
            self.bytes.resize(self.bytes.len().next_multiple_of(8), 0);
            let address = self.start + self.bytes.len() as u64;
            self.bytes.extend(bytes);
            address
        }

        /// Appends words.
        pub(in super::super) fn words(&mut self, words: &[u64]) -> u64 {
            let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
            self.add(&bytes)
        }

        /// Appends a text.
        pub(in super::super) fn named(&mut self, text: &str) -> u64 {
            self.add(format!("{text}\0").as_bytes())
        }
    }

    impl Memory for Fake {
        fn read(&self, address: u64, into: &mut [u8]) -> usize {
            let at = address.checked_sub(self.start).and_then(|at| usize::try_from(at).ok());
            let Some(rest) = at.and_then(|at| self.bytes.get(at..)) else { return 0 };
            let length = rest.len().min(into.len());
            into[..length].copy_from_slice(&rest[..length]);
            length
        }
    }

    #[test]
    fn texts_end_somewhere() {
        let mut memory = Fake { start: 0x1000, bytes: Vec::new() };
        let name = memory.named("JavaThread");
        let long = memory.named(&"x".repeat(1000));
        let last = memory.add(b"without an end");
        assert_eq!(memory.text(name).as_deref(), Some("JavaThread"));
        for address in [long, last, 0, 0xfff, u64::MAX] {
            assert_eq!(memory.text(address), None, "{address:#x}");
        }
        assert_eq!(memory.word(last + 10), None, "only four bytes are left");
    }
}
