//! What arrives at a socket, and the receives that wait for it.

use super::{Event, Network, Operation, Receipt, State, errno_name};
use crate::buffers::RECEIVE_BUFFER_BYTES;
use crate::table::Key;

impl Network {
    /// Arms a receive or an accept.
    pub(crate) fn arm(&mut self, number: u32, mut operation: Operation) {
        self.events_made += 1;
        operation.serial = self.events_made;
        let Some(socket) = self.get(number) else { return };
        assert!(socket.receive.is_none(), "two receives of socket #{number} at once");
        socket.core = Some(operation.core);
        socket.receive = Some(operation);
        self.look(number);
    }

    pub(super) fn arrivals(&mut self, number: u32) {
        let now_us = self.now_us;
        let Some(socket) = self.get(number) else { return };
        let pipe = &mut socket.incoming;
        while let Some((_, bytes)) = pipe.flying.pop_front_if(|(at, _)| *at <= now_us) {
            pipe.flying_bytes -= bytes.len();
            pipe.arrived.extend(bytes);
        }
    }

    /// What a receive gives next; `buffers`: whether one is lent.
    pub(crate) fn received(&mut self, number: u32, buffers: bool) -> Option<(Key, Receipt)> {
        self.arrivals(number);
        let split = self.random.chance(self.faults.split);
        let ends = self.random.chance(self.faults.multishot_ends);
        let starves = self.random.chance(self.faults.no_buffer);
        let now_us = self.now_us;
        let socket = self.get(number).filter(|socket| socket.state == State::Open)?;
        let operation = socket.receive?;
        let key = operation.key;
        if operation.cancelled {
            socket.receive = None;
            return Some((key, Receipt::Ended(libc::ECANCELED)));
        }
        let there = socket.incoming.arrived.len();
        if there == 0 {
            let errno = if socket.error != 0 {
                std::mem::take(&mut socket.error)
            } else if socket.broken || socket.incoming.end_us.is_some_and(|at| at <= now_us) {
                0
            } else {
                return None;
            };
            socket.receive = None;
            self.note("receive", number, &[errno as u64], || match errno {
                0 => "the end".into(),
                errno => format!("fails: {}", errno_name(errno)),
            });
            return Some((key, Receipt::Ended(errno)));
        }
        if !buffers || starves {
            socket.receive = None;
            self.note("receive", number, &[there as u64], || format!("finds no buffer for {there} bytes"));
            return Some((key, Receipt::NoBuffer));
        }
        let most = there.min(RECEIVE_BUFFER_BYTES);
        let n = if split { self.random.size(most as u64) as usize } else { most };
        let socket = self.get(number)?;
        let bytes: Vec<u8> = socket.incoming.arrived.drain(..n).collect();
        socket.incoming.taken_us = now_us;
        let more = !operation.once && !ends;
        if !more {
            socket.receive = None;
        }
        let peer = socket.peer;
        // Room for more: the sender hears of it a moment later.
        if let Some(peer) = peer
            && self.get(peer).is_some_and(|peer| peer.send.is_some())
        {
            let at = self.now_us + self.latency_us();
            self.schedule(at, Event::Look { socket: peer });
        }
        self.trace.bytes(&bytes);
        self.note("receive", number, &[n as u64, u64::from(more)], || format!("{n} bytes of {there}"));
        self.look(number);
        Some((key, Receipt::Data { bytes, more }))
    }

    /// Cancels a receive or an accept, in a moment.
    pub(crate) fn stop_receiving(&mut self, number: u32) {
        let at = self.now_us + self.random.below(self.faults.completion_us + 1);
        if let Some(receive) = self.get(number).and_then(|socket| socket.receive) {
            self.schedule(at, Event::StopReceiving { socket: number, serial: receive.serial });
        }
    }

    /// Cancels everything of a socket, in a moment.
    pub(crate) fn cancel_all(&mut self, number: u32) {
        let at = self.now_us + self.random.below(self.faults.completion_us + 1);
        self.schedule(at, Event::CancelAll { socket: number });
    }

    // Sending.
}
