//! Everything that was not captured or not understood, counted by cause. Nothing is lost silently.

use std::fmt;

macro_rules! losses {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// Why something is missing from the traces.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Loss {
            $($(#[$doc])* $variant,)*
        }

        impl Loss {
            /// Every cause, in the order they are shown.
            pub const ALL: &[Loss] = &[$(Loss::$variant,)*];

            /// The name in counters, recordings and the summary at the end of a run.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Loss::$variant => $name,)*
                }
            }
        }
    };
}

losses! {
    /// The ring buffer was full: what a system call moved was dropped. One for each call.
    RingFull = "ring_full",
    /// The ring buffer was full: that a socket was connected or closed, or a process executed or ended, was not told.
    NoticeLost = "notice_lost",
    /// A kernel table was full: a process, a thread's call or a socket's call was not followed.
    MapFull = "map_full",
    /// A descriptor was closed by another thread while the first call on its socket was under way: the call was not followed.
    DescriptorGone = "descriptor_gone",
    /// A program was interrupted by another thread (possible since Linux 7.0) and the kernel left out what that one did: a system
    /// call of any process on the host, observed or not.
    Preempted = "preempted",
    /// The kernel could not read the user memory that a system call named.
    UserFault = "user_fault",
    /// More buffers or messages in one system call than are looked at.
    Budget = "budget",
    /// A packet capture lacks bytes that were sent.
    PacketMissing = "packet_missing",
    /// A packet capture has only the beginning of a packet.
    PacketCut = "packet_cut",
    /// A packet of a capture is a fragment, or its headers are broken or of an unknown kind.
    PacketUnreadable = "packet_unreadable",
    /// Bytes of a followed socket are missing where they were needed.
    Gap = "gap",
    /// A socket was given up: no known protocol.
    UnknownProtocol = "unknown_protocol",
    /// A socket was given up: encrypted.
    Tls = "tls",
    /// A socket was given up: a compressed database session.
    Compressed = "compressed",
    /// A socket was given up or an exchange dropped: bytes that break the protocol's rules.
    Malformed = "malformed",
    /// A request or statement whose response was not seen completely. It has a span all the same, which says so.
    Incomplete = "incomplete",
    /// A request or statement that was under way when its connection was given up, or when syspan ended: no span.
    Unfinished = "unfinished",
    /// A response without its request (it was sent before the agent looked).
    Unmatched = "unmatched",
    /// A statement prepared before the agent saw the connection: a span without text.
    UnknownStatement = "unknown_statement",
    /// An engine table was full: the oldest entry was dropped.
    Evicted = "evicted",
    /// What a call moved on a socket that had been evicted, before the kernel could announce it again.
    Unfollowed = "unfollowed",
    /// A process uses io_uring: its traffic is not seen.
    IoUring = "io_uring",
    /// The export queue was full: a span was dropped.
    QueueFull = "queue_full",
    /// The collector did not take the span, for good.
    ExportFailed = "export_failed",
    /// The collector answered that it rejected the span (partial success).
    Rejected = "rejected",
}

impl Loss {
    /// What the user can do about it, in a few words; `None` where it is in the nature of what is observed, or a consequence
    /// of another cause.
    #[must_use]
    pub fn remedy(self) -> Option<&'static str> {
        match self {
            Loss::RingFull | Loss::NoticeLost => Some("--ring-size, fewer processes, or more CPU for syspan"),
            Loss::MapFull | Loss::Evicted => Some("select fewer processes"),
            Loss::Budget => Some("--head-limit, --sql-limit"),
            Loss::PacketMissing => Some("tcpdump with a larger buffer, -B 32768"),
            Loss::PacketCut => Some("tcpdump with whole packets, -s 0"),
            Loss::Preempted => Some("the kernel's own doing: give the host more CPU time"),
            Loss::IoUring => Some("switch io_uring off in that program"),
            Loss::QueueFull => Some("a faster collector, or OTEL_BSP_MAX_QUEUE_SIZE"),
            Loss::ExportFailed | Loss::Rejected => Some("see the collector's log"),
            Loss::UserFault
            | Loss::DescriptorGone
            | Loss::PacketUnreadable
            | Loss::Gap
            | Loss::UnknownProtocol
            | Loss::Tls
            | Loss::Compressed
            | Loss::Malformed
            | Loss::Incomplete
            | Loss::Unfinished
            | Loss::Unmatched
            | Loss::UnknownStatement
            | Loss::Unfollowed => None,
        }
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Counters, one for each [`Loss`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Losses([u64; Loss::ALL.len()]);

impl Losses {
    /// Counts one more.
    pub fn count(&mut self, loss: Loss) {
        self.add(loss, 1);
    }

    /// Counts `n` more.
    pub fn add(&mut self, loss: Loss, n: u64) {
        if let Some(counter) = self.0.get_mut(loss as usize) {
            *counter = counter.saturating_add(n);
        }
    }

    /// How many so far.
    #[must_use]
    pub fn get(&self, loss: Loss) -> u64 {
        self.0.get(loss as usize).copied().unwrap_or(0)
    }

    /// The counters that are not zero.
    pub fn iter(&self) -> impl Iterator<Item = (Loss, u64)> + '_ {
        Loss::ALL.iter().map(|&loss| (loss, self.get(loss))).filter(|&(_, n)| n > 0)
    }

    /// The cause of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Loss> {
        Loss::ALL.iter().copied().find(|loss| loss.name() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::Loss;

    #[test]
    fn every_cause_has_its_row_in_the_documentation() {
        let page = include_str!("../../../docs/losses.md");
        let causes = page.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
        let causes: Vec<_> = causes.flat_map(|cell| cell.split(", ")).collect();
        for loss in Loss::ALL {
            let name = format!("`{loss}`");
            assert!(causes.contains(&name.as_str()), "docs/losses.md has no row for {name}");
        }
    }
}
