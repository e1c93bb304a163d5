//! Counters, gauges and histograms. `names` is the one table of them; a `Block` holds one scope's cells, a `Lane` is a
//! core's way to count in it, and the `Registry` knows all blocks for whoever reads.
//!
//! ```
//! use corelane::stats::{ClusterStat, Registry};
//!
//! let registry = Registry::new(2); // two cores
//! let app = registry.cluster("app");
//! let lane = app.lane(0); // core 0's
//! lane.inc(ClusterStat::UpstreamRqTotal);
//! lane.status(200);
//! lane.observe_us(ClusterStat::UpstreamRqTime, 1_250);
//! assert_eq!(app.sum(ClusterStat::UpstreamRqTotal), 1);
//! ```

mod block;
pub mod histogram;
pub mod names;
mod registry;
pub mod show;

pub use block::{Block, Lane};
pub use names::{
    ClusterStat, EndpointStat, HttpStat, Kind, ListenerStat, OverloadStat, Scope, ServerStat, Stat, TcpStat,
};
pub use registry::{FLUSH_INTERVAL_MS, Registry};

#[cfg(test)]
mod tests;
