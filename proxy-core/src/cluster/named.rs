//! Endpoints by the name that a request gives to the server (`sni: auto`): connections of different names aren't mixed,
//! because each name has an endpoint of its own, with its own pools. Balancing sees the endpoint as a whole.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use super::{Connection, Endpoint};
use crate::snapshot;

/// Names that are kept at first whether they are in use or not.
const KEPT_MIN: usize = 32;

#[derive(Default)]
pub(super) struct Endpoints {
    by_name: RefCell<HashMap<Rc<str>, Rc<Endpoint>>>,
    /// So many may there be before those that aren't in use are dropped: names are the clients' to choose.
    kept_max: Cell<usize>,
    /// Of a named one: its name, and the endpoint as a whole.
    own: Option<(Rc<str>, Weak<Endpoint>)>,
}

impl Endpoints {
    pub(super) fn each(&self, run: impl FnMut(&Rc<Endpoint>)) {
        self.by_name.borrow().values().for_each(run);
    }

    /// Of a named one: does the same to the endpoint as a whole.
    #[inline]
    pub(super) fn with_whole(&self, run: impl FnOnce(&Endpoint)) {
        if let Some((_, whole)) = &self.own
            && let Some(whole) = whole.upgrade()
        {
            run(&whole);
        }
    }
}

impl Endpoint {
    /// The name that requests for it give to the server; `None` if they don't.
    pub(crate) fn server_name(&self) -> Option<&str> {
        self.named.own.as_ref().map(|(name, _)| &**name)
    }

    /// This endpoint by a name.
    pub(crate) fn named(self: &Rc<Endpoint>, name: &str) -> Rc<Endpoint> {
        let mut by_name = self.named.by_name.borrow_mut();
        if let Some(known) = by_name.get(name) {
            return known.clone();
        }
        if by_name.len() >= self.named.kept_max.get().max(KEPT_MIN) {
            // Connections and requests hold theirs.
            by_name.retain(|_, endpoint| Rc::strong_count(endpoint) > 1);
            self.named.kept_max.set(by_name.len() * 2);
        }
        let name: Rc<str> = name.into();
        let mut endpoint = Endpoint::new(self.config.borrow().clone(), self.stats.clone());
        endpoint.named.own = Some((name.clone(), Rc::downgrade(self)));
        endpoint.retired.set(self.retired.get());
        let endpoint = Rc::new(endpoint);
        by_name.insert(name, endpoint.clone());
        endpoint
    }

    /// Takes over a new definition.
    pub(super) fn take(&self, config: &Arc<snapshot::Endpoint>) {
        *self.config.borrow_mut() = config.clone();
        self.named.each(|endpoint| endpoint.take(config));
    }

    /// This endpoint, and itself by each name.
    pub(super) fn with_named(self: &Rc<Endpoint>) -> impl Iterator<Item = Rc<Endpoint>> + use<> {
        let named: Vec<Rc<Endpoint>> = self.named.by_name.borrow().values().cloned().collect();
        std::iter::once(self.clone()).chain(named)
    }

    /// Takes the connection out that has been idle for longest, or under another name for long.
    pub(super) fn take_oldest(&self) -> Option<Connection> {
        let mut idle = self.idle.borrow_mut();
        if !idle.is_empty() {
            return Some(idle.remove(0));
        }
        drop(idle);
        self.named.by_name.borrow().values().find_map(|endpoint| endpoint.take_oldest())
    }

    /// Gives up an HTTP/2 connection without streams, if there is one: it closes soon.
    pub(super) fn retire_idle(&self) -> bool {
        self.http2.retire_idle() || self.named.by_name.borrow().values().any(|endpoint| endpoint.retire_idle())
    }
}
