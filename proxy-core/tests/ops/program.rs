//! Programs that others wrote, as child processes of a test.

use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use super::{DEADLINE, wait_until};

/// A program that ends with the test. What it writes to standard output can be read line by line.
pub struct Program {
    child: Child,
    lines: Receiver<String>,
}

impl Program {
    /// Starts it; standard error is the command's to set.
    pub fn start(mut command: Command) -> Program {
        let spawned = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
        let mut child = spawned.unwrap_or_else(|error| panic!("{command:?} doesn't start: {error}"));
        let out = BufReader::new(child.stdout.take().expect("a pipe"));
        let (sender, lines) = channel();
        std::thread::spawn(move || out.lines().map_while(Result::ok).for_each(|line| drop(sender.send(line))));
        Program { child, lines }
    }

    /// Starts it and waits until it listens.
    pub fn listening(command: Command, address: SocketAddr) -> Program {
        let program = Program::start(command);
        wait_until("the program to listen", || TcpStream::connect(address).is_ok());
        program
    }

    /// The next line of its output.
    #[track_caller]
    pub fn line(&self) -> String {
        self.lines.recv_timeout(DEADLINE).expect("a line of the program")
    }

    pub fn id(&self) -> libc::pid_t {
        self.child.id() as libc::pid_t
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // SIGTERM: its children end with it.
        // SAFETY: no pointers; the child is ours and not yet waited for.
        unsafe { libc::kill(self.id(), libc::SIGTERM) };
        let _ = self.child.wait();
    }
}

/// A command for one of the scripts in `tests/`, with the interpreter that has the libraries (`scripts/test`).
pub fn python(script: &str) -> Command {
    let interpreter = match std::env::var_os("CORELANE_PYTHON_PEERS") {
        Some(path) => path.into(),
        None => PathBuf::from(env!("CARGO_TARGET_TMPDIR")).with_file_name("python-peers").join("bin/python"),
    };
    let mut command = Command::new(interpreter);
    command.arg(format!("{}/tests/{script}", env!("CARGO_MANIFEST_DIR"))).stdin(Stdio::null());
    command
}
