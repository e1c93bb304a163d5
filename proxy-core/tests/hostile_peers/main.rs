//! Peers that hold on to what they get, hundreds at once: in every phase of a connection they end by the timeout that is
//! documented for it, they are counted, each costs a bounded amount of memory, and whoever behaves beside them gets the
//! right answers all the while. Floods of HTTP/2 and header bombs are in `data_path/http2/hostile.rs`, names that lie in
//! `src/control/tests/names.rs`; how long neighbours wait meanwhile is measured by `scripts/hostile`.

#[macro_use]
#[path = "../data_path/harness/mod.rs"]
#[allow(dead_code, unused_imports, reason = "shared with the tests of the data path")]
mod harness;
#[path = "../data_path/http2/raw.rs"]
#[allow(dead_code, reason = "shared with the tests of the data path")]
mod raw;

mod clients;
mod endpoints;
mod siege;
