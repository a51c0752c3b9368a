//! Where objects of a class have a field: what `jdb` would read of its description (`InstanceKlass`), since Java 21.

use super::Tables;
use crate::processes::memory::Memory;

/// A longer description is not read, bytes.
const MAX_STREAM: u32 = 64 * 1024;
/// Bits of a field's flags behind which the stream has another number each (src/hotspot/share/oops/fieldInfo.hpp: an initial value, a
/// generic signature, a group of fields that many threads write).
const OPTIONAL: [u32; 3] = [1, 1 << 2, 1 << 4];
/// `JVM_ACC_STATIC`: it is no object's.
const STATIC: u32 = 8;

/// The place of a field in the objects of a class, bytes, by its name and its descriptor (JVM specification, 4.3.2).
pub fn field_offset(tables: &Tables, memory: &impl Memory, class: u64, name: &str, descriptor: &str) -> Option<u64> {
    let member = |field: &str| memory.word(class.checked_add(tables.offset("InstanceKlass", field)?)?);
    let (constants, stream) = (member("_constants")?, member("_fieldinfo_stream")?);
    let constants = constants.checked_add(tables.size("ConstantPool")?)?;
    let text = |index: u32| symbol(tables, memory, memory.word(constants.checked_add(u64::from(index) * 8)?)?);

    let length = memory.half(stream.checked_add(tables.offset("Array<int>", "_length")?)?)?;
    let mut bytes = vec![0; usize::try_from(length.min(MAX_STREAM)).ok()?];
    let start = stream.checked_add(tables.offset("Array<u1>", "_data")?)?;
    if memory.read(start, &mut bytes) != bytes.len() {
        return None;
    }
    let mut numbers = Numbers(&bytes);
    let (fields, _injected) = (numbers.next()?, numbers.next()?);
    for _ in 0..fields {
        let [of_name, of_descriptor, offset, access, flags] = numbers.some()?;
        for _ in OPTIONAL.iter().filter(|bit| flags & **bit != 0) {
            numbers.next()?;
        }
        if access & STATIC == 0
            && text(of_name).as_deref() == Some(name)
            && text(of_descriptor).as_deref() == Some(descriptor)
        {
            return Some(offset.into());
        }
    }
    None
}

fn symbol(tables: &Tables, memory: &impl Memory, address: u64) -> Option<String> {
    let length = u16::from_ne_bytes(memory.bytes(address.checked_add(tables.offset("Symbol", "_length")?)?)?);
    let mut bytes = vec![0; length.into()];
    let body = address.checked_add(tables.offset("Symbol", "_body")?)?;
    (memory.read(body, &mut bytes) == bytes.len()).then(|| String::from_utf8(bytes).ok())?
}

/// Numbers as HotSpot packs them (UNSIGNED5, src/hotspot/share/utilities/unsigned5.hpp): bytes of six bits and a bit each, the lowest first,
/// without the value 0; from 192 on another one follows, up to five.
struct Numbers<'a>(&'a [u8]);

impl Numbers<'_> {
    fn next(&mut self) -> Option<u32> {
        const LOW: u32 = 192;
        const MAX: u32 = 5;
        let mut sum = 0_u32;
        for place in 0..MAX {
            let (&byte, rest) = self.0.split_first()?;
            self.0 = rest;
            let byte = u32::from(byte);
            sum = sum.wrapping_add(byte.checked_sub(1)?.wrapping_shl(place * 6));
            if byte < LOW {
                break;
            }
        }
        Some(sum)
    }

    fn some<const N: usize>(&mut self) -> Option<[u32; N]> {
        let mut numbers = [0; N];
        for number in &mut numbers {
            *number = self.next()?;
        }
        Some(numbers)
    }
}

#[cfg(test)]
mod tests {
    use super::Numbers;

    #[test]
    fn numbers_are_packed() {
        // The first ones of java.lang.Thread's description in a JDK 21: 27 fields, 4 injected ones, `eetop`, and later one with a value.
        let mut stream = Numbers(b"\x1c\x05\xfd\x04\x40\x11\x43\x01\xdb\x08");
        let read: Vec<u32> = std::iter::from_fn(|| stream.next()).collect();
        assert_eq!(read, [27, 4, 444, 63, 16, 66, 0, 666]);
        let five = 254 * (1 + (1 << 6) + (1 << 12) + (1 << 18)) + (1 << 24);
        assert_eq!(Numbers(b"\xff\xff\xff\xff\x02\x01").some(), Some([five, 0]));
        assert_eq!(Numbers(b"\xff\xff").next(), None, "cut off");
        assert_eq!(Numbers(b"\0").next(), None, "no number begins so");
    }
}
