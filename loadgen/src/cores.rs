//! Event loops: how many, where, and on which threads.

use std::future::Future;
use std::io;
use std::str::FromStr;
use std::thread::JoinHandle;

use runtime::{Bell, Core, DriverChoice, Options, allowed_cpus, core_count, run};

/// What `--cores` asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cores {
    /// One for each CPU that the process may use, within its quota.
    Auto,
    Count(usize),
    /// Pinned to these.
    Pinned(Vec<usize>),
}

/// Event loops that `--cores` may ask for: far above any machine's processors, below what a thread's memory allows.
const CORES_MAX: usize = 1024;

impl FromStr for Cores {
    type Err = String;

    fn from_str(text: &str) -> Result<Cores, String> {
        let number = |part: &str| {
            let message = || format!("`{part}` is no number; expected `auto`, a count, or a list such as `0,2-3`");
            part.trim().parse::<usize>().map_err(|_| message())
        };
        if text == "auto" {
            return Ok(Cores::Auto);
        }
        if !text.contains([',', '-']) {
            return match number(text)? {
                count @ 1..=CORES_MAX => Ok(Cores::Count(count)),
                count => Err(format!("{count} is not in 1..={CORES_MAX}")),
            };
        }
        let mut cpus = Vec::new();
        for part in text.split(',').filter(|part| !part.trim().is_empty()) {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (number(first)?, number(last)?);
            if last < first || last - first >= CORES_MAX || cpus.len() >= CORES_MAX {
                return Err(format!("`{part}` is no range of CPUs"));
            }
            cpus.extend(first..=last);
        }
        match cpus.iter().find(|cpu| !allowed_cpus().contains(cpu)) {
            Some(cpu) => Err(format!("CPU {cpu} isn't among those that this process may use: {:?}", allowed_cpus())),
            None if cpus.is_empty() => Err("the list of CPUs is empty".into()),
            None => Ok(Cores::Pinned(cpus)),
        }
    }
}

impl Cores {
    /// The CPU of each loop. Only some of the CPUs, and not said which: the kernel places the threads, as a server under
    /// test may be pinned anywhere.
    pub(crate) fn places(&self) -> Vec<Option<usize>> {
        let allowed = allowed_cpus();
        let count = match self {
            Cores::Pinned(cpus) => return cpus.iter().copied().map(Some).collect(),
            Cores::Auto => core_count(),
            Cores::Count(count) => *count,
        };
        if count == allowed.len() { allowed.into_iter().map(Some).collect() } else { vec![None; count] }
    }
}

/// Says on standard error why io_uring isn't used, if it was left to us. Fails when the driver asked for can't run.
pub(crate) fn probe(driver: DriverChoice) -> Result<&'static str, String> {
    let chosen = driver.probe(true).map_err(|error| format!("the driver can't run: {error}"))?;
    if let Some(reason) = chosen.fallback_reason {
        eprintln!("loadgen: using epoll, as io_uring doesn't work here: {reason}");
    }
    Ok(chosen.name)
}

/// Runs a core on a thread of its own; `ended` gets what became of it.
pub(crate) fn start<F: Future<Output = ()> + 'static>(
    options: Options,
    bell: Bell,
    main: impl FnOnce(Core) -> F + Send + 'static,
    ended: impl FnOnce(io::Result<()>) + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    let name = format!("core-{}", options.id);
    std::thread::Builder::new().name(name).spawn(move || ended(run(&options, &bell, main)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_counts_and_a_list_pins() {
        let first = allowed_cpus()[0];
        assert_eq!("auto".parse(), Ok(Cores::Auto));
        assert_eq!("2".parse(), Ok(Cores::Count(2)));
        assert_eq!(format!("{first},").parse(), Ok(Cores::Pinned(vec![first])));
        assert_eq!(format!("{first}-{first}").parse::<Cores>().map(|cores| cores.places()), Ok(vec![Some(first)]));
        assert_eq!(Cores::Count(3000).places().len(), 3000);
        for wrong in ["0", "x", "1-0", ",", "0-9999", "4097,", "-1"] {
            assert!(wrong.parse::<Cores>().is_err(), "{wrong}");
        }
    }
}
