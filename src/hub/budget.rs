//! One bound for everything that waits or is kept, and what goes first when it is reached.

/// How much memory a server's connections, histories and log may hold together: what waits for sockets, what came of bodies and messages
/// that are not whole yet (of connections with 16 KiB and more of one), what is retained, and what workers have still to read.
///
/// Each owner has a bound of its own: a connection its queue, a topic its history, the hub all histories. They cannot all be reached at
/// once, or a server of many connections would need terabytes; this is the bound of what they hold together. When it is passed, things go in
/// this order:
///
/// 1. Ephemeral publications are dropped.
/// 2. Histories let go, the oldest of all topics first, each with a gap for whoever comes back to it.
/// 3. When no history is left, queues: a connection that has anything waiting counts as slow at once, and its topics' policies apply.
/// 4. Publications are refused (503), those of a POST before their body is read, until there is room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Bytes. Default 1 GiB.
    pub bytes: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self { bytes: 1 << 30 }
    }
}

/// What has to go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pressure {
    /// Nothing.
    #[default]
    None,
    /// Ephemeral publications, and so many bytes of histories.
    Histories(usize),
    /// All histories are gone, and it is still too much.
    Queues,
}

impl Budget {
    /// What has to go where `waiting` bytes wait in queues, in what is not whole yet and in the log, and `retained` bytes in histories.
    pub const fn pressure(self, waiting: usize, retained: usize) -> Pressure {
        let over = waiting.saturating_add(retained).saturating_sub(self.bytes);
        match over {
            0 => Pressure::None,
            _ if waiting > self.bytes => Pressure::Queues,
            _ => Pressure::Histories(over),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn histories_go_before_queues_and_no_more_of_them_than_must() {
        let budget = Budget { bytes: 100 };
        assert_eq!(budget.pressure(40, 60), Pressure::None);
        assert_eq!(budget.pressure(41, 60), Pressure::Histories(1));
        assert_eq!(budget.pressure(100, 60), Pressure::Histories(60));
        assert_eq!(budget.pressure(101, 60), Pressure::Queues);
        assert_eq!(budget.pressure(101, 0), Pressure::Queues);
        assert_eq!(budget.pressure(usize::MAX, usize::MAX), Pressure::Queues);
    }
}
