//! The line that shows how a run goes; only when standard error is a terminal.

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use runtime::counters::Page;

use crate::client::cell;
use crate::units::{show_bytes, show_count};

const INTERVAL: Duration = Duration::from_millis(500);

pub(crate) struct Progress {
    page: Arc<Page>,
    began: Instant,
    planned_us: Option<u64>,
    shown: bool,
    enabled: bool,
    last: (Instant, u64, u64),
}

impl Progress {
    pub(crate) fn new(page: Arc<Page>, planned_us: Option<u64>) -> Progress {
        let began = Instant::now();
        let enabled = std::io::stderr().is_terminal();
        Progress { page, began, planned_us, shown: false, enabled, last: (began, 0, 0) }
    }

    /// How often to draw; `None`: not at all.
    pub(crate) fn interval(&self) -> Option<Duration> {
        self.enabled.then_some(INTERVAL)
    }

    pub(crate) fn draw(&mut self) {
        let line = self.line(Instant::now());
        self.shown = true;
        let mut stderr = std::io::stderr();
        let _ = write!(stderr, "\r\x1b[2K{line}").and_then(|()| stderr.flush());
    }

    fn line(&mut self, now: Instant) -> String {
        let (responses, bytes) = (self.page.sum(cell::RESPONSES), self.page.sum(cell::BYTES));
        let failures = self.page.sum(cell::FAILURES);
        let (then, responses_then, bytes_then) = std::mem::replace(&mut self.last, (now, responses, bytes));
        let seconds = (now - then).as_secs_f64().max(1e-3);
        let rate = (responses - responses_then) as f64 / seconds;
        let throughput = show_bytes((bytes - bytes_then) as f64 / seconds);
        let elapsed = (now - self.began).as_secs_f64();
        let time = match self.planned_us.map(|us| us as f64 / 1e6) {
            Some(planned) if elapsed > planned => "waiting for the last responses".to_owned(),
            Some(planned) => format!("{elapsed:.1} of {planned:.0} s"),
            None => format!("{elapsed:.1} s"),
        };
        let (rate, responses, failures) = (show_count(rate as u64), show_count(responses), show_count(failures));
        format!("{time} · {responses} responses · {rate}/s · {throughput}/s · {failures} failed")
    }

    /// Takes the line away before the result is printed.
    pub(crate) fn clear(&mut self) {
        if self.shown {
            eprint!("\r\x1b[2K");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_shows_rates_since_the_last_one() {
        let page = Page::new(2, cell::COUNT);
        let mut progress = Progress::new(page.clone(), Some(10_000_000));
        let began = progress.began;
        page.add(0, cell::RESPONSES, 1000);
        progress.line(began + Duration::from_secs(1));
        page.add(1, cell::RESPONSES, 500);
        page.add(1, cell::FAILURES, 3);
        page.add(1, cell::BYTES, 2048);
        let line = progress.line(began + Duration::from_secs(2));
        assert_eq!(line, "2.0 of 10 s · 1,500 responses · 500/s · 2.00 KiB/s · 3 failed");
        assert!(progress.line(began + Duration::from_secs(11)).starts_with("waiting for the last"));
    }
}
