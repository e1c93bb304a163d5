//! One scope's cells, and a core's way to count in them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};

use runtime::counters::Page;

use super::histogram::{self, Summary};
use super::names::{Entry, Kind, Scope, Stat, codes};

/// The control thread's lane. Core `n` has lane `n + 1`; the server's block has one more for the access log's thread.
const CONTROL: usize = 0;

/// The cells of one scope for all lanes: one lane a core and those of the threads beside them.
pub struct Block {
    scope: Scope,
    name: String,
    page: Arc<Page>,
    /// Sums at the last reset of the counters. Cells can't be set to zero by anyone but their owner, so a reset is
    /// remembered and subtracted.
    reset: RwLock<Option<Box<[u64]>>>,
    /// Histograms by first cell.
    intervals: Mutex<BTreeMap<usize, Interval>>,
}

struct Interval {
    end: Summary,
    took: Summary,
}

/// A block's values while nobody can reset them.
pub(super) struct Reading<'a> {
    page: &'a Page,
    reset: RwLockReadGuard<'a, Option<Box<[u64]>>>,
}

impl Reading<'_> {
    pub(super) fn value(&self, cell: usize) -> u64 {
        let reset = self.reset.as_ref().map_or(0, |sums| sums[cell]);
        let sum = self.page.sum(cell).wrapping_sub(reset);
        if sum > i64::MAX as u64 { 0 } else { sum }
    }

    pub(super) fn summary(&self, first: usize) -> Summary {
        Summary {
            buckets: std::array::from_fn(|at| self.value(first + at)),
            sum_us: self.value(first + histogram::BUCKETS),
        }
    }
}

impl Block {
    pub(super) fn new(scope: Scope, name: &str, cores: usize) -> Arc<Block> {
        let writers = cores + if scope == Scope::Server { 2 } else { 1 };
        let page = Page::new(writers, scope.cells());
        Arc::new(Block { scope, name: name.to_owned(), page, reset: RwLock::new(None), intervals: Mutex::default() })
    }

    /// A block outside any registry, for tests of what counts in it.
    pub fn detached(scope: Scope, name: &str, cores: usize) -> Arc<Block> {
        Block::new(scope, name, cores)
    }

    pub fn scope(&self) -> Scope {
        self.scope
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// What one core counts with; `core` from 0. One owner a lane: two would lose counts.
    pub fn lane(&self, core: usize) -> Lane {
        self.own(core + 1)
    }

    pub fn control_lane(&self) -> Lane {
        self.own(CONTROL)
    }

    /// What the access log's thread counts with, in the server's block alone.
    pub(super) fn log_writer_lane(&self) -> Lane {
        debug_assert_eq!(self.scope, Scope::Server);
        self.own(self.page.lanes() - 1)
    }

    fn own(&self, lane: usize) -> Lane {
        debug_assert!(lane < self.page.lanes());
        Lane {
            page: Arc::clone(&self.page),
            lane,
            scope: self.scope,
            classes: self.scope.class_cells().unwrap_or(0),
            codes: self.scope.code_cells(),
        }
    }

    /// A counter's or gauge's value over all cores. A gauge read between two cores' steps may be below zero for a
    /// moment: then it is 0.
    pub fn sum<S: Stat>(&self, stat: S) -> u64 {
        debug_assert_eq!(S::SCOPE, self.scope);
        self.value(stat.cell())
    }

    /// A gauge's value over all cores, as [`sum`](Block::sum), without a lock: resets are of counters only.
    pub fn gauge<S: Stat>(&self, stat: S) -> u64 {
        debug_assert_eq!(S::SCOPE, self.scope);
        (self.page.sum(stat.cell()) as i64).max(0) as u64
    }

    /// A counter's or gauge's value over all cores as the cells have it: a gauge below zero is shown as such.
    pub fn signed_sum(&self, entry: &Entry) -> i64 {
        self.page.sum(entry.cell) as i64
    }

    /// One core's part of a value.
    pub fn part<S: Stat>(&self, core: usize, stat: S) -> u64 {
        debug_assert_eq!(S::SCOPE, self.scope);
        self.page.get(core + 1, stat.cell())
    }

    /// One core's part of a counter or gauge, never below zero. A reset of the counters doesn't touch it.
    pub(super) fn part_at(&self, core: usize, cell: usize) -> u64 {
        let value = self.page.get(core + 1, cell);
        if value > i64::MAX as u64 { 0 } else { value }
    }

    /// Cores that may count here.
    pub(super) fn cores(&self) -> usize {
        self.page.lanes() - if self.scope == Scope::Server { 2 } else { 1 }
    }

    pub fn summary<S: Stat>(&self, stat: S) -> Summary {
        debug_assert_eq!(S::SCOPE, self.scope);
        self.summary_at(stat.cell())
    }

    /// For reading many values at once.
    pub(super) fn reading(&self) -> Reading<'_> {
        Reading { page: &self.page, reset: self.reset.read().unwrap_or_else(PoisonError::into_inner) }
    }

    fn value(&self, cell: usize) -> u64 {
        self.reading().value(cell)
    }

    fn summary_at(&self, first: usize) -> Summary {
        self.reading().summary(first)
    }

    /// Ends an interval: what the histograms took in since the last call becomes the interval that readers show.
    pub(super) fn flush(&self) {
        let reading = self.reading();
        let mut intervals = self.intervals.lock().unwrap_or_else(PoisonError::into_inner);
        let histograms = self.scope.entries().iter().filter(|entry| entry.kind == Kind::Histogram);
        for entry in histograms {
            let now = reading.summary(entry.cell);
            let interval = intervals.entry(entry.cell).or_insert_with(|| Interval { end: Summary::EMPTY, took: now });
            // After a reset of the counters the end lies before the beginning.
            interval.took = if now.count() < interval.end.count() { now } else { now.since(&interval.end) };
            interval.end = now;
        }
    }

    /// What a histogram took in during the last whole interval.
    pub(super) fn interval(&self, entry: &Entry) -> Summary {
        let intervals = self.intervals.lock().unwrap_or_else(PoisonError::into_inner);
        intervals.get(&entry.cell).map_or(Summary::EMPTY, |interval| interval.took)
    }

    /// Counters and histograms count from zero again; gauges stay.
    pub(super) fn reset_counters(&self) {
        let mut sums: Box<[u64]> = (0..self.page.cells()).map(|cell| self.page.sum(cell)).collect();
        for entry in self.scope.entries().iter().filter(|entry| entry.kind == Kind::Gauge) {
            sums[entry.cell] = 0;
        }
        *self.reset.write().unwrap_or_else(PoisonError::into_inner) = Some(sums);
    }

    /// Only the registry still knows it: no snapshot, no lane.
    pub(super) fn unused(self: &Arc<Block>) -> bool {
        Arc::strong_count(self) == 1 && Arc::strong_count(&self.page) == 1
    }
}

/// One core's cells of one scope. Counting is a plain load, add and store; no name, no hash, no allocation.
///
/// Cloning touches a reference count that all cores share, so a core clones lanes when it takes over a snapshot and
/// lends them to connections and requests.
#[derive(Clone)]
pub struct Lane {
    page: Arc<Page>,
    lane: usize,
    scope: Scope,
    /// First cell of the status classes; unused where statuses aren't counted.
    classes: usize,
    codes: Option<usize>,
}

impl Lane {
    #[inline]
    pub fn inc<S: Stat>(&self, stat: S) {
        self.add(stat, 1);
    }

    #[inline]
    pub fn add<S: Stat>(&self, stat: S, n: u64) {
        debug_assert_eq!(S::SCOPE, self.scope);
        self.page.add(self.lane, stat.cell(), n);
    }

    #[inline]
    pub fn gauge_inc<S: Stat>(&self, stat: S) {
        self.add(stat, 1);
    }

    #[inline]
    pub fn gauge_dec<S: Stat>(&self, stat: S) {
        self.gauge_sub(stat, 1);
    }

    #[inline]
    pub fn gauge_sub<S: Stat>(&self, stat: S, n: u64) {
        debug_assert_eq!(S::SCOPE, self.scope);
        self.page.sub(self.lane, stat.cell(), n);
    }

    /// Sets this lane's part of a gauge.
    #[inline]
    pub fn set<S: Stat>(&self, stat: S, value: u64) {
        debug_assert_eq!(S::SCOPE, self.scope);
        self.page.set(self.lane, stat.cell(), value);
    }

    /// This lane's part of a value.
    #[inline]
    pub fn get<S: Stat>(&self, stat: S) -> u64 {
        debug_assert_eq!(S::SCOPE, self.scope);
        self.page.get(self.lane, stat.cell())
    }

    /// Puts a duration into a histogram.
    #[inline]
    pub fn observe_us<S: Stat>(&self, stat: S, value_us: u64) {
        debug_assert_eq!(S::SCOPE, self.scope);
        let first = stat.cell();
        self.page.add(self.lane, first + histogram::bucket(value_us), 1);
        self.page.add(self.lane, first + histogram::BUCKETS, value_us);
    }

    /// Counts a response in its class and, for clusters, under its code. A code outside 100–599 counts nowhere.
    #[inline]
    pub fn status(&self, code: u16) {
        debug_assert!(self.scope.status_stem().is_some());
        let Some(class) = codes::class(code) else { return };
        self.page.add(self.lane, self.classes + class, 1);
        if let (Some(first), Some(place)) = (self.codes, codes::place(code)) {
            self.page.add(self.lane, first + place, 1);
        }
    }
}
