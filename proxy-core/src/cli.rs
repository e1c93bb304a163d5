//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

use crate::config::Duration;

/// An edge proxy and load balancer: one event loop a core.
///
/// Without a command it runs an example: a listener on 127.0.0.1:8080 that balances over two built-in origins.
#[derive(Debug, Parser, PartialEq)]
#[command(name = "corelane", version, about, long_about)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Option<Command>,
}

#[derive(Debug, Subcommand, PartialEq)]
pub enum Command {
    /// Run with a config file.
    Run(Run),
    /// Say all that is wrong with a config file, without running it.
    Check(Check),
    /// Print the JSON Schema of the config file, for editors.
    Schema,
}

#[derive(Debug, clap::Args, PartialEq)]
pub struct Run {
    /// The config file.
    #[arg(short, long, value_name = "FILE")]
    pub config: PathBuf,
    #[command(flatten)]
    pub process: Process,
}

#[derive(Debug, clap::Args, PartialEq)]
pub struct Check {
    /// The config file.
    #[arg(short, long, value_name = "FILE")]
    pub config: PathBuf,
}

/// How the process runs, whatever its config says.
#[derive(Clone, Debug, Default, clap::Args, PartialEq)]
pub struct Process {
    /// The CPUs to run a loop on, such as `0,1` or `0-3`, or a loop for each CPU that the process may use.
    #[arg(long, default_value = "auto", value_name = "LIST|auto", value_parser = cores)]
    pub cores: Cores,
    /// How to talk to the kernel; `auto` takes io_uring where it works.
    #[arg(long, default_value = "auto")]
    pub driver: DriverChoice,
    /// What the process tells of itself on standard error.
    #[arg(long, default_value = "info")]
    pub log_level: LogLevel,
    /// How long a graceful stop may take, instead of the config's `drain_timeout`.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub drain_timeout: Option<Duration>,
    /// Go on as this user, without capabilities, when ports are bound; needs a start as root.
    #[arg(long, value_name = "NAME|NUMBER")]
    pub user: Option<String>,
    /// The group to go on with, instead of the user's.
    #[arg(long, value_name = "NAME|NUMBER", requires = "user")]
    pub group: Option<String>,
    /// With `--user`, keep the right to bind low ports, so that a reload can add listeners on them.
    #[arg(long, requires = "user")]
    pub keep_bind: bool,
    /// Don't set the kernel's flag that no program started from here gains privileges.
    #[arg(long)]
    pub allow_new_privileges: bool,
    /// Don't restrict io_uring to the operations that are used.
    #[arg(long)]
    pub unrestricted_ring: bool,
}

/// Which CPUs to run on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Cores {
    /// Every CPU of the process's cpuset, within its cgroup's quota.
    #[default]
    Auto,
    /// These, by number, in this order, each once.
    List(Vec<usize>),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum DriverChoice {
    Uring,
    Epoll,
    #[default]
    Auto,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogLevel {
    Error,
    Warn,
    #[default]
    Info,
    Debug,
    Trace,
}

impl LogLevel {
    /// The name that `tracing` and `/logging` know it by.
    pub fn name(self) -> &'static str {
        match self {
            LogLevel::Error => "error",
            LogLevel::Warn => "warn",
            LogLevel::Info => "info",
            LogLevel::Debug => "debug",
            LogLevel::Trace => "trace",
        }
    }
}

/// Highest CPU number that a list may name: the kernel's `NR_CPUS` is at most 8192.
const CPU_MAX: usize = 8191;

fn cores(text: &str) -> Result<Cores, String> {
    if text == "auto" {
        return Ok(Cores::Auto);
    }
    let number = |part: &str| match part.trim().parse::<usize>() {
        Ok(cpu) if cpu <= CPU_MAX => Ok(cpu),
        Ok(cpu) => Err(format!("CPU {cpu} is beyond {CPU_MAX}")),
        Err(_) => Err(format!("`{part}` is no CPU number; expected `auto` or a list such as `0,1` or `0-3`")),
    };
    let mut list = Vec::new();
    for part in text.split(',') {
        let (first, last) = match part.split_once('-') {
            Some((first, last)) => (number(first)?, number(last)?),
            None => (number(part)?, number(part)?),
        };
        if first > last {
            return Err(format!("`{part}` counts down"));
        }
        for cpu in first..=last {
            if list.contains(&cpu) {
                return Err(format!("CPU {cpu} is listed twice"));
            }
            list.push(cpu);
        }
    }
    Ok(Cores::List(list))
}

fn duration(text: &str) -> Result<Duration, String> {
    Duration::parse_text(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split_whitespace())
    }

    #[test]
    fn without_a_command_the_example_runs() {
        assert_eq!(parse("corelane").unwrap(), Cli { command: None });
    }

    #[test]
    fn run_takes_a_file_and_options() {
        let cli = parse("corelane run -c edge.yaml --cores 0,2-3 --driver epoll --log-level debug --drain-timeout 30s");
        let process = Process {
            cores: Cores::List(vec![0, 2, 3]),
            driver: DriverChoice::Epoll,
            log_level: LogLevel::Debug,
            drain_timeout: Some(Duration { ms: 30_000 }),
            ..Process::default()
        };
        let run = Run { config: "edge.yaml".into(), process };
        assert_eq!(cli.unwrap().command, Some(Command::Run(run)));
    }

    #[test]
    fn run_takes_options_of_privileges() {
        let line =
            "corelane run -c edge.yaml --user web --group 33 --keep-bind --allow-new-privileges --unrestricted-ring";
        let process = Process {
            user: Some("web".into()),
            group: Some("33".into()),
            keep_bind: true,
            allow_new_privileges: true,
            unrestricted_ring: true,
            ..Process::default()
        };
        let run = Run { config: "edge.yaml".into(), process };
        assert_eq!(parse(line).unwrap().command, Some(Command::Run(run)));
    }

    #[test]
    fn options_have_defaults() {
        let Some(Command::Run(run)) = parse("corelane run --config edge.yaml").unwrap().command else {
            panic!("no run command");
        };
        assert_eq!(run.process, Process::default());
    }

    #[test]
    fn check_and_schema_are_commands() {
        let check = Check { config: "edge.yaml".into() };
        assert_eq!(parse("corelane check -c edge.yaml").unwrap().command, Some(Command::Check(check)));
        assert_eq!(parse("corelane schema").unwrap().command, Some(Command::Schema));
    }

    #[test]
    fn nonsense_is_refused_with_the_reason() {
        for (line, reason) in [
            ("corelane run", "--config"),
            ("corelane run -c f --cores 0,0", "listed twice"),
            ("corelane run -c f --cores 3-1", "counts down"),
            ("corelane run -c f --cores two", "no CPU number"),
            ("corelane run -c f --cores 99999999999", "beyond"),
            ("corelane run -c f --driver kqueue", "uring"),
            ("corelane run -c f --drain-timeout 30", "needs a unit"),
            ("corelane run -c f --group web", "--user"),
            ("corelane run -c f --keep-bind", "--user"),
        ] {
            let error = parse(line).unwrap_err().to_string();
            assert!(error.contains(reason), "{line}: {error}");
        }
    }

    #[test]
    fn the_definition_is_sound() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
    }
}
