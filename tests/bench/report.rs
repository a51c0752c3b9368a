//! The report: Markdown with every number it was made from, and the targets beside what was measured.

use std::{
    collections::BTreeMap,
    fmt::{Display, Write as _},
    fs,
};

use anyhow::{Context as _, Result};
use syspan_tests::machine::{self, said};

use crate::{
    Measurements,
    agent::Cost,
    calls::{self, Calls, Throughput, Watched},
    carriers::{self, Carried},
    cases,
    engine::Replay,
    states::{Measured, State},
    statistics::Summary,
};

const MIB: f64 = 1024.0 * 1024.0;

/// Where and when it was measured.
pub(crate) struct Machine {
    date: String,
    processor: String,
    cpus: usize,
    memory: u64,
    kernel: String,
    load: String,
    revision: String,
    versions: Vec<String>,
}

impl Machine {
    /// Reads it; before anything is measured, because of the load average.
    pub(crate) fn read() -> Result<Self> {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo")?;
        let meminfo = fs::read_to_string("/proc/meminfo")?;
        let field = |text: &str, name: &str| {
            let value = text.lines().find_map(|line| line.strip_prefix(name));
            value.map(|value| value.trim_matches([' ', '\t', ':']).to_owned())
        };
        let memory = field(&meminfo, "MemTotal:").context("/proc/meminfo")?;
        let loads = fs::read_to_string("/proc/loadavg")?;
        Ok(Self {
            date: machine::date()?,
            processor: field(&cpuinfo, "model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
            cpus: std::thread::available_parallelism()?.get(),
            memory: memory.trim_end_matches(" kB").parse::<u64>()? * 1024,
            kernel: machine::kernel()?,
            load: loads.split_whitespace().next().unwrap_or_default().to_owned(),
            revision: said("git", &["rev-parse", "--short", "HEAD"])?,
            versions: vec![
                format!("Node {}", said("node", &["--version"])?),
                said("/usr/sbin/nginx", &["-v"])?.replace("nginx version: ", ""),
                said("/usr/lib/postgresql/15/bin/postgres", &["--version"])?,
                said("wrk", &["-v"])?.split(" Copyright").next().unwrap_or_default().to_owned(),
            ],
        })
    }
}

/// The whole report.
pub(crate) fn write(
    machine: &Machine,
    seconds: u64,
    all: &[Measurements],
    replays: &[Replay],
    (calls, throughput): (&Calls, &Throughput),
    carried: &[Carried],
) -> Result<String> {
    let mut text = String::new();
    introduction(&mut text, machine, seconds, all)?;
    comparisons(&mut text, all)?;
    self::calls(&mut text, calls, throughput)?;
    agent(&mut text, all)?;
    engine(&mut text, replays)?;
    carriers(&mut text, carried)?;
    targets(&mut text, all, calls, carriers::of_chain(carried)?)?;
    Ok(text)
}

fn introduction(text: &mut String, machine: &Machine, seconds: u64, all: &[Measurements]) -> Result<()> {
    let Machine { date, processor, cpus, memory, kernel, load, revision, versions } = machine;
    let rounds = all.first().map_or(0, |case| case.rounds.len());
    let memory = *memory as f64 / MIB / 1024.0;
    let versions = versions.join(", ");
    writeln!(
        text,
        "# Benchmarks\n\n\
         Written by `cargo xtask bench`. Other machines give other numbers; the ratios travel better.\n\n\
         - {date}, revision {revision}\n\
         - {processor}, {cpus} CPUs, {memory:.0} GiB, {kernel}; load average before the start: {load}\n\
         - {versions}\n\
         - load: `wrk -t1 -c16`, on the same machine as the application, the agent and the collector (rotel, which \
         discards what it gets)\n\
         - {rounds} rounds of {seconds} s for each state, in turn, after a warm-up of {warm} s that is not counted. A \
         ratio is a state's number divided by that without an agent in the same round. Shown: median (smallest–largest).\n",
        warm = crate::WARM_UP.as_secs(),
    )?;
    Ok(())
}

/// What is compared between the states.
struct Metric {
    heading: &'static str,
    unit: &'static str,
    /// Digits of the absolute number.
    digits: usize,
    value: fn(&Measured) -> f64,
}

const METRICS: [Metric; 3] = [
    Metric {
        heading: "Throughput",
        unit: "requests/s",
        digits: 0,
        value: |measured| measured.load.requests_per_second,
    },
    Metric {
        heading: "CPU time of the application for one request",
        unit: "µs",
        digits: 1,
        value: |measured| measured.cpu_per_request,
    },
    Metric { heading: "Latency, 99th percentile", unit: "µs", digits: 0, value: |measured| measured.load.p99 },
];

fn comparisons(text: &mut String, all: &[Measurements]) -> Result<()> {
    let others = [State::Elsewhere, State::Traced, State::Sdk];
    for metric in &METRICS {
        let Metric { heading, unit, digits, value } = metric;
        writeln!(text, "## {heading}\n")?;
        row(
            text,
            ["".to_owned(), format!("no agent, {unit}")].into_iter().chain(others.map(|state| state.to_string())),
        )?;
        writeln!(text, "|---|--:|--:|--:|--:|")?;
        for case in all {
            let alone = Summary::of(case.of(State::Alone).map(value));
            let ratios = others.map(|state| cell(case.ratio(state, *value), 3));
            row(text, [case.case.name.to_owned(), cell(alone, *digits)].into_iter().chain(ratios))?;
        }
        writeln!(text)?;
    }
    Ok(())
}

impl Measurements {
    /// The measurements of one state.
    fn of(&self, state: State) -> impl Iterator<Item = &Measured> {
        self.rounds.iter().flatten().filter(move |(of, _)| *of == state).map(|(_, measured)| measured)
    }

    /// A state's numbers divided by those without an agent, round by round.
    fn ratio(&self, state: State, value: fn(&Measured) -> f64) -> Option<Summary> {
        let number = |round: &[(State, Measured)], wanted| {
            round.iter().find(|(state, _)| *state == wanted).map(|(_, measured)| value(measured))
        };
        Summary::of(self.rounds.iter().filter_map(|round| Some(number(round, state)? / number(round, State::Alone)?)))
    }

    /// What the agent needed in a state.
    fn costs(&self, state: State) -> impl Iterator<Item = &Cost> {
        self.of(state).filter_map(|measured| measured.agent.as_ref())
    }
}

/// What a state adds to a call: of the fastest run in it and of the fastest without an agent, because whatever else the
/// machine does only ever adds to a run.
fn added(calls: &Calls, state: Watched, name: &str) -> Option<f64> {
    let fastest = |state| calls.get(&state)?.iter().filter_map(|times| times.get(name).copied()).min_by(f64::total_cmp);
    Some(fastest(state)? - fastest(Watched::Not)?)
}

/// What single system calls cost.
pub(crate) fn calls(text: &mut String, calls: &Calls, throughput: &Throughput) -> Result<()> {
    let runs = calls.values().map(Vec::len).max().unwrap_or_default();
    writeln!(
        text,
        "## A system call\n\n\
         100 000 calls that move 78 bytes over a loopback TCP connection, {runs} runs of each state in turn. Shown: the \
         median run (fastest–slowest), and what the state adds to a call by the fastest runs, since what else happens on the \
         machine can only slow a run down.\n"
    )?;
    let states: Vec<Watched> = calls.keys().copied().collect();
    let headings = states.iter().flat_map(|state| match state {
        Watched::Not => vec![format!("{state}, ns")],
        _ => vec![format!("{state}, ns"), "adds".to_owned()],
    });
    row(text, std::iter::once("call".to_owned()).chain(headings))?;
    writeln!(text, "|---|{}", "--:|".repeat(2 * states.len() - 1))?;
    for name in calls::NAMES {
        let columns = states.iter().flat_map(|&state| {
            let runs = calls.get(&state).into_iter().flatten();
            let all = cell(Summary::of(runs.filter_map(|times| times.get(name).copied())), 0);
            match state {
                Watched::Not => vec![all],
                _ => vec![all, added(calls, state, name).map_or("–".to_owned(), |ns| format!("**{ns:.0}**"))],
            }
        });
        row(text, std::iter::once(name.to_owned()).chain(columns))?;
    }
    let rate = |rate: Option<f64>| rate.map_or("–".to_owned(), |rate| format!("{rate:.0}"));
    writeln!(
        text,
        "\nThe same calls, faster and faster, with the ring buffer's default size: the agent took {} events a second without \
         losing one; at {} it lost the first.\n",
        rate(throughput.kept),
        rate(throughput.lost),
    )?;
    Ok(())
}

fn agent(text: &mut String, all: &[Measurements]) -> Result<()> {
    writeln!(
        text,
        "## The agent\n\n\
         Resident memory counts the ring buffer twice: the kernel maps it twice in a row. CPU time is that of all its threads, from `syspan: ready` to the end of the load, with the conversion, sending \
         and compression of the spans; what the programs in the kernel cost is in the application's time above.\n"
    )?;
    let headings = ["traced", "CPU a span, µs", "spans a request", "spans/s", "resident, MiB", "peak, MiB", "lost"];
    row(text, headings.map(str::to_owned))?;
    writeln!(text, "|---|--:|--:|--:|--:|--:|---|")?;
    for case in all {
        let costs = || case.costs(State::Traced);
        let columns = [
            cell(Summary::of(costs().filter_map(Cost::cpu_per_span)), 2),
            cell(Summary::of(costs().map(|cost| cost.spans as f64 / cost.requests.max(1) as f64)), 3),
            cell(Summary::of(costs().map(|cost| cost.spans as f64 / cost.wall.as_secs_f64())), 0),
            cell(Summary::of(costs().map(|cost| cost.memory.resident as f64 / MIB)), 1),
            cell(Summary::of(costs().map(|cost| cost.memory.peak as f64 / MIB)), 1),
            lost(costs()),
        ];
        row(text, std::iter::once(case.case.name.to_owned()).chain(columns))?;
    }
    let idle = || all.iter().flat_map(|case| case.costs(State::Elsewhere));
    let busy = Summary::of(idle().map(|cost| 100.0 * cost.cpu.as_secs_f64() / cost.wall.as_secs_f64()));
    let ready = Summary::of(
        all.iter()
            .flat_map(|case| case.costs(State::Elsewhere).chain(case.costs(State::Traced)))
            .map(|cost| cost.ready_after.as_secs_f64()),
    );
    writeln!(
        text,
        "\nAttached to an idle process while others work, it uses {} % of a CPU and {} MiB. It is ready {} s after its \
         start.\n",
        cell(busy, 2),
        cell(Summary::of(idle().map(|cost| cost.memory.resident as f64 / MIB)), 1),
        cell(ready, 2),
    )?;
    Ok(())
}

/// Everything that was lost in all the runs.
fn lost<'a>(costs: impl Iterator<Item = &'a Cost>) -> String {
    let mut sum: BTreeMap<&str, u64> = BTreeMap::new();
    for cost in costs {
        for (cause, count) in &cost.losses {
            *sum.entry(cause).or_default() += count;
        }
    }
    if sum.is_empty() {
        return "nothing".to_owned();
    }
    let causes: Vec<String> = sum.iter().map(|(cause, count)| format!("{cause} {count}")).collect();
    causes.join(", ")
}

fn engine(text: &mut String, replays: &[Replay]) -> Result<()> {
    if replays.is_empty() {
        return Ok(());
    }
    writeln!(
        text,
        "## The engine alone\n\n\
         Events in memory to finished spans (`cargo bench --package syspan`): ordering, recognition, parsing, parents, \
         attributes; one thread, without kernel and export.\n"
    )?;
    row(text, ["events of", "events/s", "ns an event", "ns a span"].map(str::to_owned))?;
    writeln!(text, "|---|--:|--:|--:|")?;
    for Replay { name, time, events, spans } in replays {
        let (events, spans) = (*events as f64, *spans as f64);
        let columns = [
            name.clone(),
            format!("{:.2} million", events / time * 1e3),
            format!("{:.0}", time / events),
            format!("{:.0}", time / spans),
        ];
        row(text, columns)?;
    }
    writeln!(text)?;
    Ok(())
}

fn carriers(text: &mut String, carried: &[Carried]) -> Result<()> {
    writeln!(
        text,
        "## Contexts for other hosts\n\n\
         The same loads, traced without a collector, with each kind of `--propagate` ([propagation.md](propagation.md)). A ratio is \
         a kind's number divided by that of `off` in the same round.\n"
    )?;
    carriers::table(text, carried)?;
    writeln!(text)?;
    Ok(())
}

/// `chain`: the part of its throughput that the chain of services keeps when contexts are carried.
fn targets(text: &mut String, all: &[Measurements], calls: &Calls, chain: f64) -> Result<()> {
    let throughput: fn(&Measured) -> f64 = |measured| measured.load.requests_per_second;
    let loss = |ratio: Option<Summary>| ratio.map(|ratio| 100.0 * (1.0 - ratio.median));
    let most = |numbers: Vec<Option<f64>>| numbers.into_iter().flatten().max_by(f64::total_cmp);

    let elsewhere = most(all.iter().map(|case| loss(case.ratio(State::Elsewhere, throughput))).collect());
    let checkout = all.iter().filter(|case| case.case.name == cases::CHECKOUT);
    let traced = most(checkout.map(|case| loss(case.ratio(State::Traced, throughput))).collect());
    let traced_costs = || all.iter().map(|case| case.costs(State::Traced));
    let medians = |value: fn(&Cost) -> Option<f64>| {
        most(traced_costs().map(|costs| Summary::of(costs.filter_map(value)).map(|summary| summary.median)).collect())
    };
    let per_span = medians(Cost::cpu_per_span);
    let resident = medians(|cost| Some(cost.memory.resident as f64 / MIB));
    let dropped: u64 = traced_costs()
        .flatten()
        .flat_map(|cost| &cost.losses)
        .filter(|(cause, _)| LOST_EVENTS.contains(&cause.as_str()))
        .map(|(_, count)| count)
        .sum();

    writeln!(text, "## Targets\n\nThe worst case's median counts.\n")?;
    row(text, ["target", "measured", ""].map(str::to_owned))?;
    writeln!(text, "|---|--:|---|")?;
    let number =
        |number: Option<f64>, unit: &str| number.map_or("–".to_owned(), |number| format!("{number:.1} {unit}"));
    let mut target = |what: &str, measured: String, met: Option<bool>| {
        let verdict = match met {
            Some(true) => "met",
            Some(false) => "**missed**",
            None => "not measured",
        };
        row(text, [what.to_owned(), measured, verdict.to_owned()])
    };
    target("at most 2 % of throughput lost, attached elsewhere", number(elsewhere, "%"), elsewhere.map(|n| n <= 2.0))?;
    target("at most 8 % lost on /checkout, traced and exported", number(traced, "%"), traced.map(|n| n <= 8.0))?;
    target("under 15 µs of the agent's CPU a span", number(per_span, "µs"), per_span.map(|n| n < 15.0))?;
    target("under 40 MiB resident", number(resident, "MiB"), resident.map(|n| n < 40.0))?;
    let call = |state| most(calls::NAMES.iter().map(|name| added(calls, state, name)).collect());
    for (what, state, limit) in [
        ("at most 200 ns a call of a process that is not traced", Watched::Elsewhere, 200.0),
        ("at most 200 ns a call on a socket that was given up", Watched::Unknown, 200.0),
        ("at most 900 ns a traced call", Watched::Http, 900.0),
    ] {
        target(what, number(call(state), "ns"), call(state).map(|ns| ns <= limit))?;
    }
    let lost = 100.0 * (1.0 - chain);
    target(
        "at most 5 % of the chain's throughput lost with contexts for other hosts",
        number(Some(lost), "%"),
        Some(lost <= 5.0),
    )?;
    target("no event or span lost", dropped.to_string(), Some(dropped == 0))?;
    Ok(())
}

/// Causes by which events or spans are lost under load. The others say what was not understood.
const LOST_EVENTS: [&str; 6] = ["ring_full", "map_full", "evicted", "queue_full", "export_failed", "rejected"];

fn row(text: &mut String, columns: impl IntoIterator<Item = impl Display>) -> Result<()> {
    for column in columns {
        write!(text, "| {column} ")?;
    }
    writeln!(text, "|")?;
    Ok(())
}

fn cell(summary: Option<Summary>, digits: usize) -> String {
    summary.map_or_else(|| "–".to_owned(), |summary| format!("{summary:.digits$}"))
}
