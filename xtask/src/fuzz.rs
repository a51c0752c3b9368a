//! `cargo xtask fuzz`: looks for bytes that break the rules of docs/reliability.md.

use std::{
    fmt::Write as _,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Mutex, PoisonError},
    thread,
    time::Instant,
};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

use crate::{
    setup::{self, Scope},
    steps, workspace,
};

/// Builds the targets with AddressSanitizer and coverage.
const CARGO_FUZZ: (&str, &str) = ("cargo-fuzz", "0.13.2");

/// Captures and statements of other projects, where they are at hand beside the project.
const DATA: &str = "../shared/data";

/// What `fuzz` can be told.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// How long each target runs, seconds
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// How many targets run at a time [default: as many as there are processors]
    #[arg(long)]
    jobs: Option<usize>,
    /// Which targets (all without any)
    targets: Vec<String>,
}

/// Builds, makes the first inputs, and runs the targets; an error if one finds something.
pub(crate) fn run(options: &Options) -> Result<()> {
    setup::run(Scope::Fuzz)?;
    setup::cargo_tool(CARGO_FUZZ.0, CARGO_FUZZ.1)?;
    let all = targets()?;
    let chosen: Vec<&str> = match options.targets.iter().find(|name| !all.contains(name)) {
        Some(unknown) => bail!("there is no target {unknown}; there are {}", all.join(", ")),
        None if options.targets.is_empty() => all.iter().map(String::as_str).collect(),
        None => options.targets.iter().map(String::as_str).collect(),
    };
    let programs = build()?;
    seeds()?;

    let jobs = options.jobs.unwrap_or_else(|| thread::available_parallelism().map_or(1, usize::from)).max(1);
    steps::say(&format!("Fuzzing {} targets for {} s each, {jobs} at a time", chosen.len(), options.seconds));
    let waiting = Mutex::new(chosen.iter());
    let outcomes = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                loop {
                    let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).next().copied();
                    let Some(target) = next else { return };
                    let outcome = fuzz(target, &programs.join(target), options.seconds);
                    eprintln!("    {target}: {}", outcome.as_ref().map_or("failed", Outcome::verdict));
                    outcomes.lock().unwrap_or_else(PoisonError::into_inner).push(outcome);
                }
            });
        }
    });
    let mut outcomes =
        outcomes.into_inner().unwrap_or_else(PoisonError::into_inner).into_iter().collect::<Result<Vec<Outcome>>>()?;
    outcomes.sort_by_key(|outcome| all.iter().position(|name| *name == outcome.target));
    report(&outcomes, &programs)
}

/// The targets, one a file.
fn targets() -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(workspace::root().join("fuzz/targets"))? {
        names.extend(entry?.path().file_stem().map(|name| name.to_string_lossy().into_owned()));
    }
    names.sort();
    Ok(names)
}

/// Builds all targets: the folder of their programs.
fn build() -> Result<PathBuf> {
    let folder = workspace::target().join("fuzz/build");
    let mut command = setup::cargo()?;
    command.args(["fuzz", "build", "--features", "libfuzzer", "--target-dir"]).arg(&folder);
    // The sanitizer's flags are unstable ones. Link-time optimisation would take minutes and find nothing.
    command.envs([
        ("RUSTC_BOOTSTRAP", "1"),
        ("CARGO_PROFILE_RELEASE_LTO", "false"),
        ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16"),
    ]);
    steps::run_quietly("Building the fuzz targets (several minutes the first time)", "fuzz-build", &mut command)?;
    let version = Command::new("rustc").arg("-vV").output().context("rustc could not be started")?;
    let version = String::from_utf8_lossy(&version.stdout).into_owned();
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc does not name its host")?;
    Ok(folder.join(host).join("release"))
}

/// Writes the first inputs.
fn seeds() -> Result<()> {
    let mut command = setup::cargo()?;
    command.args(["run", "--package", "syspan-fuzz", "--example", "seeds", "--"]).arg(folder("seeds"));
    let data = workspace::root().join(DATA);
    if data.is_dir() {
        command.arg(data);
    }
    steps::run_quietly("Making the first inputs", "fuzz-seeds", &mut command)
}

fn folder(name: &str) -> PathBuf {
    workspace::target().join("fuzz").join(name)
}

/// What became of a target.
struct Outcome {
    target: String,
    wall: f64,
    cpu: f64,
    executions: u64,
    /// Inputs kept because each reaches something that the others do not.
    corpus: u64,
    /// Edges of the program's flow, and with how often they are passed: libFuzzer's features.
    edges: u64,
    features: u64,
    findings: Vec<PathBuf>,
}

impl Outcome {
    fn verdict(&self) -> &'static str {
        if self.findings.is_empty() { "nothing found" } else { "FOUND SOMETHING" }
    }
}

/// Runs one target.
fn fuzz(target: &str, program: &Path, seconds: u64) -> Result<Outcome> {
    let (corpus, findings) = (folder("corpus").join(target), folder("findings").join(target));
    fs::create_dir_all(&corpus)?;
    fs::create_dir_all(&findings)?;
    let log = workspace::target().join(format!("xtask/fuzz-{target}.log"));
    let mut command = Command::new("nice");
    command.arg("-n10").arg(program).arg(&corpus);
    for known in [folder("seeds").join(target), workspace::root().join("fuzz/regressions").join(target)] {
        if known.is_dir() {
            command.arg(known); // read, not written to
        }
    }
    let mut prefix = std::ffi::OsString::from("-artifact_prefix=");
    prefix.push(findings.join(""));
    command.arg(prefix).arg(format!("-max_total_time={seconds}")).args(["-print_final_stats=1", "-timeout=10"]);
    let output = File::create(&log)?;
    let started = Instant::now();
    let before = files(&findings)?;
    let mut child = command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output).spawn()?;
    let cpu = cpu_seconds(&child)?;
    let status = child.wait()?;
    let wall = started.elapsed().as_secs_f64();
    let text = String::from_utf8_lossy(&fs::read(&log)?).into_owned();
    let findings: Vec<PathBuf> = files(&findings)?.into_iter().filter(|path| !before.contains(path)).collect();
    if !status.success() && findings.is_empty() {
        bail!("the target {target} ended with {status} and left no input; see {}", log.display());
    }
    let last = text.lines().rev().find(|line| line.starts_with('#') && line.contains(" cov: ")).unwrap_or_default();
    let number = |line: &str, name: &str| -> u64 {
        let value = line.split_once(name).map_or("", |(_, rest)| rest.trim_start());
        value.split(|c: char| !c.is_ascii_digit()).next().and_then(|digits| digits.parse().ok()).unwrap_or(0)
    };
    let executions = text.lines().find(|line| line.starts_with("stat::number_of_executed_units")).unwrap_or_default();
    Ok(Outcome {
        target: target.to_owned(),
        wall,
        cpu,
        executions: number(executions, ":").max(number(executions, "units:")),
        corpus: number(last, "corp:"),
        edges: number(last, "cov:"),
        features: number(last, "ft:"),
        findings,
    })
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect()
}

/// Waits until the child has ended, but leaves it to be waited for: what it used is read from what is left of it
/// (proc(5), `/proc/PID/stat`: the 14th and 15th field, in ticks).
fn cpu_seconds(child: &Child) -> Result<f64> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).context("no process id")?;
    waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT)?;
    let stat = fs::read_to_string(format!("/proc/{}/stat", child.id()))?;
    // The second field is a name in parentheses, which may hold anything.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let ticks: u64 = fields.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    Ok(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// Prints the table and keeps it in target/fuzz/report.md.
fn report(outcomes: &[Outcome], programs: &Path) -> Result<()> {
    let mut table = String::from(
        "| target | wall time, s | CPU, s | executions | corpus | edges | features | findings |\n\
         |---|---|---|---|---|---|---|---|\n",
    );
    for Outcome { target, wall, cpu, executions, corpus, edges, features, findings } in outcomes {
        let findings = findings.len();
        writeln!(
            table,
            "| `{target}` | {wall:.0} | {cpu:.0} | {executions} | {corpus} | {edges} | {features} | {findings} |"
        )?;
    }
    fs::write(folder("report.md"), &table)?;
    print!("{table}");
    let mut found = 0;
    for outcome in outcomes {
        for input in &outcome.findings {
            found += 1;
            let program = programs.join(&outcome.target);
            let (program, input, target) = (program.display(), input.display(), &outcome.target);
            println!(
                "\n{target} found {input}\n  reproduce: {program} {input}\n  minimise:  {program} -minimize_crash=1 \
                 -runs=100000 -exact_artifact_path=smaller {input}\n  keep:      copy the smaller one to \
                 fuzz/regressions/{target}/, where `cargo xtask test` tries it again"
            );
        }
    }
    if found > 0 {
        bail!("{found} inputs break a rule");
    }
    Ok(())
}
