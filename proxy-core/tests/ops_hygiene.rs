//! What the process gives up, what it tells the service manager, and sockets that it is passed.

mod ops;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ops::client::{self, Client};
use ops::origin::Origin;
use ops::proxy::{Proxy, any_cpu, command, simple, two_cpus};
use ops::shim::Shim;
use ops::{DEADLINE, Folder, free_address};

on_both_drivers!(
    privileges_are_gone_on_every_thread,
    the_right_to_bind_can_be_kept,
    inherited_sockets_are_accepted_from_by_every_core,
    connections_to_an_inherited_socket_outlive_the_process,
);

/// Numbers without an entry, so that no host's users matter.
const USER: u32 = 54_321;
const GROUP: u32 = 54_322;
const CAP_NET_BIND_SERVICE: u64 = 1 << 10;

/// Whether a test that changes users can run; says so if not.
fn may_change_users(test: &str) -> bool {
    // SAFETY: no pointers.
    let root = unsafe { libc::geteuid() } == 0;
    if !root {
        eprintln!("{test} skipped: it needs root");
    }
    root
}

/// One line of every thread's status.
fn of_threads(pid: u32, field: &str) -> Vec<(String, String)> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("a process");
    let line = |path: &Path| {
        let status = std::fs::read_to_string(path.join("status")).ok()?;
        let value = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            Some(line.split_whitespace().collect::<Vec<_>>().join(" "))
        };
        Some((value("Name:")?, value(&format!("{field}:"))?))
    };
    tasks.filter_map(|task| line(&task.expect("a task").path())).collect()
}

#[track_caller]
fn assert_threads(pid: u32, field: &str, expected: &str) {
    let threads = of_threads(pid, field);
    assert!(threads.len() >= 4, "{threads:?}");
    assert!(threads.iter().all(|(_, value)| value == expected), "{field}: expected {expected}, got {threads:?}");
}

fn assert_given_up(pid: u32, kept: u64) {
    let (user, group, kept) =
        (format!("{USER} {USER} {USER} {USER}"), format!("{GROUP} {GROUP} {GROUP} {GROUP}"), kept);
    assert_threads(pid, "Uid", &user);
    assert_threads(pid, "Gid", &group);
    assert_threads(pid, "Groups", &GROUP.to_string());
    assert_threads(pid, "NoNewPrivs", "1");
    for set in ["CapEff", "CapPrm", "CapBnd"] {
        assert_threads(pid, set, &format!("{kept:016x}"));
    }
    for set in ["CapInh", "CapAmb"] {
        assert_threads(pid, set, &format!("{:016x}", 0));
    }
}

/// A port that only who has the right can bind.
fn low_address() -> SocketAddr {
    let start: u16 = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start")
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(1024);
    let free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    static NEXT: std::sync::atomic::AtomicU16 = std::sync::atomic::AtomicU16::new(0);
    let turn = NEXT.fetch_add(40, std::sync::atomic::Ordering::Relaxed);
    let port = (start.saturating_sub(300) + turn..start).find(free).expect("a low port");
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// Has the process begin with every capability inheritable and ambient: programs that it starts would get them all.
fn with_ambient_capabilities(command: &mut Command) {
    let raise = || {
        let version_3: [u32; 2] = [0x2008_0522, 0];
        let mut sets = [0u32; 6];
        // SAFETY: header and sets are of capget(2)'s layout, version 3; prctl gets no pointers.
        unsafe {
            if libc::syscall(libc::SYS_capget, version_3.as_ptr(), sets.as_mut_ptr()) != 0 {
                return Err(std::io::Error::last_os_error());
            }
            // Effective, permitted, inheritable; the low halves first.
            (sets[2], sets[5]) = (sets[1], sets[4]);
            if libc::syscall(libc::SYS_capset, version_3.as_ptr(), sets.as_ptr()) != 0 {
                return Err(std::io::Error::last_os_error());
            }
            for capability in 0..64 as libc::c_ulong {
                // Fails for those that the process hasn't.
                libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE, capability, 0, 0);
            }
        }
        Ok(())
    };
    // SAFETY: the closure makes async-signal-safe calls only.
    unsafe { command.pre_exec(raise) };
}

fn dropping<'a>(driver: &'a str, cpus: &'a str, user: &'a str, group: &'a str) -> Vec<&'a str> {
    vec!["--driver", driver, "--cores", cpus, "--user", user, "--group", group]
}

fn ok(address: SocketAddr) {
    assert_eq!(client::once(address, "GET", "/").expect("a response").status, 200);
}

fn tcp(listen: SocketAddr, endpoint: SocketAddr) -> String {
    format!(
        "listeners: [{{ name: web, address: '{listen}', tcp: {{ cluster: app }} }}]\n\
         clusters: [{{ name: app, endpoints: ['{endpoint}'] }}]\n"
    )
}

fn privileges_are_gone_on_every_thread(driver: &str) {
    if !may_change_users("privileges_are_gone_on_every_thread") {
        return;
    }
    let origin = Origin::start("origin");
    let (listen, low) = (free_address(), low_address());
    let (user, group, cpus) = (USER.to_string(), GROUP.to_string(), two_cpus());
    let arguments = dropping(driver, &cpus, &user, &group);
    let config = simple(low, &[origin.address]);
    let mut proxy = Proxy::start_in(Folder::public(), &config, &arguments, with_ambient_capabilities);
    let pid = proxy.pid();
    ok(low);
    assert_given_up(pid, 0);

    let moved = proxy.reload(&simple(listen, &[origin.address]));
    assert_eq!(moved.status, 200, "{}", moved.text());
    ok(listen);
    // The port is low, the right to it is gone, and the running config is as it was.
    let refused = proxy.reload(&simple(low, &[origin.address]));
    assert_eq!(refused.status, 400);
    let why = refused.text();
    assert!(why.contains(&format!("can't have {low}: Permission denied")) && why.contains("--keep-bind"), "{why}");
    ok(listen);

    // Another service on the same port: new sockets beside old ones, which need to have one owner.
    let other = proxy.reload(&tcp(listen, origin.address));
    assert_eq!(other.status, 200, "{}", other.text());
    ok(listen);
    assert_given_up(pid, 0);
    proxy.signal(libc::SIGTERM);
    assert_eq!(proxy.exit().code(), Some(0));
}

fn the_right_to_bind_can_be_kept(driver: &str) {
    if !may_change_users("the_right_to_bind_can_be_kept") {
        return;
    }
    let origin = Origin::start("origin");
    let (first, second) = (low_address(), low_address());
    let (user, group, cpus) = (USER.to_string(), GROUP.to_string(), two_cpus());
    let mut arguments = dropping(driver, &cpus, &user, &group);
    arguments.push("--keep-bind");
    let config = simple(first, &[origin.address]);
    let proxy = Proxy::start_in(Folder::public(), &config, &arguments, with_ambient_capabilities);
    ok(first);
    // Sockets of another kind, beside those that root has made: the kernel lets only one user's share a port.
    let other = proxy.reload(&tcp(first, origin.address));
    assert_eq!(other.status, 200, "{}", other.text());
    ok(first);
    let moved = proxy.reload(&simple(second, &[origin.address]));
    assert_eq!(moved.status, 200, "{}", moved.text());
    ok(second);
    // A kind that changes needs new sockets on a port that old ones of the start have.
    let other = proxy.reload(&tcp(second, origin.address));
    assert_eq!(other.status, 200, "{}", other.text());
    ok(second);
    assert_given_up(proxy.pid(), CAP_NET_BIND_SERVICE);
}

/// Runs to the end, which has to come, and returns the status and what was said.
fn ended(command: &mut Command) -> (Option<i32>, String) {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("runs");
    let mut status = None;
    let deadline = Instant::now() + DEADLINE;
    while status.is_none() && Instant::now() < deadline {
        status = child.try_wait().expect("a child");
        std::thread::sleep(Duration::from_millis(5));
    }
    // Without effect on one that has ended.
    let _ = child.kill();
    let mut errors = String::new();
    child.stderr.take().expect("a pipe").read_to_string(&mut errors).expect("text");
    let _ = child.wait();
    (status.unwrap_or_else(|| panic!("it runs on: {errors}")).code(), errors)
}

fn refused(arguments: &[&str], config: &Path) -> (Option<i32>, String) {
    ended(command().arg("run").arg("-c").arg(config).args(arguments))
}

#[test]
fn a_user_that_cannot_be_had_keeps_it_from_starting() {
    let folder = Folder::new();
    let config = folder.path("edge.yaml");
    let text = simple(free_address(), &[SocketAddr::from(([127, 0, 0, 1], 9))]);
    std::fs::write(&config, format!("admin: {{ address: '127.0.0.1:0' }}\n{text}")).expect("written");
    for (user, reason) in [("no-such-user", "no user `no-such-user`"), ("root", "isn't root"), ("54321", "--group")] {
        let (code, errors) = refused(&["--user", user], &config);
        assert_eq!(code, Some(1), "{errors}");
        assert!(errors.contains(reason), "{errors}");
    }
}

#[test]
fn a_config_that_the_user_cannot_read_keeps_it_from_starting() {
    if !may_change_users("a_config_that_the_user_cannot_read_keeps_it_from_starting") {
        return;
    }
    let folder = Folder::public();
    let config = folder.path("edge.yaml");
    let text = simple(free_address(), &[SocketAddr::from(([127, 0, 0, 1], 9))]);
    std::fs::write(&config, format!("admin: {{ address: '127.0.0.1:0' }}\n{text}")).expect("written");
    std::fs::set_permissions(&config, PermissionsExt::from_mode(0o600)).expect("closed");
    let (code, errors) = refused(&["--user", "54321", "--group", "54322"], &config);
    assert_eq!(code, Some(1), "{errors}");
    assert!(errors.contains("user `54321` can't load the config") && errors.contains("Permission denied"), "{errors}");
}

#[test]
fn new_privileges_are_forbidden_unless_allowed() {
    let origin = Origin::start("origin");
    for (option, expected) in [(None, "1"), (Some("--allow-new-privileges"), "0")] {
        let cpus = any_cpu();
        let arguments: Vec<&str> = ["--cores", &cpus].into_iter().chain(option).collect();
        let proxy = Proxy::start_with(&simple(free_address(), &[origin.address]), &arguments, |_| {});
        assert_threads(proxy.pid(), "NoNewPrivs", expected);
    }
}

/// A page of 2 MiB for a few bytes, of which there would be several.
#[test]
fn none_of_its_memory_is_in_huge_pages() {
    let origin = Origin::start("origin");
    let proxy = Proxy::start_with(&simple(free_address(), &[origin.address]), &["--cores", &any_cpu()], |_| {});
    let memory = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", proxy.pid())).expect("its memory");
    let huge = memory.lines().find(|line| line.starts_with("AnonHugePages:")).expect("a line about them");
    assert_eq!(huge.split_ascii_whitespace().nth(1), Some("0"), "{huge}");
}

#[test]
fn an_unrestricted_ring_serves_as_well() {
    let origin = Origin::start("origin");
    let listen = free_address();
    let cpus = any_cpu();
    let arguments = ["--driver", "auto", "--cores", &cpus, "--unrestricted-ring"];
    let _proxy = Proxy::start_with(&simple(listen, &[origin.address]), &arguments, |_| {});
    ok(listen);
}

#[test]
fn every_ring_is_restricted_unless_told_otherwise() {
    let origin = Origin::start("origin");
    for (option, restricted) in [(None, true), (Some("--unrestricted-ring"), false)] {
        let shim = Shim::new();
        let cpus = two_cpus();
        let arguments: Vec<&str> = ["--driver", "uring", "--cores", &cpus].into_iter().chain(option).collect();
        let listen = free_address();
        let _proxy = Proxy::start_with(&simple(listen, &[origin.address]), &arguments, |command| shim.preload(command));
        ok(listen);
        // Those of trials, too.
        let (rings, all) = shim.rings();
        assert!(all > cpus.split(',').count() as u64, "{all}");
        assert_eq!(rings, if restricted { all } else { 0 });
    }
}

/// A service manager's end of the notifications.
struct Manager(UnixDatagram);

impl Manager {
    fn new(socket: UnixDatagram) -> Manager {
        socket.set_read_timeout(Some(DEADLINE)).expect("a timeout");
        Manager(socket)
    }

    /// The next notification that isn't a sign of life, and how many of those came before it.
    fn next(&self) -> (String, u32) {
        let mut signs = 0;
        let deadline = Instant::now() + DEADLINE;
        loop {
            assert!(Instant::now() < deadline, "nothing but signs of life");
            let mut room = [0; 4096];
            let len = self.0.recv(&mut room).expect("a notification");
            let text = String::from_utf8(room[..len].to_vec()).expect("text");
            if text != "WATCHDOG=1" {
                return (text, signs);
            }
            signs += 1;
        }
    }

    fn wait_for_signs(&self, count: u32) {
        let mut room = [0; 4096];
        for _ in 0..count {
            let len = self.0.recv(&mut room).expect("a sign of life");
            assert_eq!(&room[..len], b"WATCHDOG=1");
        }
    }
}

#[test]
fn the_service_manager_hears_of_start_reload_life_and_stop() {
    let folder = Folder::new();
    let abstract_name = format!("corelane-test-{}", std::process::id());
    let address = std::os::unix::net::SocketAddr::from_abstract_name(&abstract_name).expect("a name");
    // A path of 108 bytes is the longest; the folder's may be longer.
    let path = std::env::temp_dir().join(format!("corelane-notify-{}", std::process::id()));
    let managers = [
        (format!("@{abstract_name}"), Manager::new(UnixDatagram::bind_addr(&address).expect("binds"))),
        (path.display().to_string(), Manager::new(UnixDatagram::bind(&path).expect("binds"))),
    ];
    let origin = Origin::start("origin");
    for (name, manager) in managers {
        let listen = free_address();
        let text = simple(listen, &[origin.address]);
        let cpus = any_cpu();
        let mut proxy = Proxy::start_with(&text, &["--cores", &cpus], |command| {
            command.env("NOTIFY_SOCKET", &name).env("WATCHDOG_USEC", "100000");
        });
        assert_eq!(manager.next(), ("READY=1\nSTATUS=Serving: config version 1, listeners 1".to_owned(), 0), "{name}");
        ok(listen);
        manager.wait_for_signs(3);

        proxy.signal(libc::SIGHUP);
        let (reloading, _) = manager.next();
        let since = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").expect(&reloading);
        assert!(since.parse::<u64>().expect("a number") <= runtime::monotonic_us());
        assert_eq!(manager.next().0, "READY=1\nSTATUS=Serving: config version 2, listeners 1");

        let mut idle = Client::connect(listen).expect("connects");
        assert_eq!(idle.get("/").expect("a response").status, 200);
        proxy.signal(libc::SIGTERM);
        assert!(manager.next().0.starts_with("STOPPING=1\nSTATUS=Draining"));
        assert_eq!(proxy.exit().code(), Some(0));
    }
    drop(folder);
    std::fs::remove_file(path).expect("removed");
}

#[test]
fn a_service_manager_that_is_not_there_is_told_of_in_the_log() {
    let origin = Origin::start("origin");
    let listen = free_address();
    let cpus = any_cpu();
    let proxy = Proxy::start_with(&simple(listen, &[origin.address]), &["--cores", &cpus], |command| {
        command.env("NOTIFY_SOCKET", "/nowhere/notify");
    });
    ok(listen);
    proxy.wait_for_log("the service manager can't be told");
}

/// Passes descriptors to the child as a service manager does: from 3 on, with its process number in LISTEN_PID.
fn pass(command: &mut Command, sockets: &[RawFd], names: &str) {
    // The number isn't known before the fork, and the environment can't be changed after it: a shell puts it in.
    let binary = command.get_program().to_owned();
    let arguments: Vec<_> = command.get_args().map(std::ffi::OsStr::to_owned).collect();
    let mut shell = Command::new("sh");
    shell.arg("-c").arg("LISTEN_PID=$$ exec \"$0\" \"$@\"").arg(binary).args(arguments);
    shell.env("LISTEN_FDS", sockets.len().to_string()).env("LISTEN_FDNAMES", names);
    let sockets = sockets.to_vec();
    let place = move || {
        for (place, socket) in sockets.iter().enumerate() {
            // SAFETY: no pointers. The sources are above the places (see `high`), so none is overwritten.
            if unsafe { libc::dup2(*socket, 3 + place as RawFd) } < 0 {
                return Err(std::io::Error::last_os_error());
            }
        }
        Ok(())
    };
    // SAFETY: the closure makes async-signal-safe calls only.
    unsafe { shell.pre_exec(place) };
    shell.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    *command = shell;
}

/// A listening socket as a service manager makes it (no SO_REUSEPORT, non-blocking) with a high number.
fn high(address: SocketAddr) -> OwnedFd {
    let listener = TcpListener::bind(address).expect("binds");
    listener.set_nonblocking(true).expect("set");
    // SAFETY: no pointers; the number is fresh.
    unsafe {
        let number = libc::fcntl(listener.as_raw_fd(), libc::F_DUPFD_CLOEXEC, 100);
        assert!(number >= 100);
        std::os::fd::FromRawFd::from_raw_fd(number)
    }
}

fn inherited_sockets_are_accepted_from_by_every_core(driver: &str) {
    let origin = Origin::start("origin");
    let (listen, spare) = (free_address(), free_address());
    let (socket, other) = (high(listen), high(spare));
    let cpus = two_cpus();
    let arguments = ["--driver", driver, "--cores", &cpus];
    let text = simple(listen, &[origin.address]);
    let proxy = Proxy::start_with(&text, &arguments, |command| {
        pass(command, &[socket.as_raw_fd(), other.as_raw_fd()], "web:spare");
    });
    proxy.wait_for_log(&format!("no listener has the address of the inherited socket {spare}"));
    let mut clients: Vec<Client> = (0..40).map(|_| Client::connect(listen).expect("connects")).collect();
    for client in &mut clients {
        assert_eq!(client.get("/").expect("a response").status, 200);
    }
    // A listener that comes with a reload takes the socket that nobody wanted so far, and the first goes.
    let moved = proxy.reload(&simple(spare, &[origin.address]));
    assert_eq!(moved.status, 200, "{}", moved.text());
    ok(spare);
    // And back: the socket was only lent to the listener. What came meanwhile has waited.
    let mut waiting = TcpStream::connect(listen).expect("the socket is still there");
    waiting.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").expect("writes");
    let back = proxy.reload(&text);
    assert_eq!(back.status, 200, "{}", back.text());
    waiting.set_read_timeout(Some(DEADLINE)).expect("a timeout");
    let mut answer = String::new();
    waiting.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

fn connections_to_an_inherited_socket_outlive_the_process(driver: &str) {
    let origin = Origin::start("origin");
    let listen = free_address();
    let socket = high(listen);
    let text = simple(listen, &[origin.address]);
    let start = || {
        let cpus = two_cpus();
        let arguments = ["--driver", driver, "--cores", &cpus];
        Proxy::start_with(&text, &arguments, |command| pass(command, &[socket.as_raw_fd()], "web"))
    };
    // Clients that come one after the other, whatever becomes of the process: each gets an answer.
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let ended = std::sync::Arc::clone(&stop);
    let clients = std::thread::spawn(move || {
        let mut served = 0;
        while !ended.load(std::sync::atomic::Ordering::Relaxed) {
            let response = client::once(listen, "GET", "/");
            assert_eq!(response.expect("no connection is lost").status, 200);
            served += 1;
        }
        served
    });
    for _ in 0..3 {
        let mut proxy = start();
        ok(listen);
        proxy.signal(libc::SIGTERM);
        assert_eq!(proxy.exit().code(), Some(0));
    }
    let last = start();
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    assert!(clients.join().expect("every client was served") > 0);
    drop(last);
}

#[test]
fn descriptors_that_are_no_listening_sockets_are_refused() {
    let folder = Folder::new();
    let config = folder.path("edge.yaml");
    let text = simple(free_address(), &[SocketAddr::from(([127, 0, 0, 1], 9))]);
    std::fs::write(&config, format!("admin: {{ address: '127.0.0.1:0' }}\n{text}")).expect("written");
    let udp = std::net::UdpSocket::bind("127.0.0.1:0").expect("binds");
    // SAFETY: no pointers; the number is fresh.
    let udp: OwnedFd = unsafe {
        let number = libc::fcntl(udp.as_raw_fd(), libc::F_DUPFD_CLOEXEC, 100);
        std::os::fd::FromRawFd::from_raw_fd(number)
    };
    let mut command = command();
    command.arg("run").arg("-c").arg(&config);
    pass(&mut command, &[udp.as_raw_fd()], "dns");
    let (code, errors) = ended(&mut command);
    assert_eq!(code, Some(1), "{errors}");
    assert!(errors.contains("inherited descriptor 3 (`dns`) is no TCP socket that listens"), "{errors}");
}

#[test]
fn systemd_analyze_accepts_the_units() {
    let units = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/systemd");
    let folder = Folder::new();
    for name in ["corelane.service", "corelane.socket"] {
        // The program need not be installed for its unit to be right.
        let unit = std::fs::read_to_string(units.join(name)).expect(name);
        let unit = unit.replace("/usr/local/bin/corelane", env!("CARGO_BIN_EXE_corelane"));
        std::fs::write(folder.path(name), unit).expect("written");
    }
    let mut command = Command::new("systemd-analyze");
    command.arg("verify").arg(folder.path("corelane.service")).arg(folder.path("corelane.socket"));
    let output = command.output().expect("systemd-analyze");
    let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && !said.contains("corelane."), "{said}");
}
