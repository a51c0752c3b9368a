//! What the agent needs, now and then.

use std::time::{Duration, Instant};

use anyhow::Result;
use syspan_tests::{bpf::Objects, process};

/// What an agent needs at one moment.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    /// Since the load began.
    pub at: Duration,
    /// Memory that is resident, bytes.
    pub resident: u64,
    /// CPU time since the sample before, as a share of one CPU.
    pub cpu: f64,
    /// Open descriptors.
    pub descriptors: usize,
    /// Name and entries of each of its hash tables in the kernel.
    pub entries: Vec<(String, usize)>,
    /// What the programs could not tell, all causes, since they were loaded.
    pub lost: u64,
}

/// Takes samples of one agent.
pub(crate) struct Sampler {
    pid: u32,
    objects: Objects,
    begun: Instant,
    last: (Instant, Duration),
}

impl Sampler {
    pub(crate) fn start(pid: u32) -> Result<Self> {
        let now = Instant::now();
        Ok(Self { pid, objects: Objects::held_by(pid)?, begun: now, last: (now, process::cpu(pid)?) })
    }

    pub(crate) fn take(&mut self) -> Result<Sample> {
        let (now, cpu) = (Instant::now(), process::cpu(self.pid)?);
        let (before, cpu_before) = std::mem::replace(&mut self.last, (now, cpu));
        let share = cpu.saturating_sub(cpu_before).as_secs_f64() / (now - before).as_secs_f64();
        Ok(Sample {
            at: now - self.begun,
            resident: process::memory(self.pid)?.resident,
            cpu: share,
            descriptors: process::descriptors(self.pid)?,
            entries: self.objects.entries()?,
            lost: self.objects.sum("COUNTS")?,
        })
    }

    pub(crate) fn objects(self) -> Objects {
        self.objects
    }
}
