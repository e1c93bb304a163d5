//! What the process does about overload. The control thread decides (`control/overload.rs`), cores are told.

/// What is being done; nothing by default. Each ends by itself when pressure falls.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Actions {
    /// Responses end their connections, idle ones are closed as in a drain.
    pub disable_keepalive: bool,
    /// Connections wait in the kernel's queue.
    pub stop_accepting: bool,
    /// Requests are refused.
    pub shed_requests: bool,
}
