//! How rough a run is: the network's faults, and how clients and origins behave.

use runtime::sim::{Faults, Random};

#[derive(Clone, Debug)]
pub(crate) struct Profile {
    pub(crate) name: &'static str,
    pub(crate) faults: Faults,
    pub(crate) body_bytes_max: u64,
    pub(crate) delay_ms_max: u64,
    // Per mille.
    /// An origin breaks an exchange off.
    pub(crate) breaches: u32,
    /// An origin ends a connection with its response.
    pub(crate) closes: u32,
    /// An origin answers before it has read the request.
    pub(crate) early: u32,
    /// A peer pauses between two pieces that it sends, or before it reads on.
    pub(crate) pauses: u32,
    pub(crate) pause_ms_max: u64,
    /// Longest that an origin keeps an idle connection, ms.
    pub(crate) origin_idle_ms_max: u64,
    /// A client gives up an exchange that is under way.
    pub(crate) aborts: u32,
    /// Longest time between a config's arrival at one core and at the next, beside what mail takes, ms.
    pub(crate) control_ms_max: u64,
    /// An HTTP/1.1 origin goes on talking behind a response; an HTTP/2 origin answers a stream that was reset.
    pub(crate) unasked: u32,
    /// An HTTP/2 peer sends frames that no exchange needs, whenever it has something to do.
    pub(crate) chatter: u32,
}

impl Profile {
    /// Segments of one message may come seconds apart.
    pub(crate) fn is_sluggish(&self) -> bool {
        self.faults.latency_us.1 + self.faults.stall_us + self.faults.late_us > 500_000
    }

    /// How long after a program took what had arrived it may still do what it had begun before, as seen from the other
    /// end, µs.
    pub(crate) fn lag_us(&self) -> u64 {
        let faults = &self.faults;
        faults.latency_us.1 + 2 * (faults.completion_us + faults.stall_us + faults.late_us) + 1_000
    }

    pub(crate) fn draw(random: &mut Random) -> Profile {
        let calm = Profile {
            name: "calm",
            faults: Faults::calm(),
            body_bytes_max: 300_000,
            delay_ms_max: 50,
            breaches: 0,
            closes: 50,
            early: 0,
            pauses: 20,
            pause_ms_max: 20,
            origin_idle_ms_max: 60_000,
            aborts: 0,
            control_ms_max: 50,
            unasked: 0,
            chatter: 20,
        };
        match random.below(9) {
            0 => calm,
            1 => Profile {
                name: "slow",
                faults: Faults {
                    latency_us: (1_000, 300_000),
                    stall: 5,
                    stall_us: 400_000,
                    late: 100,
                    late_us: 50_000,
                    mail_us: 100_000,
                    ..calm.faults
                },
                body_bytes_max: 60_000,
                pauses: 200,
                pause_ms_max: 2_000,
                delay_ms_max: 5_000,
                control_ms_max: 2_000,
                ..calm
            },
            2 => Profile {
                name: "tiny buffers",
                faults: Faults { pipe_bytes: (64, 4_000), split: 500, latency_us: (1, 2_000), ..calm.faults },
                body_bytes_max: 20_000,
                pauses: 50,
                early: 30,
                ..calm
            },
            3 => Profile {
                name: "few receive buffers",
                faults: Faults {
                    buffers_lent: 1,
                    receive_buffers_max: 12,
                    no_buffer: 100,
                    multishot_ends: 100,
                    short_send: 20,
                    completion_us: 2_000,
                    split: 200,
                    latency_us: (1, 20_000),
                    ..calm.faults
                },
                body_bytes_max: 100_000,
                ..calm
            },
            4 => Profile {
                name: "impatient origins",
                origin_idle_ms_max: 30,
                closes: 200,
                pause_ms_max: 60,
                pauses: 300,
                faults: Faults { latency_us: (10, 8_000), ..calm.faults },
                body_bytes_max: 20_000,
                ..calm
            },
            5 => Profile {
                name: "torn connections",
                faults: Faults {
                    torn: 250,
                    reset_overtakes: 300,
                    latency_us: (10, 20_000),
                    split: 200,
                    completion_us: 500,
                    ..calm.faults
                },
                body_bytes_max: 80_000,
                ..calm
            },
            6 => Profile {
                name: "broken origins",
                breaches: 150,
                early: 50,
                aborts: 50,
                faults: Faults { refused: 50, hangs: 20, split: 100, latency_us: (10, 10_000), ..calm.faults },
                body_bytes_max: 50_000,
                unasked: 30,
                ..calm
            },
            7 => Profile {
                name: "talkative peers",
                faults: Faults { split: 200, latency_us: (10, 2_000), ..calm.faults },
                body_bytes_max: 50_000,
                origin_idle_ms_max: 10_000,
                aborts: 50,
                unasked: 250,
                chatter: 300,
                ..calm
            },
            _ => Profile {
                name: "chaos",
                faults: Faults {
                    latency_us: (1, 100_000),
                    pipe_bytes: (500, 60_000),
                    split: 300,
                    short_send: 30,
                    multishot_ends: 50,
                    no_buffer: 30,
                    accept_fails: 50,
                    torn: 120,
                    reset_overtakes: 500,
                    refused: 30,
                    hangs: 10,
                    late: 100,
                    late_us: 50_000,
                    stall: 10,
                    stall_us: 200_000,
                    mail_us: 50_000,
                    completion_us: 1_000,
                    buffers_lent: 2,
                    receive_buffers_max: 24,
                    ..calm.faults
                },
                body_bytes_max: 40_000,
                breaches: 60,
                early: 30,
                aborts: 30,
                pauses: 100,
                pause_ms_max: 500,
                origin_idle_ms_max: 2_000,
                control_ms_max: 1_000,
                unasked: 30,
                chatter: 50,
                ..calm
            },
        }
    }
}
