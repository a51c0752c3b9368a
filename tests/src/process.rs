//! What the kernel says of a process: CPU time, memory, descriptors and children.

use std::{collections::BTreeSet, fs, time::Duration};

use anyhow::{Context as _, Result};

/// CPU time (user and system) of a process and its children, all threads; proc(5), `stat` fields 14 and 15.
pub fn cpu(pid: u32) -> Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&path).with_context(|| path.clone())?;
    // The command name may contain anything; the last parenthesis ends it. Field 3 follows.
    let (_, fields) = stat.rsplit_once(')').with_context(|| path.clone())?;
    let ticks: u64 = fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(str::parse::<u64>)
        .sum::<Result<u64, _>>()
        .with_context(|| path.clone())?;
    let mut total = Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64);
    for child in children(pid)? {
        total += cpu(child)?;
    }
    Ok(total)
}

/// The processes that its first thread started and that have not ended.
pub fn children(pid: u32) -> Result<Vec<u32>> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
    children.split_whitespace().map(|child| Ok(child.parse()?)).collect()
}

/// The process and all that descend from it.
pub fn family(pid: u32) -> Result<BTreeSet<u32>> {
    let mut family = BTreeSet::from([pid]);
    for child in children(pid)? {
        family.extend(self::family(child)?);
    }
    Ok(family)
}

/// How many descriptors it has open.
pub fn descriptors(pid: u32) -> Result<usize> {
    let folder = format!("/proc/{pid}/fd");
    Ok(fs::read_dir(&folder).with_context(|| folder.clone())?.count())
}

/// Memory of a process, bytes.
#[derive(Debug, Clone, Copy)]
pub struct Memory {
    /// Resident now (`VmRSS`).
    pub resident: u64,
    /// Most ever resident (`VmHWM`).
    pub peak: u64,
}

/// Memory of one process.
pub fn memory(pid: u32) -> Result<Memory> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).with_context(|| path.clone())?;
    let field = |name: &str| -> Result<u64> {
        let line =
            status.lines().find_map(|line| line.strip_prefix(name)).with_context(|| format!("{path}: {name}"))?;
        Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
    };
    Ok(Memory { resident: field("VmRSS:")?, peak: field("VmHWM:")? })
}
