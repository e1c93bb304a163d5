//! What of TLS follows from time and from files: keys of tickets are replaced, changed certificates lead to a rollout,
//! and the gauges say when the first certificate expires.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::rollout::Cause;
use super::watch::{POLL, SETTLE, Stamp};
use super::{Current, Shared};
use crate::config::unix_s;
use crate::stats::{ListenerStat, ServerStat};

const DAY_S: i64 = 24 * 3600;

/// Asks for a reload after each change of a file that TLS is configured with, for ever. Several that change together are
/// one reload.
pub(super) async fn watch(shared: Arc<Shared>) {
    let mut seen: HashMap<PathBuf, Option<Stamp>> = HashMap::new();
    loop {
        tokio::time::sleep(POLL).await;
        if !changed(&shared, &mut seen) {
            continue;
        }
        // Whoever writes a certificate writes its key, too.
        loop {
            tokio::time::sleep(SETTLE).await;
            if !changed(&shared, &mut seen) {
                break;
            }
        }
        drop(shared.reload(Cause::Certificates));
    }
}

/// Whether a file of the config in use looks different from the last time, or from what was read of it.
fn changed(shared: &Shared, seen: &mut HashMap<PathBuf, Option<Stamp>>) -> bool {
    let Some(Current { model, .. }) = shared.current() else { return false };
    let mut changed = false;
    let mut now = HashMap::new();
    for path in model.tls().files() {
        let stamp = Stamp::of(path);
        changed |= match seen.get(path) {
            Some(before) => stamp.is_some() && *before != stamp,
            None => !model.tls().is_as_read(path),
        };
        // A file that is gone for a moment is being replaced.
        let stamp = stamp.or_else(|| seen.get(path).copied().flatten());
        now.insert(path.to_path_buf(), stamp);
    }
    *seen = now;
    changed
}

/// Replaces the keys of tickets whose time it is.
pub(super) fn rotate_tickets(shared: &Shared) {
    let Some(Current { model, .. }) = shared.current() else { return };
    for keys in model.tls().tickets() {
        if let Err(error) = keys.rotate(unix_s()) {
            tracing::error!("the keys of session tickets can't be replaced: {error}");
        }
    }
}

/// Brings the gauges of certificates up to date.
pub(super) fn refresh_gauges(shared: &Shared, current: &Current) {
    let mut first = None;
    for listener in &current.snapshot.listeners {
        let Some(tls) = &listener.tls else { continue };
        let expires = tls.config.certificates().iter().map(|facts| facts.not_after_s).min();
        let expires = expires.unwrap_or(0).max(0);
        listener.stats.control_lane().set(ListenerStat::SslCertificateExpirationUnixTimeSeconds, expires as u64);
        first = Some(first.unwrap_or(i64::MAX).min(expires));
    }
    let own = current.snapshot.clusters.iter().filter_map(|cluster| cluster.tls.as_ref()?.config.certificate());
    let first = own.map(|facts| facts.not_after_s).chain(first).min();
    let left_s = first.map_or(0, |expires| (expires - unix_s() as i64).max(0));
    shared.lane.set(ServerStat::DaysUntilFirstCertExpiring, (left_s / DAY_S) as u64);
}
