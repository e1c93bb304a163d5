//! `corelane` as a child process.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::client::{self, Response};
use super::{DEADLINE, Folder, wait_until, wait_within};

/// The binary under test; another build of it may be named, for figures that only a release build gives.
pub fn command() -> Command {
    let binary = std::env::var_os("OPS_CORELANE").unwrap_or_else(|| env!("CARGO_BIN_EXE_corelane").into());
    Command::new(binary)
}

/// Tests run side by side: their proxies take turns on the CPUs.
pub fn any_cpu() -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let cpus = runtime::allowed_cpus();
    cpus[NEXT.fetch_add(1, Ordering::Relaxed) % cpus.len()].to_string()
}

/// Two CPUs, where there are two: what cores hand to each other gets lost in other ways than what one keeps.
pub fn two_cpus() -> String {
    let cpus: Vec<String> = runtime::allowed_cpus().iter().take(2).map(ToString::to_string).collect();
    cpus.join(",")
}

/// Lines that a child has written so far.
#[derive(Clone, Default)]
pub struct Lines(Arc<Mutex<Vec<String>>>);

impl Lines {
    fn of(pipe: impl Read + Send + 'static) -> Lines {
        let lines = Lines::default();
        let writer = lines.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                writer.0.lock().expect("a lock").push(line);
            }
        });
        lines
    }

    pub fn all(&self) -> Vec<String> {
        self.0.lock().expect("a lock").clone()
    }

    pub fn count(&self, part: &str) -> usize {
        self.all().iter().filter(|line| line.contains(part)).count()
    }
}

pub struct Proxy {
    child: Child,
    pub folder: Folder,
    pub config: PathBuf,
    pub admin: SocketAddr,
    pub out: Lines,
    pub log: Lines,
}

impl Proxy {
    /// Starts on one core with this config (without its `admin`) and waits until it serves.
    pub fn start(driver: &str, config: &str) -> Proxy {
        Proxy::start_with(config, &["--driver", driver, "--cores", &any_cpu()], |_| {})
    }

    pub fn start_with(config: &str, arguments: &[&str], adjust: impl FnOnce(&mut Command)) -> Proxy {
        Proxy::start_in(Folder::new(), config, arguments, adjust)
    }

    /// `folder`: for the config.
    pub fn start_in(folder: Folder, config: &str, arguments: &[&str], adjust: impl FnOnce(&mut Command)) -> Proxy {
        let path = folder.path("corelane.yaml");
        std::fs::write(&path, with_admin(config)).expect("written");
        let mut command = command();
        command.arg("run").arg("-c").arg(&path).args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
        adjust(&mut command);
        let mut child = command.spawn().expect("starts");
        let out = Lines::of(child.stdout.take().expect("a pipe"));
        let log = Lines::of(child.stderr.take().expect("a pipe"));
        let unknown = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut proxy = Proxy { child, folder, config: path, admin: unknown, out, log };
        wait_until("the proxy to listen", || {
            assert!(proxy.child.try_wait().expect("a child").is_none(), "it ended: {:#?}", proxy.log.all());
            proxy.log.count("listening:") > 0
        });
        let address = |line: &String| line.split_once("admin=")?.1.split_whitespace().next()?.parse().ok();
        proxy.admin = proxy.log.all().iter().find_map(address).expect("the admin address");
        proxy
    }

    /// Writes the config in place.
    pub fn write(&self, config: &str) {
        std::fs::write(&self.config, with_admin(config)).expect("written");
    }

    /// Replaces the config by renaming, as editors and deployment tools do.
    pub fn replace(&self, config: &str) {
        let new = self.folder.path("corelane.yaml.new");
        std::fs::write(&new, with_admin(config)).expect("written");
        std::fs::rename(new, &self.config).expect("renamed");
    }

    /// Writes a config and asks for it over the admin API, which answers when every core serves by it.
    pub fn reload(&self, config: &str) -> Response {
        self.replace(config);
        self.post("/config/reload")
    }

    pub fn get(&self, path: &str) -> Response {
        client::once(self.admin, "GET", path).unwrap_or_else(|error| panic!("GET {path}: {error}"))
    }

    pub fn post(&self, path: &str) -> Response {
        client::once(self.admin, "POST", path).unwrap_or_else(|error| panic!("POST {path}: {error}"))
    }

    /// A counter's or gauge's value; 0 if nothing has such a name.
    pub fn stat(&self, name: &str) -> u64 {
        let stats = self.get("/stats").text();
        let value = stats.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        value.map_or(0, |value| value.parse().expect("a number"))
    }

    pub fn signal(&self, signal: libc::c_int) {
        // SAFETY: no pointers; the child is ours and not yet waited for.
        let sent = unsafe { libc::kill(self.child.id() as libc::pid_t, signal) };
        assert_eq!(sent, 0, "signal {signal}");
    }

    pub fn wait_for_log(&self, part: &str) {
        wait_until(&format!("{part:?} in the log"), || self.log.count(part) > 0);
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn running(&mut self) -> bool {
        self.child.try_wait().expect("a child").is_none()
    }

    pub fn exit(&mut self) -> ExitStatus {
        self.exit_within(DEADLINE)
    }

    pub fn exit_within(&mut self, time: Duration) -> ExitStatus {
        let mut status = None;
        wait_within(time, "the proxy to end", || {
            status = self.child.try_wait().expect("a child");
            status.is_some()
        });
        status.expect("a status")
    }

    /// Lets one thread of the process not run until the guard is dropped.
    pub fn stall(&self, thread: &str) -> Stalled {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).expect("a process");
        let mut named = tasks
            .map(|task| task.expect("a task").path())
            .filter(|task| std::fs::read_to_string(task.join("comm")).is_ok_and(|name| name.trim_end() == thread));
        let task = named.next().expect("a thread of this name");
        let id: libc::pid_t = task.file_name().and_then(|id| id.to_str()?.parse().ok()).expect("a number");
        // SAFETY: null pointers: neither address nor data is wanted.
        let attached = unsafe { libc::ptrace(libc::PTRACE_SEIZE, id, 0, 0) };
        assert_eq!(attached, 0, "{}", std::io::Error::last_os_error());
        // SAFETY: as above.
        assert_eq!(unsafe { libc::ptrace(libc::PTRACE_INTERRUPT, id, 0, 0) }, 0);
        Stalled(id)
    }

    /// Resident memory, bytes.
    pub fn resident_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("a process");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
    }
}

/// A thread that doesn't run; the thread that made it is the only one that may let go.
pub struct Stalled(libc::pid_t);

impl Drop for Stalled {
    fn drop(&mut self) {
        // Only a thread that has stopped can be let go.
        // SAFETY: null pointers: nothing else is wanted.
        unsafe {
            libc::waitpid(self.0, std::ptr::null_mut(), libc::__WALL);
            libc::ptrace(libc::PTRACE_DETACH, self.0, 0, 0);
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("log of the proxy: {:#?}", self.log.all());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn with_admin(config: &str) -> String {
    format!("admin: {{ address: '127.0.0.1:0' }}\n{config}")
}

/// A listener `web` that passes everything on to the cluster `app`.
pub fn simple(listen: SocketAddr, endpoints: &[SocketAddr]) -> String {
    let endpoints: Vec<String> = endpoints.iter().map(|endpoint| format!("'{endpoint}'")).collect();
    format!(
        "listeners:\n  - name: web\n    address: '{listen}'\n    http: {{ routes: [{{ match: {{ prefix: / }}, cluster: app }}] }}\n\
         clusters:\n  - {{ name: app, endpoints: [{}] }}\n",
        endpoints.join(", ")
    )
}
