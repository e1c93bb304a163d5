//! What both ends have in common in HTTP/2.

use codecs::http::HeadLimits;
use codecs::http::h2::{BudgetLimits, Limits, Rate};

/// No budget runs out: these ends are for measuring, and whoever is measured decides what it sends. What would pile up
/// here is bounded by not reading on.
const UNLIMITED: Rate = Rate { burst: u32::MAX, per_sec: u32::MAX };

/// What a connection grants its peer; windows so large that they slow nobody down.
pub(crate) fn limits(concurrent_streams_max: u32) -> Limits {
    Limits {
        concurrent_streams_max,
        stream_window_bytes: 1024 * 1024,
        connection_window_bytes: 16 * 1024 * 1024,
        header_list_bytes_max: 256 * 1024,
        header_block_bytes_max: 256 * 1024,
        fields_max: HeadLimits::FIELDS_MAX,
        pending_replies_max: u32::MAX,
        budgets: BudgetLimits {
            resets: UNLIMITED,
            stream_errors: UNLIMITED,
            settings: UNLIMITED,
            pings: UNLIMITED,
            empty_data: UNLIMITED,
            small_data: UNLIMITED,
            priorities: UNLIMITED,
            window_updates: UNLIMITED,
            ignored: UNLIMITED,
        },
        ..Limits::default()
    }
}
