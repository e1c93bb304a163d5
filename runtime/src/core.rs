//! One core's loop and the handle through which its tasks reach it.
//!
//! A turn: reap completions → look at the mailboxes → run ready tasks → expire timers → work out and hand over what
//! the marked sockets need → enter the kernel once, waiting until the next deadline unless something is ready.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::rc::Rc;

use crate::buffers::{Pool, Slice};
use crate::doorbell::{self, Bell};
use crate::driver::{Driver, DriverChoice, DriverCounts};
use crate::executor::{Executor, TaskId};
use crate::host::Host;
use crate::recycle::{Arena, Recycled};
use crate::table::Table;
use crate::timer::{TimerId, Wheel};

/// Completions reported in a turn, and tasks polled.
const COMPLETIONS_BUDGET: usize = 512;
const TASKS_BUDGET: usize = 1024;
/// How long a stopping core waits for the kernel to finish what is outstanding.
const STOP_TIMEOUT_US: u64 = 2_000_000;
/// Memory that a burst needed is looked at this often.
const RELAX_US: u64 = 1_000_000;
/// The wall clock is read anew this often, so that it follows steps.
const WALL_REFRESH_US: u64 = 100_000;

pub struct Options {
    /// The core's number, from 0: its place in counter pages.
    pub id: usize,
    pub driver: DriverChoice,
    /// Pin the thread to this processor.
    pub cpu: Option<usize>,
    /// Receive buffers (64 KiB each) that the core may have.
    pub receive_buffers_max: usize,
    /// Restrict an io_uring to the operations that its driver uses.
    pub restrict_ring: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options { id: 0, driver: DriverChoice::Auto, cpu: None, receive_buffers_max: 8192, restrict_ring: true }
    }
}

/// A task's handle of the core that it runs on. Clones are cheap and stay on the core.
#[derive(Clone)]
pub struct Core(pub(crate) Rc<Inner>);

pub(crate) struct Inner {
    id: usize,
    pub(crate) host: Host,
    pub(crate) table: RefCell<Table>,
    pub(crate) pool: Pool,
    pub(crate) executor: Executor,
    pub(crate) wheel: RefCell<Wheel<TaskId>>,
    arena: Arena,
    now_us: Cell<u64>,
    wall_offset_us: Cell<u64>,
    wall_read_us: Cell<u64>,
    relax_us: Cell<u64>,
    mail_waiters: RefCell<Vec<TaskId>>,
    stopping: Cell<bool>,
    driver_name: &'static str,
    counts: Cell<LoopCounts>,
    random: Cell<u64>,
}

/// What the loop counts, running totals.
#[derive(Default, Clone, Copy)]
pub struct LoopCounts {
    pub turns: u64,
    pub driver: DriverCounts,
    /// Longest time between two entries into the kernel, µs, since it was last read.
    pub turn_us_max: u64,
}

/// Runs a core on this thread until `Core::stop`; `main` makes its first task.
///
/// Fails if the ring can't be set up or the kernel refuses an enter.
pub fn run<F: Future<Output = ()> + 'static>(
    options: &Options,
    bell: &Bell,
    main: impl FnOnce(Core) -> F,
) -> io::Result<()> {
    if let Some(cpu) = options.cpu {
        core_affinity::set_for_current(core_affinity::CoreId { id: cpu });
    }
    let mut driver = Driver::new(options.driver, bell.doorbell.fd(), options.restrict_ring)?;
    let host = Host::Kernel { nonblocking: driver.wants_nonblocking(), prepared: RefCell::default() };
    let pool = Pool::new(options.receive_buffers_max);
    let core = Core::new(options.id, bell.number(), host, pool, driver.name());
    let inner = &*core.0;
    let _entered = doorbell::enter(bell.number(), &inner.executor);
    core.spawn(main(core.clone()));
    while !inner.stopping() {
        inner.turn(&mut driver, bell)?;
    }
    let deadline_us = inner.close_all();
    while !inner.wind_down(&mut driver, deadline_us)? {}
    Ok(())
}

impl Inner {
    pub(crate) fn tick(&self) {
        let now = self.host.monotonic_us();
        self.now_us.set(now);
        self.table.borrow_mut().now_ms = now / 1_000;
        if now.wrapping_sub(self.wall_read_us.get()) >= WALL_REFRESH_US {
            self.wall_offset_us.set(self.host.wall_us().wrapping_sub(now));
            self.wall_read_us.set(now);
        }
    }

    pub(crate) fn turn(&self, driver: &mut Driver, bell: &Bell) -> io::Result<()> {
        let began_us = self.now_us.get();
        let rung = driver.reap(&mut self.table.borrow_mut(), &self.pool, COMPLETIONS_BUDGET);
        if rung {
            bell.doorbell.drain();
        }
        if bell.doorbell.signal.take_pending() {
            self.deliver_mail(bell);
        }
        self.wake_woken();
        self.executor.run(TASKS_BUDGET);
        self.expire();
        self.flush(driver);
        if began_us >= self.relax_us.get() {
            self.relax_us.set(began_us + RELAX_US);
            driver.relax();
            self.pool.trim();
        }
        let mut counts = self.counts.get();
        counts.turns += 1;
        counts.driver = driver.counts();
        counts.turn_us_max = counts.turn_us_max.max(self.host.monotonic_us() - began_us);
        self.counts.set(counts);
        let busy = self.executor.has_ready() || driver.has_completions() || self.stopping.get();
        if busy || !bell.doorbell.signal.fall_asleep() {
            driver.enter(Some(0))?;
        } else {
            let entered = driver.enter(self.timeout_us());
            bell.doorbell.signal.awake();
            entered?;
        }
        self.tick();
        Ok(())
    }

    fn deliver_mail(&self, bell: &Bell) {
        bell.doorbell.signal.take_woken(|task| self.executor.wake(TaskId::unpack(task)));
        for task in self.mail_waiters.borrow_mut().drain(..) {
            self.executor.wake(task);
        }
    }

    fn wake_woken(&self) {
        let mut table = self.table.borrow_mut();
        for task in table.woken.drain(..) {
            self.executor.wake(task);
        }
    }

    fn expire(&self) {
        let now_ms = self.now_us.get() / 1_000;
        self.wheel.borrow_mut().expire(now_ms, |task| self.executor.wake(task));
        self.table.borrow_mut().expire();
    }

    fn flush(&self, driver: &mut Driver) {
        let mut table = self.table.borrow_mut();
        driver.prepare(&mut table, &self.pool);
        while let Some(index) = table.take_marked() {
            while let Some(action) = table.next_action(index) {
                driver.perform(&mut table, &self.pool, index, action);
            }
        }
        drop(table);
        // What an immediate result (epoll) woke runs next turn.
        self.wake_woken();
    }

    /// Time until the next deadline, µs.
    fn timeout_us(&self) -> Option<u64> {
        let wheel = self.wheel.borrow().next_due();
        let table = self.table.borrow().next_deadline();
        let due_ms = wheel.into_iter().chain(table).min()?;
        // Measured from now, not from the turn's start: a long turn must not put the deadline off.
        Some((due_ms * 1_000).saturating_sub(self.host.monotonic_us()))
    }

    /// Whether this turn was the last.
    pub(crate) fn stopping(&self) -> bool {
        self.stopping.get()
    }

    /// Drops all tasks and puts all sockets on their way out. Returns until when `wind_down` may take, µs.
    pub(crate) fn close_all(&self) -> u64 {
        self.executor.clear();
        self.table.borrow_mut().close_all();
        self.host.monotonic_us() + STOP_TIMEOUT_US
    }

    /// Closes sockets whose buffers the kernel has let go of; true when none is left, or the time is over.
    pub(crate) fn wind_down(&self, driver: &mut Driver, deadline_us: u64) -> io::Result<bool> {
        if self.table.borrow().open() == 0 || self.host.monotonic_us() >= deadline_us {
            self.executor.clear();
            return Ok(true);
        }
        self.flush(driver);
        driver.enter(Some(if self.table.borrow().open() > 0 { 10_000 } else { 0 }))?;
        driver.reap(&mut self.table.borrow_mut(), &self.pool, COMPLETIONS_BUDGET);
        self.tick();
        Ok(false)
    }
}

impl Core {
    /// A core that doesn't run yet; `bell`: the number that its wakers carry.
    pub(crate) fn new(id: usize, bell: u16, host: Host, pool: Pool, driver_name: &'static str) -> Core {
        let now_us = host.monotonic_us();
        let random = Cell::new(host.random_seed(id));
        let inner = Inner {
            id,
            host,
            table: RefCell::new(Table::new()),
            pool,
            executor: Executor::new(bell),
            wheel: RefCell::new(Wheel::new(now_us / 1_000)),
            arena: Arena::new(),
            now_us: Cell::new(now_us),
            wall_offset_us: Cell::new(0),
            wall_read_us: Cell::new(0),
            relax_us: Cell::new(now_us + RELAX_US),
            mail_waiters: RefCell::default(),
            stopping: Cell::new(false),
            driver_name,
            counts: Cell::default(),
            random,
        };
        inner.tick();
        Core(Rc::new(inner))
    }

    pub fn id(&self) -> usize {
        self.0.id
    }

    /// Starts a task on this core.
    pub fn spawn(&self, future: impl Future<Output = ()> + 'static) {
        self.0.executor.spawn(future);
    }

    /// Starts a task whose future is in memory that this core uses again and again: for tasks that come and go with every
    /// request.
    pub fn spawn_recycled(&self, future: impl Future<Output = ()> + 'static) {
        self.0.executor.spawn_recycled(self.recycled(future).erase());
    }

    /// Boxes a future in memory that this core uses again and again.
    pub fn recycled<F: Future>(&self, future: F) -> Recycled<F> {
        Recycled::new(self.clone(), future)
    }

    /// Bytes of the caller's as a slice, for sending without a copy.
    pub fn own(&self, bytes: Box<[u8]>) -> Slice {
        self.0.pool.heap(bytes)
    }

    /// For queues of slices: `slice` is going to wait behind `last`, if anything waits. A small piece is copied behind it,
    /// so that what waits doesn't pin receive buffers; returns what is to be put behind `last`, if anything is.
    #[inline]
    pub fn join(&self, last: Option<&mut Slice>, slice: Slice) -> Option<Slice> {
        self.0.pool.join(last, slice)
    }

    /// "uring", "epoll" or "simulation".
    pub fn driver_name(&self) -> &'static str {
        self.0.driver_name
    }

    /// Ends `run` after this turn: tasks are dropped, connections closed.
    pub fn stop(&self) {
        self.0.stopping.set(true);
    }

    /// Monotonic time in µs, as of the start of this turn.
    #[inline]
    pub fn now_us(&self) -> u64 {
        self.0.now_us.get()
    }

    /// Monotonic time in ms, as of the start of this turn.
    #[inline]
    pub fn now_ms(&self) -> u64 {
        self.now_us() / 1_000
    }

    /// Wall-clock time, µs since 1970; follows steps of the clock within 100 ms.
    #[inline]
    pub fn unix_us(&self) -> u64 {
        self.now_us().wrapping_add(self.0.wall_offset_us.get())
    }

    /// A pseudo-random number (xorshift64*): for balancing and ids, not for secrets.
    #[inline]
    pub fn random(&self) -> u64 {
        let mut state = self.0.random.get();
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        self.0.random.set(state);
        state.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// Sockets in the table, closing ones included.
    pub fn sockets_open(&self) -> usize {
        self.0.table.borrow().open()
    }

    /// Tasks that have not ended.
    pub fn tasks_live(&self) -> usize {
        self.0.executor.live()
    }

    /// Receive buffers that exist, and those of them that hold something.
    pub fn receive_buffers(&self) -> (usize, usize) {
        self.0.pool.occupancy()
    }

    /// How many in a hundred of the receive buffers that may exist (`receive_buffers_max`) hold something: who keeps them
    /// without need should let go before there are none for anybody.
    pub fn receive_buffers_percent(&self) -> usize {
        self.0.pool.percent_in_use()
    }

    /// Running totals; the longest turn starts anew with each call.
    pub fn loop_counts(&self) -> LoopCounts {
        let counts = self.0.counts.get();
        self.0.counts.set(LoopCounts { turn_us_max: 0, ..counts });
        counts
    }

    /// A timer that isn't set.
    pub fn timer(&self) -> Timer {
        Timer { id: self.0.wheel.borrow_mut().create(), deadline_ms: Cell::new(u64::MAX), core: self.clone() }
    }

    /// Waits for `ms` milliseconds.
    pub async fn sleep_ms(&self, ms: u64) {
        let timer = self.timer();
        timer.set(self.now_ms() + ms);
        std::future::poll_fn(|_| {
            if timer.expired() {
                return std::task::Poll::Ready(());
            }
            timer.set(timer.deadline_ms.get());
            std::task::Poll::Pending
        })
        .await;
    }

    pub(crate) fn arena(&self) -> &Arena {
        &self.0.arena
    }

    pub(crate) fn wait_for_mail(&self) {
        let task = self.0.executor.current();
        let mut waiters = self.0.mail_waiters.borrow_mut();
        if !waiters.contains(&task) {
            waiters.push(task);
        }
    }
}

/// A deadline that wakes the task which set it. Moving it later costs one store.
pub struct Timer {
    core: Core,
    id: TimerId,
    deadline_ms: Cell<u64>,
}

impl Timer {
    /// Wakes the running task once `Core::now_ms` has reached `deadline_ms`.
    #[inline]
    pub fn set(&self, deadline_ms: u64) {
        self.deadline_ms.set(deadline_ms);
        self.core.0.wheel.borrow_mut().set(self.id, deadline_ms, self.core.0.executor.current());
    }

    #[inline]
    pub fn clear(&self) {
        self.deadline_ms.set(u64::MAX);
        self.core.0.wheel.borrow_mut().clear(self.id);
    }

    /// Whether the deadline that was set has passed.
    #[inline]
    pub fn expired(&self) -> bool {
        self.core.now_ms() >= self.deadline_ms.get()
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.core.0.wheel.borrow_mut().remove(self.id);
    }
}
