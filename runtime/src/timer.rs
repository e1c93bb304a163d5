//! A hierarchical timer wheel: four levels of 64 slots, 1 ms a tick.
//!
//! Setting and clearing are O(1); the next deadline is found from one bitmap a level. A timer whose deadline moves
//! later isn't moved in the wheel: it fires early, is compared with its deadline and is put back. A keep-alive
//! connection that pushes its idle deadline back with each request therefore costs one store.

const LEVELS: usize = 4;
const SLOT_BITS: u32 = 6;
const SLOTS: usize = 1 << SLOT_BITS;
const NONE: u32 = u32::MAX;
/// The farthest slot of the top level; later deadlines are parked there and put back when it comes round.
const HORIZON: u64 = 1 << (SLOT_BITS * LEVELS as u32);

pub(crate) type TimerId = u32;

struct Node<T> {
    target: Option<T>,
    /// When it is to fire, ms.
    deadline: u64,
    /// Where it hangs: level * SLOTS + slot; NONE when not in the wheel.
    slot: u32,
    /// The time for which it hangs there.
    hung_for: u64,
    next: u32,
    previous: u32,
}

pub(crate) struct Wheel<T> {
    nodes: Vec<Node<T>>,
    free: Vec<u32>,
    heads: [u32; LEVELS * SLOTS],
    occupied: [u64; LEVELS],
    /// All ticks up to and including this one have been expired.
    now: u64,
}

impl<T: Copy> Wheel<T> {
    pub(crate) fn new(now: u64) -> Wheel<T> {
        Wheel { nodes: Vec::new(), free: Vec::new(), heads: [NONE; LEVELS * SLOTS], occupied: [0; LEVELS], now }
    }

    /// A timer that isn't running.
    pub(crate) fn create(&mut self) -> TimerId {
        if let Some(id) = self.free.pop() {
            return id;
        }
        self.nodes.push(Node { target: None, deadline: 0, slot: NONE, hung_for: 0, next: NONE, previous: NONE });
        (self.nodes.len() - 1) as u32
    }

    pub(crate) fn remove(&mut self, id: TimerId) {
        self.unhang(id);
        self.nodes[id as usize].target = None;
        self.free.push(id);
    }

    /// Fires once at `deadline` (at the next tick, if that has passed) for `target`; replaces what was set before.
    #[inline]
    pub(crate) fn set(&mut self, id: TimerId, deadline: u64, target: T) {
        let node = &mut self.nodes[id as usize];
        node.deadline = deadline;
        node.target = Some(target);
        if node.slot == NONE || deadline < node.hung_for {
            self.unhang(id);
            self.hang(id);
        }
    }

    /// Stops a timer; it stays hung, without a target, until its slot comes round.
    #[inline]
    pub(crate) fn clear(&mut self, id: TimerId) {
        self.nodes[id as usize].target = None;
    }

    fn hang(&mut self, id: TimerId) {
        let wanted = self.nodes[id as usize].deadline.max(self.now + 1);
        let at = wanted.min(self.now + HORIZON - 1);
        let distance = at ^ self.now;
        let level = ((63 - distance.leading_zeros()) / SLOT_BITS).min(LEVELS as u32 - 1) as usize;
        let slot = ((at >> (SLOT_BITS * level as u32)) as usize) % SLOTS;
        let place = level * SLOTS + slot;
        let head = self.heads[place];
        let node = &mut self.nodes[id as usize];
        node.slot = place as u32;
        node.hung_for = at;
        node.next = head;
        node.previous = NONE;
        if head != NONE {
            self.nodes[head as usize].previous = id;
        }
        self.heads[place] = id;
        self.occupied[level] |= 1 << slot;
    }

    fn unhang(&mut self, id: TimerId) {
        let node = &self.nodes[id as usize];
        let (place, next, previous) = (node.slot, node.next, node.previous);
        if place == NONE {
            return;
        }
        match previous {
            NONE => self.heads[place as usize] = next,
            previous => self.nodes[previous as usize].next = next,
        }
        if next != NONE {
            self.nodes[next as usize].previous = previous;
        }
        if self.heads[place as usize] == NONE {
            self.occupied[place as usize / SLOTS] &= !(1 << (place as usize % SLOTS));
        }
        self.nodes[id as usize].slot = NONE;
    }

    /// A time at which something may be due: never later than the earliest deadline. `None` when nothing hangs.
    pub(crate) fn next_due(&self) -> Option<u64> {
        (0..LEVELS).filter_map(|level| self.next_slot(level)).min()
    }

    /// The start of the next occupied slot of a level, in ticks.
    fn next_slot(&self, level: usize) -> Option<u64> {
        let bits = self.occupied[level];
        if bits == 0 {
            return None;
        }
        let shift = SLOT_BITS * level as u32;
        let current = self.now >> shift;
        let position = (current % SLOTS as u64) as u32;
        // Rotated so that bit 0 is the slot after the current one; the current one itself comes last (a whole turn).
        let ahead = bits.rotate_right((position + 1) % 64).trailing_zeros() as u64 + 1;
        Some((current + ahead) << shift)
    }

    /// Advances to `now` and hands every due target to `fire`.
    pub(crate) fn expire(&mut self, now: u64, mut fire: impl FnMut(T)) {
        while let Some(due) = self.next_due() {
            if due > now {
                break;
            }
            self.now = due;
            for level in 0..LEVELS {
                let shift = SLOT_BITS * level as u32;
                if due % (1 << shift) != 0 {
                    break;
                }
                self.expire_slot(level, ((due >> shift) as usize) % SLOTS, &mut fire);
            }
        }
        self.now = self.now.max(now);
    }

    fn expire_slot(&mut self, level: usize, slot: usize, fire: &mut impl FnMut(T)) {
        let place = level * SLOTS + slot;
        let mut id = std::mem::replace(&mut self.heads[place], NONE);
        self.occupied[level] &= !(1 << slot);
        while id != NONE {
            let node = &mut self.nodes[id as usize];
            let next = node.next;
            node.slot = NONE;
            match node.target {
                None => {}
                Some(target) if node.deadline <= self.now => {
                    node.target = None;
                    fire(target);
                }
                Some(_) => self.hang(id),
            }
            id = next;
        }
    }

    #[cfg(test)]
    fn running(&self) -> usize {
        self.nodes.iter().filter(|node| node.target.is_some()).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn fires_at_its_deadline_and_not_before() {
        let mut wheel = Wheel::new(1_000);
        for delay in [1u64, 63, 64, 65, 4_095, 4_096, 300_000, 20_000_000] {
            let id = wheel.create();
            let start = wheel.now;
            wheel.set(id, start + delay, delay);
            let mut fired = Vec::new();
            wheel.expire(start + delay - 1, |target| fired.push(target));
            assert!(fired.is_empty(), "{delay} fired early");
            assert!(wheel.next_due().is_some_and(|due| due <= start + delay));
            wheel.expire(start + delay, |target| fired.push(target));
            assert_eq!(fired, [delay]);
            wheel.remove(id);
        }
    }

    #[test]
    fn a_deadline_moved_later_or_cleared_does_not_fire_at_its_old_time() {
        let mut wheel = Wheel::new(0);
        let (moved, cleared) = (wheel.create(), wheel.create());
        wheel.set(moved, 10, 'm');
        wheel.set(cleared, 10, 'c');
        wheel.set(moved, 500, 'm');
        wheel.clear(cleared);
        let mut fired = Vec::new();
        wheel.expire(499, |target| fired.push(target));
        assert!(fired.is_empty());
        wheel.expire(500, |target| fired.push(target));
        assert_eq!(fired, ['m']);
        assert_eq!(wheel.running(), 0);
    }

    proptest! {
        #[test]
        fn agrees_with_a_sorted_list(
            operations in prop::collection::vec((0usize..20, 0u64..100_000, 0u64..3_000, 0u8..4), 1..200)
        ) {
            let mut wheel = Wheel::new(7);
            let ids: Vec<_> = (0..20).map(|_| wheel.create()).collect();
            let mut model = [None::<u64>; 20];
            let mut now = 7u64;
            for (timer, delay, step, operation) in operations {
                match operation {
                    0 => { wheel.clear(ids[timer]); model[timer] = None; }
                    1 => {
                        now += step;
                        let mut fired = Vec::new();
                        wheel.expire(now, |target| fired.push(target));
                        fired.sort_unstable();
                        let mut due: Vec<usize> = (0..20).filter(|&t| model[t].is_some_and(|d| d <= now)).collect();
                        due.sort_unstable();
                        prop_assert_eq!(&fired, &due);
                        for timer in due { model[timer] = None; }
                    }
                    _ => {
                        // A deadline that isn't ahead fires at the next tick.
                        wheel.set(ids[timer], now + delay, timer);
                        model[timer] = Some((now + delay).max(now + 1));
                    }
                }
                if let Some(earliest) = model.iter().flatten().min() {
                    prop_assert!(wheel.next_due().is_some_and(|due| due <= *earliest));
                }
            }
        }
    }
}
