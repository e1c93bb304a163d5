//! Budgets against abuse: how much of what costs us and brings nothing a peer may do.
//!
//! There is no clock here. A budget is refilled by useful work (a stream that completes, a DATA frame) and by
//! [`Connection::tick`](super::Connection::tick), which the caller calls with the seconds that have passed.

use super::error::ErrorKind;

/// How often a peer may do something.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rate {
    /// At most so often at once.
    pub burst: u32,
    /// So often more with every second.
    pub per_sec: u32,
}

/// The budgets of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BudgetLimits {
    /// RST_STREAM on streams that weren't done. A stream that completes gives one back.
    pub resets: Rate,
    /// Stream errors that the peer provoked. A stream that completes gives one back.
    pub stream_errors: Rate,
    /// SETTINGS, acknowledgements included.
    pub settings: Rate,
    /// PING, acknowledgements included.
    pub pings: Rate,
    /// DATA without payload that doesn't end its stream. DATA with payload gives one back.
    pub empty_data: Rate,
    /// Of a client: DATA with fewer than [`SMALL_DATA_BYTES`] of payload that neither ends its stream nor fills a window.
    /// Every so many bytes of payload give one back, as do a DATA frame that we send and a stream that completes: whoever
    /// sends that much a frame on average, or is answered, never runs out of it.
    pub small_data: Rate,
    pub priorities: Rate,
    /// WINDOW_UPDATE. Every DATA frame that we send and every stream gives [`WINDOW_UPDATES_PER_FRAME`] back.
    pub window_updates: Rate,
    /// Frames without effect: of unknown types, on streams that are gone or were refused. A stream that completes gives one
    /// back.
    pub ignored: Rate,
}

/// WINDOW_UPDATE frames that are fair for a DATA frame that we sent: one each for stream and connection, and again as many
/// for peers that announce in small steps.
pub const WINDOW_UPDATES_PER_FRAME: u32 = 4;

/// Payload from which a DATA frame isn't small: what carries it to us, nine bytes for its header and the work of a piece, is
/// then in some proportion to it.
pub const SMALL_DATA_BYTES: u32 = 32;

impl Default for BudgetLimits {
    fn default() -> BudgetLimits {
        BudgetLimits {
            resets: Rate { burst: 200, per_sec: 20 },
            stream_errors: Rate { burst: 100, per_sec: 10 },
            settings: Rate { burst: 32, per_sec: 2 },
            pings: Rate { burst: 100, per_sec: 10 },
            empty_data: Rate { burst: 100, per_sec: 10 },
            small_data: Rate { burst: 10_000, per_sec: 10_000 },
            priorities: Rate { burst: 200, per_sec: 20 },
            window_updates: Rate { burst: 1000, per_sec: 100 },
            ignored: Rate { burst: 1000, per_sec: 100 },
        }
    }
}

/// Which budget.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum Budget {
    Resets,
    StreamErrors,
    Settings,
    Pings,
    EmptyData,
    SmallData,
    Priorities,
    WindowUpdates,
    Ignored,
}

const BUDGETS: usize = 9;

impl Budget {
    const ALL: [Budget; BUDGETS] = [
        Budget::Resets,
        Budget::StreamErrors,
        Budget::Settings,
        Budget::Pings,
        Budget::EmptyData,
        Budget::SmallData,
        Budget::Priorities,
        Budget::WindowUpdates,
        Budget::Ignored,
    ];

    fn rate(self, limits: &BudgetLimits) -> Rate {
        match self {
            Budget::Resets => limits.resets,
            Budget::StreamErrors => limits.stream_errors,
            Budget::Settings => limits.settings,
            Budget::Pings => limits.pings,
            Budget::EmptyData => limits.empty_data,
            Budget::SmallData => limits.small_data,
            Budget::Priorities => limits.priorities,
            Budget::WindowUpdates => limits.window_updates,
            Budget::Ignored => limits.ignored,
        }
    }

    fn error(self) -> ErrorKind {
        match self {
            Budget::Resets => ErrorKind::TooManyResets,
            Budget::StreamErrors => ErrorKind::TooManyStreamErrors,
            Budget::Settings => ErrorKind::SettingsFlood,
            Budget::Pings => ErrorKind::PingFlood,
            Budget::EmptyData => ErrorKind::EmptyDataFlood,
            Budget::SmallData => ErrorKind::SmallDataFlood,
            Budget::Priorities => ErrorKind::PriorityFlood,
            Budget::WindowUpdates => ErrorKind::WindowUpdateFlood,
            Budget::Ignored => ErrorKind::IgnoredFrameFlood,
        }
    }
}

/// What is left of each budget.
#[derive(Debug)]
pub(super) struct Budgets {
    left: [u32; BUDGETS],
}

impl Budgets {
    pub(super) fn new(limits: &BudgetLimits) -> Budgets {
        Budgets { left: Budget::ALL.map(|budget| budget.rate(limits).burst) }
    }

    /// Spends one; the error says which budget is used up.
    #[inline]
    pub(super) fn spend(&mut self, budget: Budget) -> Result<(), ErrorKind> {
        let left = &mut self.left[budget as usize];
        *left = left.checked_sub(1).ok_or_else(|| budget.error())?;
        Ok(())
    }

    /// Gives back `amount` for useful work, up to the burst.
    #[inline]
    pub(super) fn earn(&mut self, budget: Budget, amount: u32, limits: &BudgetLimits) {
        let left = &mut self.left[budget as usize];
        *left = left.saturating_add(amount).min(budget.rate(limits).burst);
    }

    pub(super) fn tick(&mut self, secs: u32, limits: &BudgetLimits) {
        for budget in Budget::ALL {
            self.earn(budget, budget.rate(limits).per_sec.saturating_mul(secs), limits);
        }
    }
}
