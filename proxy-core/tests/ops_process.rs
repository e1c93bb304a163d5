//! The command line, drivers that the kernel refuses, ports that others have, descriptors that run out.

mod ops;

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Output, Stdio};

use ops::client::{self, Client};
use ops::origin::Origin;
use ops::proxy::{Proxy, any_cpu, command, simple};
use ops::{DEADLINE, Folder, free_address, wait_until};

on_both_drivers!(descriptors_that_run_out_are_survived);

/// Runs to the end, which must come by itself.
fn finish(command: &mut Command) -> (Option<i32>, String, String) {
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
    // Read meanwhile: a pipe holds 64 KiB, and the process waits when it is full.
    let (done, wait) = std::sync::mpsc::channel();
    std::thread::spawn(move || done.send(child.wait_with_output()));
    let output = wait.recv_timeout(DEADLINE).expect("the process ends by itself");
    let Output { status, stdout, stderr } = output.expect("output");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (status.code(), text(stdout), text(stderr))
}

fn config(folder: &Folder, text: &str) -> String {
    let path = folder.path("edge.yaml");
    std::fs::write(&path, text).expect("written");
    path.display().to_string()
}

fn working(listen: SocketAddr) -> String {
    format!("admin: {{ address: '127.0.0.1:0' }}\n{}", simple(listen, &[SocketAddr::from(([127, 0, 0, 1], 9))]))
}

/// Lets the child run without the right to make a ring, as container runtimes do by default.
fn forbid_io_uring(command: &mut Command) {
    let refuse = || {
        const NUMBER: u32 = std::mem::offset_of!(libc::seccomp_data, nr) as u32;
        let statement = |code: u32, k: u32, jt: u8, jf: u8| libc::sock_filter { code: code as u16, jt, jf, k };
        let mut filter = [
            statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, NUMBER, 0, 0),
            statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, libc::SYS_io_uring_setup as u32, 0, 1),
            statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32, 0, 0),
            statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW, 0, 0),
        ];
        let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
        // SAFETY: system calls alone, as it must be after a fork; the program outlives the call that copies it.
        let done = unsafe {
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
                && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) == 0
        };
        if done { Ok(()) } else { Err(io::Error::last_os_error()) }
    };
    // SAFETY: the closure allocates nothing and makes async-signal-safe calls only.
    unsafe { command.pre_exec(refuse) };
}

fn limit_descriptors(command: &mut Command, count: u64) {
    let limit = move || {
        let limit = libc::rlimit { rlim_cur: count, rlim_max: count };
        // SAFETY: reads a local.
        let done = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) } == 0;
        if done { Ok(()) } else { Err(io::Error::last_os_error()) }
    };
    // SAFETY: as above.
    unsafe { command.pre_exec(limit) };
}

#[test]
fn auto_falls_back_to_epoll_and_says_why() {
    let origin = Origin::start("origin");
    let listen = free_address();
    let arguments = ["--driver", "auto", "--cores", &any_cpu()];
    let proxy = Proxy::start_with(&simple(listen, &[origin.address]), &arguments, forbid_io_uring);
    let lines: Vec<String> = proxy.log.all().into_iter().filter(|line| line.contains("io_uring")).collect();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("using epoll instead of io_uring: ") && lines[0].contains("seccomp"), "{lines:?}");
    assert_eq!(proxy.log.count("driver=\"epoll\""), 1);
    assert_eq!(client::once(listen, "GET", "/").expect("a response").text(), "origin");
}

#[test]
fn a_forbidden_driver_that_was_asked_for_is_an_error() {
    let folder = Folder::new();
    let config = config(&folder, &working(free_address()));
    let mut command = command();
    command.args(["run", "-c", &config, "--driver", "uring"]);
    forbid_io_uring(&mut command);
    let (code, out, errors) = finish(&mut command);
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(errors.starts_with("corelane: --driver uring: ") && errors.contains("seccomp"), "{errors}");
}

#[test]
fn check_tells_good_from_bad_by_its_status() {
    let folder = Folder::new();
    let good = config(&folder, &working(free_address()));
    assert_eq!(finish(command().args(["check", "-c", &good])), (Some(0), format!("{good}: ok\n"), String::new()));

    let bad = config(&folder, "listeners:\n  - nam: web\n");
    let (code, out, errors) = finish(command().args(["check", "-c", &bad]));
    assert_eq!((code, out.as_str()), (Some(2), ""));
    assert!(errors.contains(&format!("{bad}:2:5")) && errors.contains("`name`"), "{errors}");
    let (code, _, same) = finish(command().args(["run", "-c", &bad]));
    assert_eq!((code, same), (Some(2), errors), "`run` refuses with the same words");

    let (code, out, errors) = finish(command().args(["check", "-c", "/nowhere/edge.yaml"]));
    assert_eq!((code, out.as_str()), (Some(2), ""));
    assert!(errors.contains("/nowhere/edge.yaml") && errors.contains("No such file"), "{errors}");
    let (code, _, errors) = finish(command().args(["run", "-c", "/nowhere/edge.yaml"]));
    assert_eq!(code, Some(2), "{errors}");
}

#[test]
fn the_schema_is_json() {
    let (code, out, errors) = finish(command().arg("schema"));
    assert_eq!((code, errors.as_str()), (Some(0), ""));
    let schema: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert!(schema["$schema"].is_string());
    assert!(schema["$defs"]["listener"]["properties"]["address"].is_object());
}

#[test]
fn wrong_command_lines_are_explained() {
    for (arguments, word) in [
        (&["run"][..], "--config"),
        (&["run", "-c", "x", "--colour"], "--colour"),
        (&["run", "-c", "x", "--driver", "kqueue"], "kqueue"),
        (&["run", "-c", "x", "--cores", "two"], "two"),
        (&["run", "-c", "x", "--drain-timeout", "soon"], "soon"),
        (&["walk"], "walk"),
    ] {
        let (code, out, errors) = finish(command().args(arguments));
        assert_eq!((code, out.as_str()), (Some(2), ""), "{arguments:?}");
        assert!(errors.contains(word), "{arguments:?}: {errors}");
    }
    let (code, out, _) = finish(command().arg("--version"));
    assert_eq!(code, Some(0));
    assert!(out.starts_with("corelane "), "{out}");
    let folder = Folder::new();
    let config = config(&folder, &working(free_address()));
    let (code, _, errors) = finish(command().args(["run", "-c", &config, "--cores", "8191"]));
    assert_eq!(code, Some(1));
    assert!(errors.contains("may not run on CPU 8191"), "{errors}");
}

#[test]
fn addresses_in_use_are_an_error() {
    let holder = TcpListener::bind("127.0.0.1:0").expect("binds");
    let taken = holder.local_addr().expect("an address");
    let folder = Folder::new();
    let path = config(&folder, &working(taken));
    let (code, _, errors) = finish(command().args(["run", "-c", &path]));
    assert_eq!(code, Some(1));
    assert!(errors.contains(&format!("corelane: listener web can't have {taken}: Address already in use")), "{errors}");

    let text = working(free_address()).replace("127.0.0.1:0", &taken.to_string());
    let path = config(&folder, &text);
    let (code, _, errors) = finish(command().args(["run", "-c", &path]));
    assert_eq!(code, Some(1));
    assert!(errors.contains(&format!("admin address {taken}: Address already in use")), "{errors}");
}

#[test]
fn a_second_instance_does_not_share_the_first_ones_port() {
    let origin = Origin::start("origin");
    let listen = free_address();
    let text = simple(listen, &[origin.address]);
    let proxy = Proxy::start("auto", &text);
    let (code, _, errors) = finish(command().args(["run", "-c", &proxy.config.display().to_string()]));
    assert_eq!(code, Some(1));
    assert!(errors.contains("Address already in use"), "{errors}");
    for _ in 0..10 {
        assert_eq!(client::once(listen, "GET", "/").expect("a response").status, 200);
    }
}

#[test]
fn an_endpoint_may_be_a_name() {
    let origin = Origin::start("origin");
    let listen = free_address();
    let named = simple(listen, &[origin.address]).replace("127.0.0.1:", "localhost:");
    let named = named.replacen(&listen.to_string().replace("127.0.0.1", "localhost"), &listen.to_string(), 1);
    let proxy = Proxy::start("auto", &named);
    assert_eq!(client::once(listen, "GET", "/").expect("a response").text(), "origin");
    let clusters = proxy.get("/clusters").text();
    assert!(clusters.contains(&format!("app::{}::hostname::localhost", origin.address)), "{clusters}");
    assert!(proxy.stat("server.dns.queries") > 0);
}

fn descriptors_that_run_out_are_survived(driver: &str) {
    let origin = Origin::start("origin");
    let listen = free_address();
    let arguments = ["--driver", driver, "--cores", &any_cpu()];
    let adjust = |command: &mut Command| limit_descriptors(command, 64);
    let mut proxy = Proxy::start_with(&simple(listen, &[origin.address]), &arguments, adjust);
    let crowd: Vec<TcpStream> = (0..200).map(|_| TcpStream::connect(listen).expect("the kernel queues it")).collect();
    proxy.wait_for_log("accepting pauses");
    assert!(proxy.running());
    let pauses = proxy.log.count("accepting pauses");
    // The crowd stays until the process has looked.
    proxy.wait_for_log("overload: requests are refused");
    drop(crowd);
    wait_until("service", || {
        let response = Client::connect(listen).and_then(|mut client| client.get("/"));
        response.is_ok_and(|response| response.status == 200 && response.text() == "origin")
    });
    assert!(proxy.running());
    let listener = listen.to_string().replace(':', "_");
    assert!(proxy.stat(&format!("listener.{listener}.downstream_accept_error")) > 0);
    assert!(pauses < 100, "the log isn't flooded: {pauses} lines");
    wait_until("the crowd's connections to be gone", || {
        proxy.stat(&format!("listener.{listener}.downstream_cx_active")) == 0
    });
    // Each step of what is done about overload began, and is over.
    for step in ["disable_http_keepalive", "stop_accepting_connections", "stop_accepting_requests"] {
        let step = format!("overload.envoy.overload_actions.{step}");
        assert!(proxy.stat(&format!("{step}.entered")) > 0, "{step}");
        wait_until("the overload's end", || proxy.stat(&format!("{step}.active")) == 0);
    }
    wait_until("a connection that stays", || {
        !Client::connect(listen).and_then(|mut client| client.get("/")).expect("a response").closes()
    });
}
