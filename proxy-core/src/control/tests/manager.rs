//! What a service manager hears.

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use super::*;

/// A service manager's end of the notifications.
struct Manager(UnixDatagram);

impl Manager {
    /// With a process that reports to it, whose watchdog has this time.
    fn with_process(name: &str, watchdog: Duration) -> (Manager, Process) {
        // Of an abstract name nothing is left when the test ends.
        let name = format!("corelane-{name}-{}", std::process::id());
        let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        let notifier = Notifier::new(format!("@{name}").as_ref(), Some(watchdog)).unwrap();
        let process = Process::try_start(&config(APP), Vec::new(), None, Some(notifier)).unwrap();
        (Manager(socket), process)
    }

    fn next(&self) -> String {
        let mut room = [0; 4096];
        let len = self.0.recv(&mut room).expect("a notification");
        String::from_utf8(room[..len].to_vec()).unwrap()
    }

    fn wait_for(&self, part: &str) {
        let deadline = Instant::now() + DEADLINE;
        while !self.next().contains(part) {
            assert!(Instant::now() < deadline, "{part} did not come");
        }
    }
}

#[test]
fn signs_of_life_stop_while_one_core_is_stuck_and_go_on_after() {
    let (manager, process) = Manager::with_process("watchdog", Duration::from_millis(100));
    assert!(manager.next().starts_with("READY=1\nSTATUS=Serving: config version 1, listeners 1"));
    assert_eq!(manager.next(), "WATCHDOG=1");
    assert_eq!(manager.next(), "WATCHDOG=1");

    process.told().stuck = true;
    // Signs may be on their way. Then the control thread looks, again and again, and says nothing.
    process.told().looks = 0;
    wait_for("several looks", || process.told().looks >= 10);
    manager.0.set_nonblocking(true).unwrap();
    let mut rest = [0; 4096];
    while manager.0.recv(&mut rest).is_ok() {}
    wait_for("more", || process.told().looks >= 20);
    assert!(manager.0.recv(&mut rest).is_err(), "a sign of life with a core that is stuck");

    manager.0.set_nonblocking(false).unwrap();
    process.told().stuck = false;
    manager.wait_for("WATCHDOG=1");
}

#[test]
fn a_refused_reload_ends_like_a_good_one_and_none_is_told_while_draining() {
    let (manager, process) = Manager::with_process("reloads", Duration::from_secs(3600));
    manager.wait_for("READY=1");
    for (text, version) in [(config(APP), 2), ("nonsense".to_owned(), 2)] {
        process.write(&text);
        process.ask("POST", "/config/reload");
        manager.wait_for("RELOADING=1\nMONOTONIC_USEC=");
        manager.wait_for(&format!("READY=1\nSTATUS=Serving: config version {version}"));
    }
    process.ask("POST", "/drain_listeners");
    manager.wait_for("STATUS=Draining: no new connections");
    process.ask("POST", "/config/reload");
    process.ask("POST", "/drain_listeners?graceful");
    let next = manager.next();
    assert!(next.starts_with("STOPPING=1\n"), "{next}");
}
