//! Every block there is, by scope and name. Only the control thread looks things up here; cores are handed their blocks
//! with the snapshot.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::block::{Block, Lane};
use super::names::Scope;

/// Length of a histogram's interval, Envoy's default.
pub const FLUSH_INTERVAL_MS: u64 = 5_000;

/// Blocks by scope and name. A block asked for again is the same block, so values survive a reload.
pub struct Registry {
    cores: usize,
    server: Arc<Block>,
    overload: Arc<Block>,
    blocks: Mutex<BTreeMap<(Scope, String), Arc<Block>>>,
}

impl Registry {
    /// For `cores` cores and the control thread.
    pub fn new(cores: usize) -> Arc<Registry> {
        let server = Block::new(Scope::Server, "", cores);
        let overload = Block::new(Scope::Overload, "", cores);
        let blocks = BTreeMap::from([
            ((Scope::Server, String::new()), Arc::clone(&server)),
            ((Scope::Overload, String::new()), Arc::clone(&overload)),
        ]);
        Arc::new(Registry { cores, server, overload, blocks: Mutex::new(blocks) })
    }

    /// The process's own block.
    pub fn server(&self) -> &Arc<Block> {
        &self.server
    }

    /// What the control thread knows of overload.
    pub(crate) fn overload(&self) -> &Arc<Block> {
        &self.overload
    }

    /// What the access log's thread counts with.
    pub(crate) fn log_writer_lane(&self) -> Lane {
        self.server.log_writer_lane()
    }

    pub fn cores(&self) -> usize {
        self.cores
    }

    /// Finds or makes a block.
    pub fn block(&self, scope: Scope, name: &str) -> Arc<Block> {
        let mut blocks = self.lock();
        let block = blocks.entry((scope, name.to_owned())).or_insert_with(|| Block::new(scope, name, self.cores));
        Arc::clone(block)
    }

    pub fn cluster(&self, name: &str) -> Arc<Block> {
        self.block(Scope::Cluster, name)
    }

    pub fn http(&self, prefix: &str) -> Arc<Block> {
        self.block(Scope::Http, prefix)
    }

    pub fn tcp(&self, prefix: &str) -> Arc<Block> {
        self.block(Scope::Tcp, prefix)
    }

    /// A listener's block is named by its address as Envoy writes it: `0.0.0.0_8080`, `[__]_8080`.
    pub fn listener(&self, address: SocketAddr) -> Arc<Block> {
        self.block(Scope::Listener, &address.to_string().replace(':', "_"))
    }

    pub fn endpoint(&self, cluster: &str, address: SocketAddr) -> Arc<Block> {
        self.block(Scope::Endpoint, &format!("{cluster}|{address}"))
    }

    /// Forgets blocks that no snapshot and no core holds any more. Returns how many.
    pub fn retire_unused(&self) -> usize {
        let mut blocks = self.lock();
        let before = blocks.len();
        blocks.retain(|_, block| !block.unused());
        before - blocks.len()
    }

    /// All blocks, by scope, then name.
    pub fn blocks(&self) -> Vec<Arc<Block>> {
        self.lock().values().cloned().collect()
    }

    /// Counters and histograms of all scopes count from zero again.
    pub fn reset_counters(&self) {
        self.blocks().iter().for_each(|block| block.reset_counters());
    }

    /// Ends an interval of the histograms; the control thread calls it every [`FLUSH_INTERVAL_MS`].
    pub fn flush(&self) {
        self.blocks().iter().for_each(|block| block.flush());
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(Scope, String), Arc<Block>>> {
        self.blocks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
