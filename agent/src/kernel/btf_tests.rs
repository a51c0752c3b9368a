#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used, reason = "tests")]

use proptest::prelude::*;

use super::*;
use crate::kernel::offsets;

/// Writes BTF, type by type.
#[derive(Default)]
struct Blob {
    types: Vec<u8>,
    names: Vec<u8>,
}

impl Blob {
    fn new() -> Self {
        Self { types: Vec::new(), names: vec![0] }
    }

    fn words(&mut self, words: &[u32]) {
        self.types.extend(words.iter().flat_map(|word| word.to_ne_bytes()));
    }

    fn name(&mut self, name: &str) -> u32 {
        if name.is_empty() {
            return 0;
        }
        let offset = self.names.len() as u32;
        self.names.extend(name.as_bytes());
        self.names.push(0);
        offset
    }

    fn record(&mut self, name: &str, kind: u32, count: usize, flag: bool, size_or_type: u32) {
        let name = self.name(name);
        self.words(&[name, (kind << 24) | count as u32 | (u32::from(flag) << 31), size_or_type]);
    }

    fn composite(&mut self, kind: u32, name: &str, size: u32, flag: bool, members: &[(&str, u32, u32)]) {
        self.record(name, kind, members.len(), flag, size);
        for (name, kind, bits) in members {
            let name = self.name(name);
            self.words(&[name, *kind, *bits]);
        }
    }

    fn finish(self) -> Vec<u8> {
        let mut bytes = MAGIC.to_ne_bytes().to_vec();
        bytes.extend([1, 0]);
        let header = [HEADER as u32, 0, self.types.len() as u32, self.types.len() as u32, self.names.len() as u32];
        bytes.extend(header.iter().flat_map(|word| word.to_ne_bytes()));
        bytes.extend(self.types);
        bytes.extend(self.names);
        bytes
    }
}

/// A bit offset with the width of a bit-field, as they are packed when kind_flag is set.
fn bitfield(bits: u32, width: u32) -> u32 {
    (width << 24) | bits
}

/// `struct pair { int a; struct { int b; union { int c; struct inner d; }; }; const pair_t e; unsigned f: 3; };` and so on.
fn sample() -> Vec<u8> {
    let mut blob = Blob::new();
    blob.record("int", kind::INT, 0, false, 4); // 1
    blob.words(&[32]);
    blob.composite(kind::STRUCT, "inner", 8, false, &[("x", 1, 0), ("y", 1, 32)]); // 2
    blob.composite(kind::UNION, "", 8, false, &[("c", 1, 0), ("d", 2, 0)]); // 3
    blob.composite(kind::STRUCT, "", 12, false, &[("b", 1, 0), ("", 3, 32)]); // 4
    blob.record("inner_t", kind::TYPEDEF, 0, false, 2); // 5
    blob.record("", kind::CONST, 0, false, 5); // 6
    let members =
        [("a", 1, 0), ("", 4, 32), ("e", 6, 128), ("f", 1, bitfield(192, 3)), ("flexible", 8, 224), ("p", 9, 256)];
    blob.composite(kind::STRUCT, "pair", 40, true, &members); // 7
    blob.record("", kind::ARRAY, 0, false, 0); // 8
    blob.words(&[2, 1, 0]);
    blob.record("", kind::PTR, 0, false, 7); // 9
    blob.finish()
}

#[test]
fn finds_members_as_c_does() {
    let bytes = sample();
    let btf = Btf::parse(&bytes).unwrap();
    assert_eq!(btf.offset("pair", "a"), Ok(0));
    assert_eq!(btf.offset("pair", "b"), Ok(4), "in an anonymous struct");
    assert_eq!(btf.offset("pair", "c"), Ok(8), "in a union in an anonymous struct");
    assert_eq!(btf.offset("pair", "d.y"), Ok(12), "a dotted path");
    assert_eq!(btf.offset("pair", "e.y"), Ok(20), "through const and a typedef");
    assert_eq!(btf.offset("pair", "flexible"), Ok(28), "a flexible array begins where it stands");
    assert_eq!(btf.size("pair"), Ok(40));
    assert_eq!(btf.size("inner"), Ok(8));
}

#[test]
fn says_what_is_not_there() {
    let bytes = sample();
    let btf = Btf::parse(&bytes).unwrap();
    let no_member = |path: &str| Err(BtfError::NoMember("pair".to_owned(), path.to_owned()));
    assert_eq!(btf.offset("pair", "nothing"), no_member("nothing"));
    assert_eq!(btf.offset("pair", "f"), no_member("f"), "a bit-field has no byte offset");
    assert_eq!(btf.offset("pair", "p.a"), no_member("p.a"), "a pointer is not followed");
    assert_eq!(btf.offset("pair", ""), no_member(""));
    assert_eq!(btf.offset("other", "a"), Err(BtfError::NoStruct("other".to_owned())));
    assert_eq!(btf.offset("inner_t", "x"), Err(BtfError::NoStruct("inner_t".to_owned())), "a typedef is no struct tag");
    assert!(BtfError::Missing.to_string().contains("CONFIG_DEBUG_INFO_BTF"));
}

#[test]
fn refuses_what_is_not_btf() {
    for bytes in [&b""[..], b"\x9f", b"\x9f\xeb\x01\x00", b"\xeb\x9f\x01\x00aaaaaaaaaaaaaaaaaaaaaaaaaaaa", b"ELF"] {
        assert!(matches!(Btf::parse(bytes), Err(BtfError::Malformed(_))), "{bytes:?}");
    }
    let whole = sample();
    for length in 0..whole.len() {
        assert!(Btf::parse(&whole[..length]).is_err(), "cut off at {length}");
    }
    let mut blob = Blob::new();
    blob.record("future", 31, 0, false, 0);
    assert!(matches!(Btf::parse(&blob.finish()), Err(BtfError::Malformed("unknown kind of type"))));
}

#[test]
fn structures_that_contain_themselves_end() {
    // Each member is an anonymous structure, the structure itself: 1000 ^ depth ways to look.
    let mut blob = Blob::new();
    let members: Vec<(&str, u32, u32)> = vec![("", 1, 0); 1000];
    blob.composite(kind::STRUCT, "ouroboros", 8, false, &members);
    blob.record("loop", kind::TYPEDEF, 0, false, 2);
    blob.composite(kind::STRUCT, "typedef_loop", 8, false, &[("t", 2, 0)]);
    let bytes = blob.finish();
    let btf = Btf::parse(&bytes).unwrap();
    assert!(matches!(btf.offset("ouroboros", "x"), Err(BtfError::NoMember(..))));
    assert!(matches!(btf.offset("typedef_loop", "t.x"), Err(BtfError::NoMember(..))));
}

proptest! {
    #[test]
    fn arbitrary_bytes_do_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = Btf::parse(&bytes);
    }

    #[test]
    fn damaged_blobs_do_not_panic(damage in proptest::collection::vec((0_usize..400, any::<u8>()), 1..8)) {
        let mut bytes = sample();
        for (at, value) in damage {
            let at = at % bytes.len();
            bytes[at] = value;
        }
        if let Ok(btf) = Btf::parse(&bytes) {
            for path in ["a", "b", "d.y", "e.y", "p.a", "nothing"] {
                let _ = btf.offset("pair", path);
            }
            let _ = offsets::read(&btf);
        }
    }
}

#[test]
fn reads_the_running_kernel() {
    let Ok(bytes) = std::fs::read(std::path::Path::new("/").join(VMLINUX)) else {
        eprintln!("skipped: this machine's kernel shows no BTF");
        return;
    };
    let btf = Btf::parse(&bytes).unwrap();
    let offsets = offsets::read(&btf).unwrap();
    // The head of `struct sock_common` has been the same since 3.x (include/net/sock.h): tools without BTF rely on it.
    assert_eq!((offsets.sk_daddr, offsets.sk_rcv_saddr), (0, 4));
    assert_eq!((offsets.sk_dport, offsets.sk_num), (12, 14));
    assert_eq!((offsets.sk_family, offsets.sk_state), (16, 18));
    // `struct unix_address { refcount_t refcnt; int len; [unsigned hash;] struct sockaddr_un name[]; }`
    assert_eq!(offsets.unix_addr_len, 4);
    assert!(matches!(offsets.unix_addr_name, 8 | 12));
    assert_eq!(btf.size("sockaddr_un"), Ok(110));
    assert_eq!(btf.offset("sockaddr_un", "sun_path"), Ok(2));
    assert_eq!(
        btf.offset("net", "ns.inum").unwrap(),
        btf.offset("net", "ns").unwrap() + btf.offset("ns_common", "inum").unwrap()
    );
    for (structure, offset) in
        [("tcp_sock", offsets.tcp_write_seq), ("file", offsets.file_refs), ("inode", offsets.inode_ino)]
    {
        assert!(offset < btf.size(structure).unwrap());
    }
    assert_eq!(offsets.file_refs_last == 0, btf.offset("file", "f_ref").is_ok());
}
