//! What sort of request one is: equal for requests that differ only in their ids and literals.

/// Bytes that are looked at, after runs have become one: what follows seldom tells sorts apart.
const LOOKED_AT: usize = 160;

/// A hash of what requests of one sort have in common. Not all different sorts have different ones.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Likeness(u64);

impl Likeness {
    /// Of an HTTP request: its method and path, without segments that have digits in them, and without the query.
    #[must_use]
    pub fn of_http(method: &[u8], target: &[u8]) -> Self {
        let path = target.split(|&byte| byte == b'?').next().unwrap_or_default();
        let mut hash = Hash::new();
        method.iter().for_each(|&byte| hash.add(byte));
        for segment in path.split(|&byte| byte == b'/') {
            hash.add(b'/');
            if segment.iter().any(u8::is_ascii_digit) {
                hash.add(b'*');
            } else {
                segment.iter().for_each(|&byte| hash.add(byte));
            }
        }
        hash.likeness()
    }

    /// Of an SQL text: without numbers and what is in quotes.
    #[must_use]
    pub fn of_sql(text: &[u8]) -> Self {
        let mut hash = Hash::new();
        let (mut quoted, mut in_number, mut after_quotes) = (false, false, false);
        for &byte in text {
            if hash.count >= LOOKED_AT {
                break;
            }
            if byte == b'\'' {
                quoted = !quoted;
                // A doubled quote belongs to the text.
                if quoted && !after_quotes {
                    hash.add(b'?');
                }
                after_quotes = true;
            } else if !quoted {
                after_quotes = false;
                let digit = byte.is_ascii_digit();
                if !(digit && in_number) {
                    hash.add(if digit { b'0' } else { byte });
                }
                in_number = digit;
            }
        }
        hash.likeness()
    }
}

/// FNV-1a, 64 bits: the same in every run.
struct Hash {
    state: u64,
    count: usize,
}

impl Hash {
    fn new() -> Self {
        Self { state: 0xcbf2_9ce4_8422_2325, count: 0 }
    }

    fn add(&mut self, byte: u8) {
        if self.count < LOOKED_AT {
            self.state = (self.state ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
            self.count += 1;
        }
    }

    fn likeness(&self) -> Likeness {
        Likeness(self.state)
    }
}

#[cfg(test)]
mod tests {
    use super::Likeness;

    #[test]
    fn ids_do_not_count() {
        let http = |target: &str| Likeness::of_http(b"GET", target.as_bytes());
        assert_eq!(http("/orders/17/lines?page=2"), http("/orders/4711/lines"));
        assert_ne!(http("/orders/17/lines"), http("/orders/17"));
        assert_ne!(http("/orders"), Likeness::of_http(b"PUT", b"/orders"));
        let sql = |text: &str| Likeness::of_sql(text.as_bytes());
        assert_eq!(
            sql("SELECT * FROM a WHERE b = 'it''s' AND c = 12"),
            sql("SELECT * FROM a WHERE b = 'no' AND c = 3")
        );
        assert_ne!(sql("SELECT * FROM a"), sql("SELECT * FROM b"));
        assert_eq!(sql("SELECT 'unfinished"), sql("SELECT '"));
    }
}
