use super::*;
use proptest::prelude::*;
use std::collections::HashSet;

fn filled(pool: &Pool, bytes: &[u8]) -> Slice {
    let (id, memory) = pool.lend().expect("a free buffer");
    // SAFETY: the buffer is lent to us and holds 64 KiB.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), memory.as_ptr(), bytes.len()) };
    pool.filled(id, bytes.len())
}

#[test]
fn a_buffer_returns_when_its_last_view_is_dropped() {
    let pool = Pool::new(2);
    let mut whole = filled(&pool, b"hello world");
    let front = whole.split_to(5);
    assert_eq!((&*front, &*whole), (&b"hello"[..], &b" world"[..]));
    drop(whole);
    assert_eq!(pool.occupancy(), (2, 1));
    assert_eq!(&*front.slice(1..3), b"el");
    drop(front);
    assert_eq!(pool.occupancy(), (2, 0));
}

#[test]
fn only_the_sole_view_of_a_buffer_may_be_changed_in_place() {
    let pool = Pool::new(2);
    let mut whole = filled(&pool, b"hello world");
    let other = whole.slice(0..5);
    assert!(whole.unique().is_none());
    drop(other);
    whole.advance(6);
    whole.unique().expect("the only view").make_ascii_uppercase();
    assert_eq!(&*whole, b"WORLD");
}

#[test]
fn lending_stops_at_the_limit_and_goes_on_after_a_return() {
    let pool = Pool::new(2);
    let first = filled(&pool, b"a");
    let _second = filled(&pool, b"b");
    assert!(pool.lend().is_none() && !pool.can_lend());
    drop(first);
    assert!(pool.can_lend() && pool.lend().is_some());
}

#[test]
fn only_the_view_at_the_end_of_a_block_can_grow_and_others_keep_their_bytes() {
    let pool = Pool::new(1);
    let mut tail = pool.block();
    assert_eq!(tail.extend(b"abc"), 3);
    let mut earlier = tail.clone();
    assert_eq!(tail.extend(b"def"), 3);
    assert_eq!(earlier.extend(b"XYZ"), 0);
    assert_eq!((&*tail, &*earlier), (&b"abcdef"[..], &b"abc"[..]));
    assert_eq!(tail.extend(&[b'z'; BLOCK_BYTES]), BLOCK_BYTES - 6);
}

#[test]
fn trimming_spares_buffers_in_use_and_those_used_lately() {
    let pool = Pool::new(8);
    let held = filled(&pool, b"held");
    let used = filled(&pool, b"used");
    let warm = used.as_ptr();
    drop(used);
    pool.trim();
    pool.trim();
    assert_eq!(&*held, b"held");
    // The buffer used last is the first to be lent again; the rest were trimmed once and are usable all the same.
    let (id, memory) = pool.lend().expect("a free buffer");
    assert_eq!(memory.as_ptr().cast_const(), warm);
    pool.unlend(id);
    let all: Vec<Slice> = (0..7).map(|_| filled(&pool, &[b'x'; RECEIVE_BUFFER_BYTES])).collect();
    assert!(all.iter().all(|slice| slice.iter().all(|byte| *byte == b'x')));
}

#[test]
fn small_pieces_that_wait_are_copied_and_when_buffers_are_scarce_larger_ones_too() {
    let pool = Pool::new(8);
    let first = pool.join(None, filled(&pool, b"first")).expect("it waits as it is");
    assert_eq!(pool.occupancy(), (8, 1));
    let mut second = pool.join(Some(&mut first.clone()), filled(&pool, b"sec")).expect("a block");
    assert!(pool.join(Some(&mut second), filled(&pool, b"ond")).is_none());
    assert_eq!((&*second, pool.occupancy()), (&b"second"[..], (8, 1)));
    let large: Vec<Slice> = (0..4).map(|_| filled(&pool, &[b'x'; 10_000])).collect();
    let kept = pool.join(None, filled(&pool, &[b'y'; 10_000])).expect("it waits");
    // More than half are held now, which the next that is lent shows.
    pool.unlend(pool.lend().expect("a free buffer").0);
    let before = pool.occupancy().1;
    let copied = pool.join(None, filled(&pool, &[b'z'; 10_000])).expect("it waits");
    let small = pool.join(None, filled(&pool, b"small")).expect("it waits");
    assert_eq!(pool.occupancy().1, before);
    assert!(copied.iter().all(|byte| *byte == b'z') && &*small == b"small");
    drop((large, kept));
}

#[test]
fn slices_outlive_their_pool() {
    let pool = Pool::new(4);
    let received = filled(&pool, b"kept");
    let owned = pool.heap(b"heap".to_vec().into_boxed_slice());
    drop(pool);
    assert_eq!((&*received, &*owned), (&b"kept"[..], &b"heap"[..]));
}

/// What is done with slices; numbers choose among those that there are.
#[derive(Clone, Copy, Debug)]
enum Step {
    Lend,
    Unlend(usize),
    Fill(usize, usize),
    Block,
    Heap(usize),
    Extend(usize, usize),
    Join(usize, usize),
    Clone(usize),
    Part(usize, usize, usize),
    Split(usize, usize),
    Advance(usize, usize),
    Truncate(usize, usize),
    Change(usize),
    Drop(usize),
    Trim,
}

fn step() -> impl Strategy<Value = Step> {
    // Miri takes its time over every byte.
    let (some, most) = if cfg!(miri) { (100usize, 300usize) } else { (6_000, RECEIVE_BUFFER_BYTES) };
    let (which, bytes) = (|| 0..16usize, || prop_oneof![0..20usize, 0..some, 0..=most]);
    prop_oneof![
        3 => Just(Step::Lend),
        1 => which().prop_map(Step::Unlend),
        3 => (which(), bytes()).prop_map(|(at, n)| Step::Fill(at, n)),
        2 => Just(Step::Block),
        1 => bytes().prop_map(Step::Heap),
        3 => (which(), bytes()).prop_map(|(at, n)| Step::Extend(at, n)),
        3 => (which(), which()).prop_map(|(at, last)| Step::Join(at, last)),
        2 => which().prop_map(Step::Clone),
        2 => (which(), bytes(), bytes()).prop_map(|(at, from, to)| Step::Part(at, from.min(to), from.max(to))),
        2 => (which(), bytes()).prop_map(|(at, n)| Step::Split(at, n)),
        1 => (which(), bytes()).prop_map(|(at, n)| Step::Advance(at, n)),
        1 => (which(), bytes()).prop_map(|(at, n)| Step::Truncate(at, n)),
        1 => which().prop_map(Step::Change),
        3 => which().prop_map(Step::Drop),
        1 => Just(Step::Trim),
    ]
}

/// Slices of a pool, each with what it has to hold, and the buffers that are lent.
struct Model {
    pool: Option<Pool>,
    slices: Vec<(Slice, Vec<u8>)>,
    lent: Vec<u16>,
    /// Different in every piece that is written.
    mark: u8,
}

/// As many as tests choose from.
const SLICES_MAX: usize = 16;

impl Model {
    fn bytes(&mut self, n: usize) -> Vec<u8> {
        self.mark = self.mark.wrapping_add(1);
        (0..n).map(|at| self.mark.wrapping_add((at / 7) as u8)).collect()
    }

    fn add(&mut self, slice: Slice, bytes: Vec<u8>) {
        if self.slices.len() < SLICES_MAX {
            self.slices.push((slice, bytes));
        }
    }

    fn take(&mut self, step: Step) {
        let Some(pool) = &self.pool else { return };
        match step {
            Step::Lend => self.lent.extend(pool.lend().map(|(id, _)| id)),
            Step::Unlend(at) if at < self.lent.len() => pool.unlend(self.lent.swap_remove(at)),
            Step::Fill(at, n) if at < self.lent.len() => {
                let (id, bytes) = (self.lent.swap_remove(at), self.bytes(n));
                let slice = self.pool.as_ref().expect("a pool").filled_with(id, &bytes);
                self.add(slice, bytes);
            }
            Step::Block => self.add(pool.block(), Vec::new()),
            Step::Heap(n) => {
                let bytes = self.bytes(n);
                let slice = self.pool.as_ref().expect("a pool").heap(bytes.clone().into());
                self.add(slice, bytes);
            }
            Step::Join(at, last) if at < self.slices.len() && last < self.slices.len() && at != last => {
                let (slice, bytes) = self.slices.remove(at);
                let (before, held) = &mut self.slices[last - usize::from(last > at)];
                let (len, room) = (before.len(), before.room());
                let rest = pool.join(Some(before), slice);
                // What went behind the last one, and what is put behind that, are the piece.
                let moved = before.len() - len;
                assert!(moved <= room && moved + rest.as_ref().map_or(0, Slice::len) == bytes.len());
                held.extend_from_slice(&bytes[..moved]);
                self.slices.extend(rest.map(|rest| (rest, bytes[moved..].to_vec())));
            }
            // Miri doesn't know how memory is given back to the system.
            Step::Trim if !cfg!(miri) => pool.trim(),
            other => self.take_slice(other),
        }
    }

    fn take_slice(&mut self, step: Step) {
        let (Step::Extend(at, _)
        | Step::Clone(at)
        | Step::Part(at, ..)
        | Step::Split(at, _)
        | Step::Advance(at, _)
        | Step::Truncate(at, _)
        | Step::Change(at)
        | Step::Drop(at)) = step
        else {
            return;
        };
        if at >= self.slices.len() {
            return;
        }
        let more = if let Step::Extend(_, n) = step { self.bytes(n) } else { Vec::new() };
        let (slice, bytes) = &mut self.slices[at];
        let len = bytes.len();
        match step {
            Step::Extend(..) => {
                let (room, taken) = (slice.room(), slice.extend(&more));
                assert_eq!(taken, room.min(more.len()));
                bytes.extend_from_slice(&more[..taken]);
            }
            Step::Clone(_) => {
                let copy = (slice.clone(), bytes.clone());
                self.add(copy.0, copy.1);
            }
            Step::Part(_, from, to) => {
                let part = (slice.slice(from..to), bytes[from.min(len)..to.min(len)].to_vec());
                self.add(part.0, part.1);
            }
            Step::Split(_, n) => {
                let front = slice.split_to(n);
                let rest = bytes.split_off(n.min(len));
                let front_bytes = std::mem::replace(bytes, rest);
                self.add(front, front_bytes);
            }
            Step::Advance(_, n) => {
                slice.advance(n);
                bytes.drain(..n.min(len));
            }
            Step::Truncate(_, n) => {
                slice.truncate(n);
                bytes.truncate(n);
            }
            Step::Change(_) => {
                // Others would see it.
                let memory = slice.meta;
                let shared = self.slices.iter().filter(|(other, _)| other.meta == memory).count() > 1;
                let (slice, bytes) = &mut self.slices[at];
                assert_eq!(slice.unique().is_none(), shared);
                if let Some(changed) = slice.unique() {
                    changed.iter_mut().for_each(|byte| *byte ^= 0x55);
                    bytes.iter_mut().for_each(|byte| *byte ^= 0x55);
                }
            }
            _ => drop(self.slices.swap_remove(at)),
        }
    }

    fn check(&self) {
        for (slice, bytes) in &self.slices {
            assert!(**slice == **bytes, "a slice of {} bytes changed", bytes.len());
        }
        let held: HashSet<_> = self.slices.iter().filter(|(slice, _)| slice.is_received()).map(|s| s.0.meta).collect();
        if let Some(pool) = &self.pool {
            pool.check(self.lent.len()).expect("every buffer is free, lent or held");
            assert_eq!(pool.occupancy().1, held.len());
        }
    }
}

proptest! {
    /// Whatever is done with slices, each keeps its bytes, and every buffer is in one place; then the pool goes, and those
    /// that are left keep them still.
    #[test]
    fn slices_keep_their_bytes_and_buffers_come_back(
        simulated: bool,
        buffers_max in 1..6usize,
        steps in prop::collection::vec(step(), 1..150),
    ) {
        let pool = if simulated { Pool::simulated(buffers_max) } else { Pool::new(buffers_max) };
        let mut model = Model { pool: Some(pool), slices: Vec::new(), lent: Vec::new(), mark: 0 };
        for step in steps {
            model.take(step);
            model.check();
        }
        if let Some(pool) = &model.pool {
            model.lent.drain(..).for_each(|id| pool.unlend(id));
        }
        model.pool = None;
        while let Some((slice, bytes)) = model.slices.pop() {
            assert!(*slice == *bytes);
            drop(slice);
            model.check();
        }
    }
}
