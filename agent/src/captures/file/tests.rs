#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::io::Cursor;

use proptest::prelude::*;

use super::*;

const ETHERNET: u16 = 1;
const RAW: u16 = 101;

/// A packet that was read: time, link type, bytes, length.
type Seen = (u64, i32, Vec<u8>, u64);

fn read(bytes: &[u8]) -> Result<Vec<Seen>, FileError> {
    let mut file = File::new("test".to_owned(), Cursor::new(bytes.to_vec()))?;
    let mut seen = Vec::new();
    while file.next(|packet| seen.push((packet.time, packet.link, packet.bytes.to_vec(), packet.length)))? {}
    Ok(seen)
}

/// Numbers as a machine of either byte order writes them.
#[derive(Clone, Copy)]
struct Order {
    big: bool,
}

const BOTH: [Order; 2] = [Order { big: false }, Order { big: true }];

impl Order {
    fn u16(self, value: u16) -> Vec<u8> {
        if self.big { value.to_be_bytes().to_vec() } else { value.to_le_bytes().to_vec() }
    }

    fn u32(self, value: u32) -> Vec<u8> {
        if self.big { value.to_be_bytes().to_vec() } else { value.to_le_bytes().to_vec() }
    }

    fn pcap(self, magic: u32, link: u32) -> Vec<u8> {
        [self.u32(magic), self.u16(2), self.u16(4), vec![0; 8], self.u32(65_535), self.u32(link)].concat()
    }

    fn record(self, seconds: u32, fraction: u32, bytes: &[u8], length: u32) -> Vec<u8> {
        let captured = u32::try_from(bytes.len()).unwrap();
        let header = [seconds, fraction, captured, length].map(|field| self.u32(field));
        [header.concat(), bytes.to_vec()].concat()
    }

    fn block(self, kind: u32, body: &[u8]) -> Vec<u8> {
        let mut body = body.to_vec();
        body.resize(body.len().next_multiple_of(4), 0);
        let length = self.u32(u32::try_from(body.len() + 12).unwrap());
        [self.u32(kind), length.clone(), body, length].concat()
    }

    fn section(self) -> Vec<u8> {
        self.block(0x0a0d_0d0a, &[self.u32(0x1a2b_3c4d), self.u16(1), self.u16(0), vec![0xff; 8]].concat())
    }

    fn option(self, code: u16, value: &[u8]) -> Vec<u8> {
        let mut padded = value.to_vec();
        padded.resize(padded.len().next_multiple_of(4), 0);
        [self.u16(code), self.u16(u16::try_from(value.len()).unwrap()), padded].concat()
    }

    fn interface(self, link: u16, snap_length: u32, options: &[Vec<u8>]) -> Vec<u8> {
        let end = if options.is_empty() { vec![] } else { vec![0; 4] };
        self.block(1, &[self.u16(link), self.u16(0), self.u32(snap_length), options.concat(), end].concat())
    }

    fn packet(self, interface: u32, time: u64, bytes: &[u8], length: u32) -> Vec<u8> {
        let (high, low) = ((time >> 32) as u32, time as u32);
        let captured = u32::try_from(bytes.len()).unwrap();
        let header = [interface, high, low, captured, length].map(|field| self.u32(field));
        self.block(6, &[header.concat(), bytes.to_vec()].concat())
    }
}

#[test]
fn pcap_in_both_byte_orders_and_resolutions() {
    for order in BOTH {
        for (magic, nanoseconds) in [(0xa1b2_c3d4, 123_456_000), (0xa1b2_3c4d, 123_456)] {
            let file = [order.pcap(magic, 1), order.record(5, 123_456, b"one", 3), order.record(6, 0, b"tw", 9)];
            let expected =
                [(5_000_000_000 + nanoseconds, 1, b"one".to_vec(), 3), (6_000_000_000, 1, b"tw".to_vec(), 9)];
            assert_eq!(read(&file.concat()).unwrap(), expected);
            assert!(File::is_capture(&file.concat()));
        }
    }
}

#[test]
fn pcapng_in_both_byte_orders_with_each_interface_its_own_times() {
    const OFFSET: i64 = 100;
    for order in BOTH {
        let offset = if order.big { OFFSET.to_be_bytes() } else { OFFSET.to_le_bytes() };
        let file = [
            order.section(),
            order.interface(ETHERNET, 0, &[]),
            order.interface(RAW, 0, &[order.option(9, &[9])]),
            order.interface(RAW, 0, &[order.option(9, &[0x80 | 10]), order.option(14, &offset)]),
            order.block(5, &[0; 16]), // statistics
            order.packet(0, 5_000_001, b"one", 3),
            order.packet(1, 5_000_000_001, b"two", 3),
            order.packet(2, 5 * 1024 + 512, b"three", 9),
            order.packet(3, 7, b"of no interface", 15),
            order.block(3, &[order.u32(6), b"simple".to_vec()].concat()),
            order.block(0x0bad_0bad, b"something else"),
            // Another section, with interfaces of its own.
            order.section(),
            order.interface(RAW, 4, &[]),
            order.block(3, &[order.u32(6), b"simp".to_vec()].concat()),
        ];
        let expected = [
            (5_000_001_000, 1, b"one".to_vec(), 3),
            (5_000_000_001, 101, b"two".to_vec(), 3),
            (105_500_000_000, 101, b"three".to_vec(), 9),
            (105_500_000_000, UNKNOWN_LINK, b"of no interface".to_vec(), 15),
            (105_500_000_000, 1, b"simple".to_vec(), 6),
            (105_500_000_000, 101, b"simp".to_vec(), 6),
        ];
        assert_eq!(read(&file.concat()).unwrap(), expected);
    }
}

#[test]
fn extreme_resolutions_are_no_overflow() {
    assert_eq!(Resolution::of(0).nanoseconds(7), 7_000_000_000);
    assert_eq!(Resolution::of(0).nanoseconds(u64::MAX), u64::MAX);
    assert_eq!(Resolution::of(0x7f).nanoseconds(u64::MAX), 0);
    assert_eq!(Resolution::of(0xff).nanoseconds(u64::MAX), 0);
    assert_eq!(Resolution::of(0x80).nanoseconds(7), 7_000_000_000);
}

#[test]
fn packets_larger_than_the_buffer() {
    let order = BOTH[0];
    let large = vec![b'x'; 3 * BUFFER];
    let file = [order.pcap(0xa1b2_c3d4, 1), order.record(1, 0, &large, 9), order.record(2, 0, b"small", 5)].concat();
    let lengths: Vec<usize> = read(&file).unwrap().iter().map(|(_, _, bytes, _)| bytes.len()).collect();
    assert_eq!(lengths, [large.len(), 5]);
}

#[test]
fn a_file_that_was_cut_off_has_the_packets_before() {
    let order = BOTH[0];
    let pcap = [order.pcap(0xa1b2_c3d4, 1), order.record(1, 0, b"one!", 4), order.record(2, 0, b"two!", 4)].concat();
    for cut in 24..pcap.len() {
        let packets = read(&pcap[..cut]).unwrap().len();
        assert_eq!(packets, usize::from(cut >= 44), "cut at {cut}");
    }
    let pcapng = [order.section(), order.interface(ETHERNET, 0, &[]), order.packet(0, 1, b"one!", 4)].concat();
    let whole = pcapng.len();
    let pcapng = [pcapng, order.packet(0, 2, b"two!", 4)].concat();
    for cut in whole..pcapng.len() {
        assert_eq!(read(&pcapng[..cut]).unwrap().len(), 1, "cut at {cut}");
    }
}

#[test]
fn what_cannot_be_read_is_said_in_words() {
    let order = BOTH[0];
    let error = |bytes: &[u8]| read(bytes).unwrap_err().to_string();
    assert!(error(&order.pcap(0xa1b2_c3d4, 1)[..10]).contains("test is a damaged packet capture"));
    assert!(error(&order.pcap(0xa1b2_c3d4, 105)).contains("link type 105"));
    let monstrous = [order.u32(1), order.u32(0), order.u32(u32::MAX), order.u32(4)].concat();
    let file = [order.pcap(0xa1b2_c3d4, 1), order.record(1, 0, b"one!", 4), monstrous, vec![0; BUFFER]].concat();
    assert!(error(&file).contains("what follows byte 44"), "{}", error(&file));
    let mut block = order.packet(0, 1, b"one!", 4);
    let last = block.len() - 4;
    block[last] += 4; // its length at the end is another one
    let file = [order.section(), order.interface(ETHERNET, 0, &[]), block].concat();
    assert!(error(&file).contains("what follows byte 48"), "{}", error(&file));
}

proptest! {
    /// Nothing that a file can hold makes it panic or hang.
    #[test]
    fn random_bytes(magic in prop::sample::select(MAGICS.to_vec()), rest in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = read(&[magic.to_vec(), rest].concat());
    }

    /// The same for a good file with a few bad bytes.
    #[test]
    fn damaged_files(big: bool, at in prop::collection::vec((0usize..200, any::<u8>()), 1..6), ng: bool) {
        let order = Order { big };
        let mut file = if ng {
            let options = [order.option(9, &[9]), order.option(14, &[0; 8])];
            [order.section(), order.interface(ETHERNET, 100, &options), order.packet(0, 7, b"hello", 5), order.packet(0, 8, b"again", 5)].concat()
        } else {
            [order.pcap(0xa1b2_c3d4, 1), order.record(1, 0, b"one!", 4), order.record(2, 0, b"two!", 4)].concat()
        };
        for (place, byte) in at {
            let length = file.len();
            file[place % length] = byte;
        }
        let _ = read(&file);
    }
}
