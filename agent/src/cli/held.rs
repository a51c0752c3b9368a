//! Events that wait for their process to be known.
//!
//! Who a process is, is told before anything that it did, but is not known at once ([`crate::processes::reader`]). Events are held in their
//! order until it is, for half a second at most: then the process is told of as what is known by then, and again when more is known.

use std::{collections::VecDeque, sync::Arc};

use crate::{
    event::{Event, Pid},
    processes::{
        Process,
        reader::{Answer, LIMIT, Reader},
        table::ProcessTable,
    },
};

/// Memory that the events held may take, bytes: a quarter of a second at 100 000 events a second of 2 KiB.
const MAX_HELD: usize = 64 * 1024 * 1024;

/// Processes whose late answers are still looked for.
const MAX_LATE: usize = 1024;

/// A process that the engine is to be told of.
pub(super) struct Introduction {
    pub(super) pid: Pid,
    pub(super) answer: Answer,
    /// What it was called when it was seen.
    pub(super) command: Option<String>,
}

impl Introduction {
    /// The process, once it is known.
    fn known(&self) -> Option<Arc<Process>> {
        Some(self.answer.known()?.unwrap_or_else(|| self.unknown()))
    }

    /// What is known of it by now.
    fn best(&self) -> Arc<Process> {
        self.answer.best().map_or_else(|| self.unknown(), |identity| Arc::clone(&identity.process))
    }

    fn unknown(&self) -> Arc<Process> {
        Arc::new(Process::unknown(self.pid, self.command.as_deref()))
    }
}

enum Item {
    Process(Introduction),
    Event(Event),
}

impl Item {
    /// The memory it takes, bytes, more or less.
    fn size(&self) -> usize {
        let captured = match self {
            Item::Event(Event::Data(data)) => data.head.len() + data.tail.len(),
            _ => 0,
        };
        size_of::<Self>() + captured
    }
}

/// What is held, in its order.
#[derive(Default)]
pub(super) struct Held {
    items: VecDeque<Item>,
    /// The memory that they take, bytes.
    size: usize,
    /// Processes that were told of before they were known.
    late: Vec<Introduction>,
}

impl Held {
    /// A process is told of, now or when it is known.
    pub(super) fn introduce(&mut self, introduction: Introduction, take: &mut impl FnMut(Event)) {
        match introduction.known() {
            Some(process) => self.pass(Event::Process(process), take),
            None => self.push(Item::Process(introduction)),
        }
    }

    /// Hands an event over, or holds it behind those that are held.
    pub(super) fn pass(&mut self, event: Event, take: &mut impl FnMut(Event)) {
        if self.items.is_empty() { take(event) } else { self.push(Item::Event(event)) }
    }

    /// Hands over what need not wait any longer.
    pub(super) fn release(&mut self, table: &mut ProcessTable, take: &mut impl FnMut(Event)) {
        self.late.retain(|introduction| {
            let Some(process) = introduction.known() else { return true };
            if table.is_current(introduction.pid, &introduction.answer) {
                take(Event::Process(process));
            }
            false
        });
        let hurry = !self.items.is_empty() && (self.size > MAX_HELD || table.reader().is_stuck());
        while let Some(item) = self.items.pop_front() {
            let size = item.size();
            match item {
                Item::Event(event) => take(event),
                Item::Process(introduction) => match introduction.known() {
                    Some(process) => take(Event::Process(process)),
                    None if hurry || introduction.answer.asked().elapsed() >= LIMIT => {
                        table.reader().hurry();
                        take(Event::Process(introduction.best()));
                        if self.late.len() < MAX_LATE {
                            self.late.push(introduction);
                        }
                    }
                    None => {
                        self.items.push_front(Item::Process(introduction));
                        return;
                    }
                },
            }
            self.size -= size;
        }
    }

    /// The end of a run: hands over everything.
    pub(super) fn finish(&mut self, reader: &mut Reader, take: &mut impl FnMut(Event)) {
        let asked = self.items.iter().filter_map(|item| match item {
            Item::Process(introduction) => Some(&introduction.answer),
            Item::Event(_) => None,
        });
        reader.wait(asked, LIMIT);
        for item in std::mem::take(&mut self.items) {
            take(match item {
                Item::Process(introduction) => Event::Process(introduction.best()),
                Item::Event(event) => event,
            });
        }
        self.size = 0;
    }

    fn push(&mut self, item: Item) {
        self.size += item.size();
        self.items.push_back(item);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used, reason = "tests")]
    use std::time::{Duration, Instant};

    use super::*;
    use crate::processes::{fake::Fake, identity::Identifier};

    /// Whoever waits for this long waits for ever.
    const LONG: Duration = Duration::from_secs(60);

    struct World {
        fake: Fake,
        table: ProcessTable,
        held: Held,
        /// What was handed over: names of processes and times of events.
        told: Vec<String>,
    }

    impl World {
        fn new() -> Self {
            let fake = Fake::new();
            for pid in [40, 41] {
                fake.process(pid, "/opt/server", &["server"]);
                fake.environment(pid, &[("OTEL_SERVICE_NAME", &format!("named-{pid}"))]);
            }
            let table = ProcessTable::new(Reader::new(Identifier::new(fake.proc())));
            Self { fake, table, held: Held::default(), told: Vec::new() }
        }

        /// What is asked of what is held, and what it hands over.
        fn with(&mut self, act: impl FnOnce(&mut Held, &mut ProcessTable, &mut dyn FnMut(Event))) {
            let told = &mut self.told;
            act(&mut self.held, &mut self.table, &mut |event| {
                told.push(match event {
                    Event::Process(process) => process.service_name().to_owned(),
                    event => event.time().unwrap().to_string(),
                });
            });
        }

        fn introduce(&mut self, pid: Pid) {
            self.with(|held, table, mut take| {
                held.introduce(Introduction { pid, answer: table.ask(pid), command: None }, &mut take);
            });
        }

        fn pass(&mut self, time: u64) {
            self.with(|held, _, mut take| held.pass(Event::Tick { time }, &mut take));
        }

        fn release_until(&mut self, events: usize) {
            let deadline = Instant::now() + LONG;
            while self.told.len() < events && Instant::now() < deadline {
                self.with(|held, table, mut take| held.release(table, &mut take));
                std::thread::yield_now();
            }
        }
    }

    #[test]
    fn a_process_comes_before_its_events_and_nothing_is_overtaken() {
        let mut world = World::new();
        world.pass(1);
        world.introduce(40);
        world.pass(2);
        world.introduce(41);
        world.pass(3);
        world.release_until(5);
        assert_eq!(world.told, ["1", "named-40", "2", "named-41", "3"]);
        assert_eq!(world.held.size, 0);
        world.pass(4);
        assert_eq!(world.told.len(), 6, "nothing is held any more");
    }

    #[test]
    fn a_process_that_is_known_late_is_told_of_twice() {
        let mut world = World::new();
        world.fake.hang("40/environ");
        world.introduce(40);
        world.pass(1);
        world.with(|held, table, mut take| held.release(table, &mut take));
        world.release_until(2);
        assert_eq!(world.told, ["server", "1"], "what the kernel knows");
        std::fs::write(world.fake.path("40/environ"), "OTEL_SERVICE_NAME=late\0").unwrap();
        world.release_until(3);
        assert_eq!(world.told, ["server", "1", "late"]);
    }

    #[test]
    fn what_is_known_late_of_a_program_that_is_gone_is_not_told() {
        let mut world = World::new();
        world.fake.hang("40/environ");
        world.introduce(40);
        world.release_until(1);
        let answer = world.table.ask(40);
        world.table.on_exec(40);
        std::fs::write(world.fake.path("40/environ"), "").unwrap();
        world.table.reader().wait([&answer], LONG);
        world.with(|held, table, mut take| held.release(table, &mut take));
        assert_eq!(world.told, ["server"]);
        assert!(world.held.late.is_empty());
    }

    #[test]
    fn the_end_and_full_memory_wait_for_nobody() {
        let mut world = World::new();
        world.fake.hang("40/environ");
        world.introduce(40);
        world.pass(1);
        world.held.size = MAX_HELD + 1;
        world.with(|held, table, mut take| held.release(table, &mut take));
        assert_eq!(world.told, ["server", "1"]);
        world.fake.hang("41/environ");
        world.introduce(41);
        world.pass(2);
        world.with(|held, table, mut take| held.finish(table.reader(), &mut take));
        assert_eq!(world.told, ["server", "1", "server", "2"]);
        for pid in [40, 41] {
            std::fs::write(world.fake.path(&format!("{pid}/environ")), "").unwrap();
        }
    }
}
