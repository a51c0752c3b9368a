//! TCP segments of a packet capture as tshark reads them, over IPv4 and IPv6: who sent what, with which options.

use std::{collections::BTreeSet, path::Path, process::Command};

use anyhow::{Context as _, Result, ensure};

/// A segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Port of who sent it.
    pub source: u16,
    /// Sequence number, as it stands in the header.
    pub sequence: u32,
    /// Bytes of payload.
    pub length: usize,
    /// It ends its direction (FIN).
    pub ends: bool,
    /// The options, each with its kind and length.
    pub options: Vec<Vec<u8>>,
}

impl Segment {
    /// The option of a kind.
    #[must_use]
    pub fn option(&self, kind: u8) -> Option<&[u8]> {
        self.options.iter().find(|option| option.first() == Some(&kind)).map(Vec::as_slice)
    }

    /// The kinds of its options.
    #[must_use]
    pub fn kinds(&self) -> BTreeSet<u8> {
        self.options.iter().filter_map(|option| option.first().copied()).collect()
    }
}

/// All TCP segments of a file, in their order.
pub fn read(file: &Path) -> Result<Vec<Segment>> {
    let output = Command::new("tshark")
        .args(["-n", "-o", "tcp.desegment_tcp_streams:FALSE", "-T", "fields", "-E", "separator=/t"])
        .args(
            ["tcp.srcport", "tcp.seq_raw", "tcp.len", "tcp.flags.fin", "tcp.options"]
                .map(|field| ["-e", field])
                .as_flattened(),
        )
        .args(["-Y", "tcp", "-r"])
        .arg(file)
        .output()
        .context("tshark could not be started; `cargo xtask setup` installs it")?;
    ensure!(output.status.success(), "tshark: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout)?.lines().map(segment).collect()
}

fn segment(line: &str) -> Result<Segment> {
    let mut fields = line.split('\t');
    let mut next = || fields.next().with_context(|| line.to_owned());
    let (source, sequence, length) = (next()?.parse()?, next()?.parse()?, next()?.parse()?);
    let ends = matches!(next()?, "1" | "True");
    Ok(Segment { source, sequence, length, ends, options: options(&bytes(next()?)?)? })
}

fn bytes(digits: &str) -> Result<Vec<u8>> {
    let digits: String = digits.chars().filter(|digit| *digit != ':').collect();
    let byte = |pair: &[u8]| Ok(u8::from_str_radix(std::str::from_utf8(pair)?, 16)?);
    digits.as_bytes().chunks(2).map(byte).collect()
}

/// Options one by one (RFC 9293 §3.2).
fn options(mut bytes: &[u8]) -> Result<Vec<Vec<u8>>> {
    const END: u8 = 0;
    const NO_OPERATION: u8 = 1;
    let mut options = Vec::new();
    while let Some((&kind, rest)) = bytes.split_first() {
        match kind {
            END => break,
            NO_OPERATION => bytes = rest,
            _ => {
                let length = usize::from(*rest.first().context("an option's length")?);
                let (option, rest) = bytes.split_at_checked(length.max(2)).context("an option's end")?;
                options.push(option.to_vec());
                bytes = rest;
            }
        }
    }
    Ok(options)
}
