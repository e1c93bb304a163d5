//! What a socket sends, and when that arrives.

use super::{Event, Network, Passage, Sending, errno_name};
use crate::table::Key;

impl Network {
    pub(crate) fn arm_send(&mut self, number: u32, send: Sending) {
        let Some(socket) = self.get(number) else { return };
        assert!(socket.send.is_none(), "two sends of socket #{number} at once");
        assert!(!socket.shut, "a send of socket #{number} after its end");
        socket.core = Some(send.core);
        socket.send = Some(send);
        self.look(number);
    }

    /// The send of a socket: its key, and how much of it is gone and how much there was.
    pub(crate) fn sending(&mut self, number: u32) -> Option<(Key, usize, usize)> {
        self.get(number)?.send.as_ref().map(|send| (send.key, send.taken, send.total))
    }

    /// What the send of a socket may do.
    pub(crate) fn passage(&mut self, number: u32) -> Passage {
        let short = self.random.chance(self.faults.short_send);
        let split = self.random.chance(self.faults.split);
        let Some(socket) = self.get(number) else { return Passage::Wait };
        let Some(send) = &socket.send else { return Passage::Wait };
        let (left, taken) = (send.total - send.taken, send.taken);
        let over = if socket.error != 0 || socket.broken || socket.shut {
            let errno = std::mem::take(&mut socket.error);
            Some(if errno != 0 { -errno } else { -libc::EPIPE })
        } else if left == 0 || (short && taken > 0) {
            Some(taken as i32)
        } else if send.cancelled {
            Some(if taken > 0 { taken as i32 } else { -libc::ECANCELED })
        } else if short {
            Some(-libc::EINTR)
        } else {
            None
        };
        if let Some(result) = over {
            socket.send = None;
            self.note("send", number, &[result as u64], || match result {
                0.. => format!("{result} bytes done"),
                errno => format!("fails: {}", errno_name(-errno)),
            });
            return Passage::Over(result);
        }
        let Some(peer) = socket.peer else { return Passage::Wait };
        self.arrivals(peer);
        // Into the void, until the answer to it arrives.
        let room = self.get(peer).map_or(left, |peer| {
            let pipe = &peer.incoming;
            pipe.capacity.saturating_sub(pipe.flying_bytes + pipe.arrived.len())
        });
        match room.min(left) {
            0 => Passage::Wait,
            most if split => Passage::Take(self.random.size(most as u64) as usize),
            most => Passage::Take(most),
        }
    }

    /// Bytes of a send leave.
    pub(crate) fn transmit(&mut self, number: u32, bytes: &[u8]) {
        let Some(socket) = self.get(number) else { return };
        if let Some(send) = &mut socket.send {
            send.taken += bytes.len();
        }
        let Some(peer) = socket.peer else { return };
        let torn = match &mut socket.torn_after {
            Some(left) => {
                *left = left.saturating_sub(bytes.len() as u64);
                *left == 0
            }
            None => false,
        };
        self.trace.bytes(bytes);
        self.note("send", number, &[bytes.len() as u64], || format!("{} bytes leave", bytes.len()));
        self.look(number);
        if self.get(peer).is_none() {
            return self.sent_to_nobody(number);
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            let n = if self.random.chance(self.faults.split) {
                self.random.size(rest.len() as u64) as usize
            } else {
                rest.len()
            };
            let (segment, others) = rest.split_at(n);
            rest = others;
            let at = self.arrival_at(peer);
            // To a socket that has been reset nothing arrives any more: a hole would follow what it has.
            let Some(target) = self.get(peer).filter(|target| !target.broken) else { break };
            target.incoming.flying.push_back((at, segment.to_vec()));
            target.incoming.flying_bytes += segment.len();
            self.schedule(at, Event::Look { socket: peer });
        }
        if torn {
            self.tear(number);
        }
    }

    /// When what is sent to a socket now arrives there.
    pub(super) fn arrival_at(&mut self, number: u32) -> u64 {
        let at = self.now_us + self.latency_us();
        let Some(socket) = self.get(number) else { return at };
        socket.incoming.last_us = socket.incoming.last_us.max(at);
        socket.incoming.last_us
    }

    pub(super) fn sent_to_nobody(&mut self, number: u32) {
        let at = self.now_us + self.latency_us() + self.latency_us();
        if let Some(socket) = self.get(number)
            && !std::mem::replace(&mut socket.reset_due, true)
        {
            self.schedule(at, Event::Reset { socket: number, errno: libc::ECONNRESET });
        }
    }
}
