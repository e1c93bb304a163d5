//! What happened in a simulation: a hash of all of it, and a story for whoever wants to read it.

use std::hash::{DefaultHasher, Hasher};

type Teller = Box<dyn FnMut(&str)>;

pub(crate) struct Trace {
    hasher: DefaultHasher,
    events: u64,
    teller: Option<Teller>,
}

impl Trace {
    pub(crate) fn new() -> Trace {
        Trace { hasher: DefaultHasher::new(), events: 0, teller: None }
    }

    /// Every line of the story goes to `teller` from now on.
    pub(crate) fn tell(&mut self, teller: Teller) {
        self.teller = Some(teller);
    }

    /// Something happened: `kind` and `facts` (and bytes that `bytes` took in) make up the hash; `line` is made only if
    /// somebody listens.
    pub(crate) fn note(&mut self, now_us: u64, kind: &str, facts: &[u64], line: impl FnOnce() -> String) {
        self.events += 1;
        self.hasher.write_u64(now_us);
        self.hasher.write(kind.as_bytes());
        for fact in facts {
            self.hasher.write_u64(*fact);
        }
        if let Some(teller) = &mut self.teller {
            teller(&format!("{:>12.6} s  {kind:<9} {}", now_us as f64 / 1e6, line()));
        }
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.hasher.write(bytes);
    }

    pub(crate) fn hash(&self) -> u64 {
        self.hasher.finish()
    }

    pub(crate) fn events(&self) -> u64 {
        self.events
    }
}
