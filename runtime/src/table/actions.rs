//! What follows from a socket's state: the next thing that a driver has to do for it.

use super::flag::*;
use super::{Action, Entry, GENERATION_MASK, Key, LINGER_TIMEOUT_MS, Phase, Table};

impl Table {
    /// The next thing that a driver has to do for this socket, noted as being done.
    pub(crate) fn next_action(&mut self, index: u32) -> Option<Action> {
        match self.entries[index as usize].phase {
            Phase::Free => None,
            Phase::Listening => self.next_for_listener(index),
            Phase::Connecting => {
                let entry = &mut self.entries[index as usize];
                let issue = !entry.has(CONNECT_ISSUED);
                entry.flags |= CONNECT_ISSUED;
                issue.then_some(Action::Connect)
            }
            Phase::Open => next_for_stream(&mut self.entries[index as usize]),
            Phase::Flushing => self.next_for_flushing(index),
            Phase::Lingering => {
                let entry = &mut self.entries[index as usize];
                next_receive(entry)
            }
            Phase::Dying => self.next_for_dying(index),
        }
    }

    fn next_for_listener(&mut self, index: u32) -> Option<Action> {
        let entry = &mut self.entries[index as usize];
        if entry.has(PAUSED) {
            if entry.has(RECEIVING) && !entry.has(STOPPING) {
                entry.flags |= STOPPING;
                return Some(Action::StopReceiving);
            }
        } else if !entry.has(RECEIVING | STARVED) {
            entry.flags |= RECEIVING;
            return Some(Action::Accept);
        }
        None
    }

    fn next_for_flushing(&mut self, index: u32) -> Option<Action> {
        let deadline = self.now_ms + LINGER_TIMEOUT_MS;
        let entry = &mut self.entries[index as usize];
        if let Some(action) = next_send(entry) {
            return Some(action);
        }
        if entry.send_bytes > 0 || entry.has(SENDING) {
            return None;
        }
        if !entry.has(LINGER) || entry.has(ENDED) {
            entry.phase = Phase::Dying;
            return self.next_for_dying(index);
        }
        entry.phase = Phase::Lingering;
        let key = Key { index, generation: entry.generation };
        self.lingering.push_back((deadline, key));
        let entry = &mut self.entries[index as usize];
        // The receive has to be armed to see the peer's end; that is the next call's business.
        entry.flags &= !PAUSED;
        self.mark(index);
        let entry = &mut self.entries[index as usize];
        let shut = !entry.has(SHUT_DONE);
        entry.flags |= SHUT_DONE;
        shut.then_some(Action::ShutdownWrite)
    }

    fn next_for_dying(&mut self, index: u32) -> Option<Action> {
        let entry = &mut self.entries[index as usize];
        if entry.outstanding > 0 {
            let issue = !entry.has(CANCEL_ISSUED);
            entry.flags |= CANCEL_ISSUED;
            return issue.then_some(Action::CancelAll);
        }
        let action = Action::Close { fd: entry.fd, reset: entry.has(RESET) };
        let generation = (entry.generation + 1) & GENERATION_MASK;
        let marked = entry.flags & ATTENTION;
        // The queues keep their memory for the next connection in this place, unless they grew large.
        let (mut received, mut send) = (std::mem::take(&mut entry.received), std::mem::take(&mut entry.send));
        received.clear();
        send.clear();
        *entry = Entry::new();
        entry.generation = generation;
        entry.flags = marked;
        if received.capacity() <= 16 {
            entry.received = received;
        }
        if send.capacity() <= 16 {
            entry.send = send;
        }
        self.free.push(index);
        self.open -= 1;
        Some(action)
    }

    /// Ends the sockets whose time to flush or linger is up, and lets listeners that paused try again.
    pub(crate) fn expire(&mut self) {
        while let Some((_, key)) = self.flushing.pop_front_if(|(deadline, _)| *deadline <= self.now_ms) {
            self.end(key, Phase::Flushing);
        }
        while let Some((_, key)) = self.lingering.pop_front_if(|(deadline, _)| *deadline <= self.now_ms) {
            self.end(key, Phase::Lingering);
        }
        while let Some((_, key)) = self.accept_retries.pop_front_if(|(deadline, _)| *deadline <= self.now_ms) {
            self.fed(key);
        }
    }

    fn end(&mut self, key: Key, phase: Phase) {
        if let Some(entry) = self.find(key)
            && entry.phase == phase
        {
            entry.phase = Phase::Dying;
            self.mark(key.index);
        }
    }

    /// The earliest of these deadlines. Entries that are gone already cost one empty wake-up.
    pub(crate) fn next_deadline(&self) -> Option<u64> {
        [&self.flushing, &self.lingering, &self.accept_retries]
            .into_iter()
            .filter_map(|queue| queue.front().map(|(deadline, _)| *deadline))
            .min()
    }

    /// Puts every socket on its way out, whatever it does (the core stops).
    pub(crate) fn close_all(&mut self) {
        for index in 0..self.entries.len() as u32 {
            let entry = &mut self.entries[index as usize];
            if !matches!(entry.phase, Phase::Free | Phase::Dying) {
                entry.phase = Phase::Dying;
                self.mark(index);
            }
        }
    }
}

fn next_for_stream(entry: &mut Entry) -> Option<Action> {
    if let Some(action) = next_send(entry) {
        return Some(action);
    }
    if entry.has(SHUT_WANTED) && !entry.has(SHUT_DONE | SENDING) && entry.send_bytes == 0 && entry.error == 0 {
        entry.flags |= SHUT_DONE;
        return Some(Action::ShutdownWrite);
    }
    next_receive(entry)
}

fn next_send(entry: &mut Entry) -> Option<Action> {
    if entry.send_bytes == 0 || entry.has(SENDING) || entry.error != 0 {
        return None;
    }
    entry.flags |= SENDING;
    Some(Action::Send)
}

fn next_receive(entry: &mut Entry) -> Option<Action> {
    if entry.has(PAUSED) {
        if entry.has(RECEIVING) && !entry.has(STOPPING) {
            entry.flags |= STOPPING;
            return Some(Action::StopReceiving);
        }
        return None;
    }
    if entry.has(RECEIVING | STARVED | ENDED) || entry.error != 0 {
        return None;
    }
    entry.flags |= RECEIVING;
    Some(Action::Receive { once: entry.has(BULK) })
}
