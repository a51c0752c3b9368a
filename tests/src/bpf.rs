//! What a process holds of the kernel's BPF objects, and whether it is gone when the process is.
//!
//! Other agents run on the same machine, so nothing is counted machine-wide: the ids of a process's own objects are
//! remembered (the kernel does not give an id again soon) and asked for afterwards.

use std::{collections::BTreeSet, fs, process::Command, time::Duration};

use anyhow::{Context as _, Result, anyhow, ensure};
use serde::{
    Deserialize,
    de::{DeserializeOwned, IgnoredAny},
};

use crate::wait;

/// The kernel frees objects by RCU and by deferred work, some time after their last descriptor was closed.
const FREED: Duration = Duration::from_secs(30);

/// Ids of BPF objects.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Objects {
    /// Programs.
    pub programs: BTreeSet<u32>,
    /// Maps.
    pub maps: BTreeSet<u32>,
    /// Links.
    pub links: BTreeSet<u32>,
}

/// What `bpftool` says of any object; each kind has some of it.
#[derive(Debug, Deserialize)]
struct Shown {
    id: u32,
    #[serde(default)]
    name: String,
    #[serde(default, rename = "type")]
    kind: String,
    #[serde(default)]
    map_ids: Vec<u32>,
    prog_id: Option<u32>,
}

impl Objects {
    /// What a process holds: by its descriptors, and by what these keep (a program that is reached only by a tail call
    /// has no descriptor, but shares maps with the one that calls it).
    pub fn held_by(pid: u32) -> Result<Self> {
        let mut held = Self::default();
        let folder = format!("/proc/{pid}/fdinfo");
        for entry in fs::read_dir(&folder).with_context(|| folder.clone())? {
            // A descriptor may be closed meanwhile: then it holds nothing.
            let Ok(text) = fs::read_to_string(entry?.path()) else { continue };
            for line in text.lines() {
                let Some((key, id)) = line.split_once(":\t") else { continue };
                match key {
                    "prog_id" => held.programs.insert(id.parse()?),
                    "map_id" => held.maps.insert(id.parse()?),
                    "link_id" => held.links.insert(id.parse()?),
                    _ => false,
                };
            }
        }
        let (programs, links) = (show("prog")?, show("link")?);
        loop {
            let before = held.count();
            for program in &programs {
                if held.programs.contains(&program.id) || program.map_ids.iter().any(|map| held.maps.contains(map)) {
                    held.programs.insert(program.id);
                    held.maps.extend(&program.map_ids);
                }
            }
            if held.count() == before {
                break;
            }
        }
        held.links.extend(
            links.iter().filter(|link| link.prog_id.is_some_and(|id| held.programs.contains(&id))).map(|link| link.id),
        );
        ensure!(
            !held.programs.is_empty() && !held.maps.is_empty() && !held.links.is_empty(),
            "process {pid} holds no programs, maps or links: {held:?}"
        );
        Ok(held)
    }

    /// Those of them that exist.
    pub fn existing(&self) -> Result<Self> {
        let existing = |kind: &str, ids: &BTreeSet<u32>| -> Result<BTreeSet<u32>> {
            Ok(show(kind)?.iter().map(|shown| shown.id).filter(|id| ids.contains(id)).collect())
        };
        Ok(Self {
            programs: existing("prog", &self.programs)?,
            maps: existing("map", &self.maps)?,
            links: existing("link", &self.links)?,
        })
    }

    /// Waits until none of them exists.
    pub fn wait_until_gone(&self) -> Result<()> {
        let mut left = Self::default();
        wait::until("the kernel to free the agent's objects", FREED, || {
            left = self.existing()?;
            Ok((left == Self::default()).then_some(()))
        })
        .with_context(|| format!("left behind: {left:?}"))
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.programs.len() + self.maps.len() + self.links.len()
    }

    /// The types of the programs.
    pub fn program_types(&self) -> Result<Vec<String>> {
        let programs = show("prog")?.into_iter().filter(|program| self.programs.contains(&program.id));
        Ok(programs.map(|program| program.kind).collect())
    }

    /// The types of the maps.
    pub fn map_types(&self) -> Result<Vec<String>> {
        let maps = show("map")?.into_iter().filter(|map| self.maps.contains(&map.id));
        Ok(maps.map(|map| map.kind).collect())
    }

    /// Name and number of entries of each of the hash tables among the maps.
    pub fn entries(&self) -> Result<Vec<(String, usize)>> {
        let maps = show("map")?;
        let tables = maps.iter().filter(|map| self.maps.contains(&map.id) && map.kind.contains("hash"));
        tables.map(|map| Ok((map.name.clone(), dump::<IgnoredAny>(map)?.len()))).collect()
    }

    /// The sum of all 64-bit counters of a per-CPU array; 0 if there is none of that name.
    pub fn sum(&self, name: &str) -> Result<u64> {
        let maps = show("map")?;
        let Some(map) = maps.iter().find(|map| self.maps.contains(&map.id) && map.name == name) else {
            return Ok(0);
        };
        dump::<PerCpu>(map)?.iter().flat_map(|entry| &entry.values).map(PerCpuValue::number).sum()
    }
}

/// An entry of a per-CPU map as `bpftool` shows it.
#[derive(Debug, Deserialize)]
struct PerCpu {
    values: Vec<PerCpuValue>,
}

#[derive(Debug, Deserialize)]
struct PerCpuValue {
    /// Bytes in memory's order: `0x1f`.
    value: Vec<String>,
}

impl PerCpuValue {
    fn number(&self) -> Result<u64> {
        let digits = |byte: &String| Ok(u8::from_str_radix(byte.trim_start_matches("0x"), 16)?);
        let bytes: Vec<u8> = self.value.iter().map(digits).collect::<Result<_>>()?;
        Ok(u64::from_ne_bytes(bytes.try_into().map_err(|_| anyhow!("not a counter of 64 bits"))?))
    }
}

fn dump<T: DeserializeOwned>(map: &Shown) -> Result<Vec<T>> {
    bpftool(&["map", "dump", "id", &map.id.to_string()])
}

fn show(kind: &str) -> Result<Vec<Shown>> {
    bpftool(&[kind, "show"])
}

/// What `bpftool` says. It gives up when an object that it lists is just being made by somebody else: then it is asked
/// again.
fn bpftool<T: DeserializeOwned>(arguments: &[&str]) -> Result<T> {
    let mut said = String::new();
    let output = wait::until(&format!("bpftool {arguments:?}"), FREED, || {
        let output = Command::new("bpftool")
            .arg("--json")
            .args(arguments)
            .output()
            .context("bpftool could not be started; `cargo xtask setup` installs it")?;
        said = String::from_utf8_lossy(&output.stdout).into_owned();
        Ok(output.status.success().then_some(output.stdout))
    })
    .with_context(|| said.clone())?;
    serde_json::from_slice(&output).with_context(|| format!("what bpftool {arguments:?} said"))
}
