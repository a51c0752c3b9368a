//! `syspan record`: kernel events to a file.

use std::{path::Path, process::ExitCode, time::Duration};

use rustix::thread::CapabilitySet;

use super::{
    CaptureArgs, Failure,
    observer::Observer,
    pipeline,
    recording::Writer,
    run::{ready, runtime},
    stop::Stop,
};
use crate::{event::Event, export, processes::selector::Selectors, streams::Losses};

pub(super) fn record(
    selectors: Selectors,
    capture: &CaptureArgs,
    output: &Path,
    duration: Option<Duration>,
) -> Result<ExitCode, Failure> {
    let runtime = runtime()?;
    let _guard = runtime.enter();
    let mut writer = Writer::create(output)?;
    let mut observer = Observer::start(selectors, capture)?;
    let stop = Stop::new(duration)?;
    let mut events = 0u64;
    let mut losses = Losses::default();
    let mut failed = None;
    writer.write(&observer.beginning()?)?;
    observer.settle(CapabilitySet::empty())?;
    ready(&observer);
    loop {
        let last = stop.is_due();
        if !last {
            pipeline::wait(&observer)?;
        }
        let mut take = |event: Event| {
            events += 1;
            if let Event::Lost { cause, count, .. } = &event
                && let Some(loss) = Losses::named(cause)
            {
                losses.add(loss, *count);
            }
            if failed.is_none() {
                failed = writer.write(&event).err();
            }
        };
        if last {
            observer.drain_last(&mut take);
            observer.tick(true, &mut take);
            observer.finish(&mut take);
        } else {
            observer.drain(&mut take);
        }
        if let Some(error) = failed {
            return Err(error.into());
        }
        if last {
            break;
        }
    }
    writer.finish()?;
    eprintln!("{}", export::recording_summary(events, &output.display().to_string(), &losses));
    Ok(ExitCode::SUCCESS)
}
