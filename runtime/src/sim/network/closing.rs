//! How connections end: in an orderly way, by a reset, torn.

use super::{Event, Network, State, errno_name};

impl Network {
    pub(crate) fn shutdown(&mut self, number: u32) {
        let Some(socket) = self.get(number) else { return };
        assert!(socket.send.is_none(), "socket #{number} ends while it sends");
        if !std::mem::replace(&mut socket.shut, true) {
            self.note("shuts", number, &[], String::new);
            self.send_end(number);
        }
    }

    pub(super) fn send_end(&mut self, number: u32) {
        let Some(peer) = self.get(number).and_then(|socket| socket.peer) else { return };
        let at = self.arrival_at(peer);
        match self.get(peer) {
            Some(target) => {
                target.incoming.end_us = Some(at);
                self.schedule(at, Event::Look { socket: peer });
            }
            None => self.sent_to_nobody(number),
        }
    }

    // Ending.

    /// A socket's last owner lets it go.
    pub(crate) fn close(&mut self, number: u32, reset: bool) {
        self.arrivals(number);
        self.note(if reset { "resets" } else { "closes" }, number, &[], String::new);
        let Some(socket) = self.sockets.get_mut(number as usize).and_then(Option::take) else { return };
        assert!(socket.outstanding() == 0, "socket #{number} is closed with operations outstanding");
        if let (State::Listening, Some(address)) = (socket.state, socket.local) {
            if let Some(group) = self.listeners.get_mut(&address) {
                group.retain(|listener| *listener != number);
            }
            self.listeners.retain(|_, group| !group.is_empty());
            // Nobody will accept them.
            socket.queue.iter().for_each(|waiting| self.close(*waiting, true));
            return;
        }
        let Some(peer) = socket.peer.filter(|_| !socket.broken) else { return };
        let overtakes = self.random.chance(self.faults.reset_overtakes);
        if reset || !socket.incoming.arrived.is_empty() {
            let at = if overtakes { self.now_us + self.latency_us() } else { self.arrival_at(peer) };
            return self.schedule(at, Event::Reset { socket: peer, errno: libc::ECONNRESET });
        }
        if !socket.shut {
            let at = self.arrival_at(peer);
            if let Some(target) = self.get(peer) {
                target.incoming.end_us = Some(at);
            }
            self.schedule(at, Event::Look { socket: peer });
        }
        // What arrives from now on is answered with a reset.
        if socket.incoming.flying_bytes > 0 {
            let at = socket.incoming.last_us + self.latency_us();
            self.schedule(at, Event::Reset { socket: peer, errno: libc::ECONNRESET });
        }
    }

    /// A reset or a refusal arrives. What has arrived before it can still be received.
    pub(super) fn reset(&mut self, number: u32, errno: i32) {
        self.arrivals(number);
        let now_us = self.now_us;
        let Some(socket) = self.get(number).filter(|socket| !socket.broken) else { return };
        socket.broken = true;
        socket.incoming.flying.clear();
        socket.incoming.flying_bytes = 0;
        let ended = socket.incoming.end_us.is_some_and(|at| at <= now_us);
        // Linux: after the peer's end a reset is a broken pipe.
        socket.error = if ended && errno == libc::ECONNRESET { libc::EPIPE } else { errno };
        self.note("is reset", number, &[errno as u64], || errno_name(errno));
        self.look(number);
    }

    /// Something on the way resets both ends.
    pub(super) fn tear(&mut self, number: u32) {
        let Some(socket) = self.get(number).filter(|socket| !socket.broken) else { return };
        let (peer, local) = (socket.peer, socket.local);
        self.injuries.torn += 1;
        self.note("is torn", number, &[], String::new);
        self.torn.extend(local);
        self.reset(number, libc::ECONNRESET);
        if let Some(peer) = peer {
            let at = self.now_us + self.latency_us();
            let far = self.get(peer).and_then(|socket| socket.local);
            self.torn.extend(far);
            self.schedule(at, Event::Reset { socket: peer, errno: libc::ECONNRESET });
        }
    }
}
