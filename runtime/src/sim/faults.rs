//! What a simulated network and host do to a program.

/// How rough a simulation is. Chances are per mille of the occasions that a field names; 0 is never.
#[derive(Clone, Debug)]
pub struct Faults {
    /// Way of a segment from one end of a connection to the other, µs, from and to.
    pub latency_us: (u64, u64),
    /// Bytes that one direction of a connection holds before its sender has to wait: both ends' socket buffers
    /// together, from and to.
    pub pipe_bytes: (u64, u64),
    /// A send is cut into segments that arrive one by one; of a receive: only a part of what is there comes.
    pub split: u32,
    /// A send ends after a part of its bytes, or with EINTR.
    pub short_send: u32,
    /// A multishot receive or accept ends although it could go on.
    pub multishot_ends: u32,
    /// A receive finds no buffer although there are some.
    pub no_buffer: u32,
    /// An accept fails: with ECONNABORTED, or for want of descriptors.
    pub accept_fails: u32,
    /// A new connection is torn after some bytes or some time: both ends are reset.
    pub torn: u32,
    /// A reset overtakes what was sent before it.
    pub reset_overtakes: u32,
    /// A connect is refused.
    pub refused: u32,
    /// A connect hangs.
    pub hangs: u32,
    /// A core wakes late for a timer, by up to `late_us`.
    pub late: u32,
    pub late_us: u64,
    /// A turn of a core is followed by a time of up to `stall_us` in which it doesn't run.
    pub stall: u32,
    pub stall_us: u64,
    /// Mail waits up to this long before the core wakes for it.
    pub mail_us: u64,
    /// What a turn costs, µs, from and to.
    pub turn_us: (u64, u64),
    /// Completions become visible up to this long after the fact.
    pub completion_us: u64,
    /// Receive buffers lent to the simulated kernel at first, and those that a core may have.
    pub buffers_lent: u16,
    pub receive_buffers_max: usize,
}

impl Faults {
    /// A quick network that does nothing out of the ordinary; everything is still in a seed-chosen order.
    pub fn calm() -> Faults {
        Faults {
            latency_us: (20, 200),
            pipe_bytes: (65_536, 262_144),
            split: 20,
            short_send: 0,
            multishot_ends: 0,
            no_buffer: 0,
            accept_fails: 0,
            torn: 0,
            reset_overtakes: 0,
            refused: 0,
            hangs: 0,
            late: 0,
            late_us: 0,
            stall: 0,
            stall_us: 0,
            mail_us: 50,
            turn_us: (1, 20),
            completion_us: 5,
            buffers_lent: 16,
            receive_buffers_max: 128,
        }
    }
}
