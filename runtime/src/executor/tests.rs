use super::*;
use proptest::prelude::*;
use std::rc::Rc;

#[test]
fn a_late_wake_of_an_ended_task_does_not_reach_its_successor() {
    let executor = Executor::new(0);
    let first = Rc::new(Cell::new(TaskId::NONE));
    let polls = Rc::new(Cell::new(0));
    let executor = Rc::new(executor);
    let (inner, seen) = (executor.clone(), first.clone());
    executor.spawn(async move { seen.set(inner.current()) });
    executor.run(10);
    assert_eq!(executor.live(), 0);
    let counted = polls.clone();
    executor.spawn(std::future::poll_fn(move |_| {
        counted.set(counted.get() + 1);
        Poll::<()>::Pending
    }));
    executor.run(10);
    executor.wake(first.get());
    executor.run(10);
    assert_eq!(polls.get(), 1);
}

#[test]
fn waking_twice_polls_once() {
    let executor = Rc::new(Executor::new(0));
    let (id, polls) = (Rc::new(Cell::new(TaskId::NONE)), Rc::new(Cell::new(0)));
    let (inner, seen, counted) = (executor.clone(), id.clone(), polls.clone());
    executor.spawn(std::future::poll_fn(move |_| {
        seen.set(inner.current());
        counted.set(counted.get() + 1);
        Poll::<()>::Pending
    }));
    executor.run(10);
    executor.wake(id.get());
    executor.wake(id.get());
    executor.run(10);
    assert_eq!(polls.get(), 2);
    assert!(!executor.has_ready());
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Spawn,
    /// Wakes a task, which may be over and have a successor in its place.
    Wake(usize),
    /// Has a task wake itself when it is polled next.
    WakeItself(usize),
    /// Has a task end when it is polled next.
    Finish(usize),
    Run(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => Just(Step::Spawn),
        3 => (0..40usize).prop_map(Step::Wake),
        1 => (0..40usize).prop_map(Step::WakeItself),
        2 => (0..40usize).prop_map(Step::Finish),
        3 => (0..6usize).prop_map(Step::Run),
    ]
}

/// A task as it is, and as it should be.
#[derive(Default)]
struct Task {
    id: Cell<Option<TaskId>>,
    polls: Cell<usize>,
    finishes: Cell<bool>,
    wakes_itself: Cell<bool>,
    is_dropped: Cell<bool>,
}

/// Notes when a task's future is dropped.
struct Held(Rc<Task>);

impl Drop for Held {
    fn drop(&mut self) {
        assert!(!self.0.is_dropped.replace(true), "dropped twice");
    }
}

#[derive(Default)]
struct Expected {
    polls: usize,
    /// Its place in the executor.
    slot: usize,
    ended: bool,
}

fn spawn(executor: &Rc<Executor>) -> Rc<Task> {
    let task = Rc::new(Task::default());
    let (held, inner) = (Held(task.clone()), executor.clone());
    executor.spawn(std::future::poll_fn(move |_| {
        let task = &held.0;
        task.id.set(Some(inner.current()));
        task.polls.set(task.polls.get() + 1);
        if task.wakes_itself.take() {
            inner.wake(inner.current());
        }
        if task.finishes.get() { Poll::Ready(()) } else { Poll::Pending }
    }));
    task
}

proptest! {
    /// Tasks are polled in the order in which they became ready, once for any number of wakes; a late wake reaches nobody;
    /// and each is dropped once, when it ends.
    #[test]
    fn tasks_are_polled_as_often_as_they_are_woken(steps in prop::collection::vec(step(), 1..200)) {
        let executor = Rc::new(Executor::new(0));
        let (mut tasks, mut expected) = (Vec::<Rc<Task>>::new(), Vec::<Expected>::new());
        // By slot: who is there, and whether it is in the queue.
        let (mut slots, mut ready, mut free) = (Vec::<(usize, bool)>::new(), VecDeque::new(), Vec::new());
        for step in steps {
            match step {
                Step::Spawn => {
                    let slot = free.pop().unwrap_or(slots.len());
                    if slot == slots.len() {
                        slots.push((0, false));
                    }
                    slots[slot].0 = tasks.len();
                    if !std::mem::replace(&mut slots[slot].1, true) {
                        ready.push_back(slot);
                    }
                    tasks.push(spawn(&executor));
                    expected.push(Expected { slot, ..Expected::default() });
                }
                Step::Wake(at) if at < tasks.len() => {
                    let Some(id) = tasks[at].id.get() else { continue };
                    executor.wake(id);
                    let slot = expected[at].slot;
                    if !expected[at].ended && !std::mem::replace(&mut slots[slot].1, true) {
                        ready.push_back(slot);
                    }
                }
                Step::WakeItself(at) if at < tasks.len() => tasks[at].wakes_itself.set(true),
                Step::Finish(at) if at < tasks.len() => tasks[at].finishes.set(true),
                Step::Run(budget) => {
                    for _ in 0..budget.min(ready.len()) {
                        let slot = ready.pop_front().expect("a ready task");
                        slots[slot].1 = false;
                        let at = slots[slot].0;
                        if expected[at].ended {
                            continue;
                        }
                        expected[at].polls += 1;
                        expected[at].ended = tasks[at].finishes.get();
                        if tasks[at].wakes_itself.get() {
                            slots[slot].1 = true;
                            ready.push_back(slot);
                        }
                        if expected[at].ended {
                            free.push(slot);
                        }
                    }
                    executor.run(budget);
                }
                _ => {}
            }
            for (task, expected) in tasks.iter().zip(&expected) {
                prop_assert_eq!((task.polls.get(), task.is_dropped.get()), (expected.polls, expected.ended));
            }
            prop_assert_eq!(executor.live(), expected.iter().filter(|task| !task.ended).count());
        }
        executor.clear();
        prop_assert!(executor.live() == 0 && tasks.iter().all(|task| task.is_dropped.get()));
    }
}
