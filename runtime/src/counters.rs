//! Counter pages: one run of cells a core, written by its owner alone with a plain load and store, summed by whoever
//! reads. No read-modify-write instruction, no lock, no false sharing: a core's cells start on their own cache line.
//!
//! A value is 64 bits and wraps. A gauge is a cell to which its owner adds and from which it subtracts; a single core's
//! cell may pass below zero (one core opens, another closes), the sum is what counts.

use std::sync::Arc;

use crate::atomics::{AtomicU64, Ordering};

/// 64 cells' alignment unit: two cache lines, because the prefetcher of common x86 cores pulls them in pairs.
const CELLS_PER_ALIGNMENT: usize = 16;

#[repr(align(128))]
struct Line([AtomicU64; CELLS_PER_ALIGNMENT]);

/// A page of `cells` counters for each of `lanes` cores.
pub struct Page {
    lines: Box<[Line]>,
    lines_per_lane: usize,
    lanes: usize,
    cells: usize,
}

impl Page {
    pub fn new(lanes: usize, cells: usize) -> Arc<Page> {
        let lines_per_lane = cells.div_ceil(CELLS_PER_ALIGNMENT);
        let line = || Line(std::array::from_fn(|_| AtomicU64::new(0)));
        Arc::new(Page { lines: (0..lines_per_lane * lanes).map(|_| line()).collect(), lines_per_lane, lanes, cells })
    }

    pub fn lanes(&self) -> usize {
        self.lanes
    }

    pub fn cells(&self) -> usize {
        self.cells
    }

    #[inline]
    fn cell(&self, lane: usize, cell: usize) -> &AtomicU64 {
        debug_assert!(lane < self.lanes && cell < self.cells);
        &self.lines[lane * self.lines_per_lane + cell / CELLS_PER_ALIGNMENT].0[cell % CELLS_PER_ALIGNMENT]
    }

    /// Adds to one core's cell. Only the owner of `lane` may call this: two writers would lose counts (never memory
    /// safety).
    #[inline]
    pub fn add(&self, lane: usize, cell: usize, n: u64) {
        let cell = self.cell(lane, cell);
        cell.store(cell.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    #[inline]
    pub fn sub(&self, lane: usize, cell: usize, n: u64) {
        self.add(lane, cell, n.wrapping_neg());
    }

    /// One core's value.
    pub fn get(&self, lane: usize, cell: usize) -> u64 {
        self.cell(lane, cell).load(Ordering::Relaxed)
    }

    /// The sum over all cores, wrapping, so that gauges whose parts are negative come out right.
    pub fn sum(&self, cell: usize) -> u64 {
        (0..self.lanes).fold(0u64, |sum, lane| sum.wrapping_add(self.get(lane, cell)))
    }

    /// Sets one cell (a gauge that its owner computes whole).
    #[inline]
    pub fn set(&self, lane: usize, cell: usize, value: u64) {
        self.cell(lane, cell).store(value, Ordering::Relaxed);
    }
}
