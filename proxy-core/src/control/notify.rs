//! What the service manager is told: sd_notify(3)'s datagrams, and the watchdog's sign of life, which depends on the cores.

use std::env;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use super::Shared;

/// A service manager that doesn't read is waited for this long.
const SEND_TIMEOUT: Duration = Duration::from_secs(1);

/// The way to the service manager.
pub struct Notifier {
    socket: UnixDatagram,
    manager: SocketAddr,
    /// The service manager takes the process for stuck after this time without a sign of life.
    watchdog: Option<Duration>,
}

impl Notifier {
    /// As NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID say; `None` if nobody wants to know.
    pub fn from_environment() -> Option<Notifier> {
        let name = env::var_os("NOTIFY_SOCKET")?;
        let microseconds = env::var("WATCHDOG_USEC").ok();
        let pid = env::var("WATCHDOG_PID").ok();
        let watchdog = watchdog(microseconds.as_deref(), pid.as_deref(), std::process::id());
        match Notifier::new(&name, watchdog) {
            Ok(notifier) => Some(notifier),
            Err(error) => {
                tracing::warn!("NOTIFY_SOCKET is {name:?}, the service manager isn't told anything: {error}");
                None
            }
        }
    }

    /// # Errors
    /// `name` is neither a path nor, after an `@`, an abstract name; or there is no socket to be had.
    pub(super) fn new(name: &OsStr, watchdog: Option<Duration>) -> io::Result<Notifier> {
        let manager = match name.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            [b'/', ..] => SocketAddr::from_pathname(OsString::from(name))?,
            _ => return Err(io::Error::other("expected a path, or `@` and an abstract name")),
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(SEND_TIMEOUT))?;
        Ok(Notifier { socket, manager, watchdog })
    }

    fn tell(&self, what: &str) {
        if let Err(error) = self.socket.send_to_addr(what.as_bytes(), &self.manager) {
            tracing::warn!("the service manager can't be told `{}`: {error}", what.escape_debug());
        }
    }
}

/// The watchdog's time for the process `own`.
fn watchdog(microseconds: Option<&str>, pid: Option<&str>, own: u32) -> Option<Duration> {
    if pid.is_some_and(|pid| pid.parse() != Ok(own)) {
        return None;
    }
    let microseconds = microseconds?.parse().ok().filter(|microseconds| *microseconds > 0)?;
    Some(Duration::from_micros(microseconds))
}

impl Shared {
    fn tell_manager(&self, what: &str) {
        if let Some(notifier) = &self.notifier {
            notifier.tell(what);
        }
    }

    /// A reload begins.
    pub(super) fn tell_reloading(&self) {
        // When draining, it is refused.
        if !self.draining() && self.notifier.is_some() {
            self.tell_manager(&format!("RELOADING=1\nMONOTONIC_USEC={}", runtime::monotonic_us()));
        }
    }

    /// The process serves: by the first config, or after a reload, whatever became of it.
    pub(super) fn tell_ready(&self) {
        if self.draining() || self.notifier.is_none() {
            return;
        }
        let (version, listeners) = self.current().map_or((0, 0), |current| {
            let snapshot = current.snapshot;
            (snapshot.version, snapshot.listeners.len())
        });
        self.tell_manager(&format!("READY=1\nSTATUS=Serving: config version {version}, listeners {listeners}"));
    }

    /// The process is about to end.
    pub(super) fn tell_stopping(&self) {
        self.tell_manager("STOPPING=1\nSTATUS=Draining: requests under way are finished");
    }

    /// Draining, but not to end.
    pub(super) fn tell_draining(&self) {
        self.tell_manager("STATUS=Draining: no new connections are accepted");
    }
}

/// Tells the service manager twice in the watchdog's time that the process lives, unless a core has owed an answer for half
/// of that. A core that is stuck, or this thread, keeps the sign of life from being given.
pub(super) async fn keep_alive(shared: Arc<Shared>) {
    let Some(time) = shared.notifier.as_ref().and_then(|notifier| notifier.watchdog) else { return };
    let mut ticks = tokio::time::interval(time / 2);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let late = shared.cores().late();
        match late.iter().position(|late| *late >= time / 2) {
            None => shared.tell_manager("WATCHDOG=1"),
            Some(core) => tracing::error!(core, late = ?late[core], "no sign of life for the watchdog: a core is late"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_watchdog_is_for_the_process_that_it_names() {
        assert_eq!(watchdog(Some("3000000"), None, 7), Some(Duration::from_secs(3)));
        assert_eq!(watchdog(Some("3000000"), Some("7"), 7), Some(Duration::from_secs(3)));
        for (microseconds, pid) in [(None, None), (Some("0"), None), (Some("soon"), None), (Some("3000000"), Some("8"))]
        {
            assert_eq!(watchdog(microseconds, pid, 7), None, "{microseconds:?} {pid:?}");
        }
    }

    #[test]
    fn addresses_are_paths_or_abstract_names() {
        for name in ["/run/systemd/notify", "@corelane"] {
            assert!(Notifier::new(OsStr::new(name), None).is_ok(), "{name}");
        }
        for name in ["", "notify", "vsock:2:1234"] {
            assert!(Notifier::new(OsStr::new(name), None).is_err(), "{name}");
        }
    }
}
