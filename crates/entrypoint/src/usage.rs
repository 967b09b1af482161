//! What the command cost: samples the container's control group while it runs and writes a small JSON file beside the
//! marker, for the sidecar. Its members are described in docs/results.md.
//!
//! It is written while the command runs too: who is killed has no last word.

use crate::alive::beside;
use crate::cgroup::{Cgroup, Limits, Reading};
use crate::marker;
use std::fmt::Write;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Peaks are those of so long a time.
const SAMPLE: Duration = Duration::from_secs(1);
/// A shorter time says nothing about a peak: the counters move in steps.
const SHORTEST: Duration = Duration::from_millis(500);
/// Samples from one writing to the next.
const WRITE_EVERY: u32 = 10;

/// The file beside a marker that says what its command cost.
pub fn usage_file(marker: &Path) -> PathBuf {
    beside(marker, ".usage.json")
}

/// Samples in the background.
pub(crate) struct Sampler {
    stop: Sender<()>,
    thread: JoinHandle<io::Result<()>>,
}

impl Sampler {
    /// `None` where there is nothing to read.
    pub(crate) fn start(marker: &Path) -> Option<Self> {
        let cgroup = Cgroup::own()?;
        let file = usage_file(marker);
        let (stop, stopped) = channel();
        let mut usage = Usage::new(cgroup.version(), cgroup.limits(), cgroup.read());
        let mut at = Instant::now();
        let sample = move || {
            let mut written = None;
            for count in 0u32.. {
                let last = stopped.recv_timeout(SAMPLE) != Err(RecvTimeoutError::Timeout);
                usage.add(at.elapsed(), cgroup.read());
                at = Instant::now();
                if last {
                    break;
                }
                if count.is_multiple_of(WRITE_EVERY) || has_grown(written, usage.memory_peak) {
                    // Tried again in a moment; the last word is the one whose failure is told.
                    let _ = write(&file, &usage);
                    written = usage.memory_peak;
                }
            }
            write(&file, &usage)
        };
        let thread = std::thread::Builder::new().name("usage".to_owned()).spawn(sample).ok()?;
        Some(Sampler { stop, thread })
    }

    /// The last sample, and the file as it stays.
    pub(crate) fn finish(self) -> io::Result<()> {
        drop(self.stop);
        self.thread.join().unwrap_or_else(|_| Err(io::Error::other("the sampler broke down")))
    }
}

/// True if the memory has come nearer to its limit by so much that the next sample may be too late: where the kernel
/// kills all of a container at once, ours is among them.
fn has_grown(written: Option<u64>, now: Option<u64>) -> bool {
    written.zip(now).is_some_and(|(written, now)| now > written.saturating_add(written / 8))
}

fn write(file: &Path, usage: &Usage) -> io::Result<()> {
    marker::write_whole(file, usage.json().as_bytes(), 0o644, false)
}

/// Samples so far.
struct Usage {
    version: u32,
    limits: Limits,
    first: Reading,
    last: Reading,
    elapsed: Duration,
    /// Thousandths of a processor.
    cpu_peak: u64,
    memory_peak: Option<u64>,
}

impl Usage {
    fn new(version: u32, limits: Limits, first: Reading) -> Self {
        let memory_peak = first.memory_peak.or(first.memory);
        Usage { version, limits, first, last: first, elapsed: Duration::ZERO, cpu_peak: 0, memory_peak }
    }

    /// A reading so long after the one before.
    fn add(&mut self, after: Duration, reading: Reading) {
        if let Some(cpu) = since(self.last.cpu, reading.cpu).filter(|_| after >= SHORTEST) {
            self.cpu_peak = self.cpu_peak.max(cores(cpu, after));
        }
        self.memory_peak = self.memory_peak.max(reading.memory_peak.or(reading.memory));
        self.elapsed += after;
        self.last = reading;
    }

    fn json(&self) -> String {
        let (first, last) = (&self.first, &self.last);
        let cpu = since(first.cpu, last.cpu);
        let mean = cpu.map(|cpu| cores(cpu, self.elapsed));
        let thousandths = |microseconds: Option<u64>| microseconds.map(|n| n / 1000);
        let mut text = format!("{{\"cgroup\":{}", self.version);
        let mut member = |name: &str, value: Option<u64>, fraction: bool| {
            let Some(value) = value else { return };
            // Writing to a String cannot fail.
            let _ = match fraction {
                true => write!(text, ",\"{name}\":{}.{:03}", value / 1000, value % 1000),
                false => write!(text, ",\"{name}\":{value}"),
            };
        };
        member("seconds", u64::try_from(self.elapsed.as_millis()).ok(), true);
        member("cpu_seconds", thousandths(cpu), true);
        member("cpu_mean_cores", mean, true);
        // A short run has no second to have its peak in.
        member("cpu_peak_cores", mean.map(|mean| mean.max(self.cpu_peak)), true);
        member("cpu_limit_cores", self.limits.cpu, true);
        member("cpu_throttled_seconds", thousandths(since(first.throttled, last.throttled)), true);
        member("cpu_pressure_seconds", thousandths(since(first.cpu_pressure, last.cpu_pressure)), true);
        member("memory_peak_bytes", self.memory_peak, false);
        member("memory_limit_bytes", self.limits.memory, false);
        let memory_pressure = since(first.memory_pressure, last.memory_pressure);
        member("memory_pressure_seconds", thousandths(memory_pressure), true);
        member("oom_kills", since(first.oom_kills, last.oom_kills), false);
        member("read_bytes", since(first.read, last.read), false);
        member("written_bytes", since(first.written, last.written), false);
        member("io_pressure_seconds", thousandths(since(first.io_pressure, last.io_pressure)), true);
        text.push_str("}\n");
        text
    }
}

/// By how much a counter grew.
fn since(first: Option<u64>, last: Option<u64>) -> Option<u64> {
    Some(last?.saturating_sub(first?))
}

/// Microseconds of processor over a time, in thousandths of a processor.
fn cores(microseconds: u64, over: Duration) -> u64 {
    let over = u64::try_from(over.as_micros()).unwrap_or(u64::MAX).max(1);
    microseconds.saturating_mul(1000) / over
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(cpu: u64, memory: u64, memory_peak: Option<u64>) -> Reading {
        Reading { cpu: Some(cpu), memory: Some(memory), memory_peak, ..Reading::default() }
    }

    #[test]
    fn peaks_means_and_sums() {
        let limits = Limits { cpu: Some(2000), memory: Some(4096) };
        let mut usage = Usage::new(2, limits, reading(1_000_000, 10, None));
        usage.add(Duration::from_secs(1), reading(2_900_000, 300, None));
        usage.add(Duration::from_secs(1), reading(3_000_000, 200, None));
        // Too short to be a peak.
        let last = Reading {
            oom_kills: Some(1),
            throttled: Some(5_000),
            read: Some(7),
            written: Some(8),
            io_pressure: Some(1_234_567),
            ..reading(3_100_000, 100, None)
        };
        usage.first = Reading {
            oom_kills: Some(0),
            throttled: Some(0),
            read: Some(0),
            written: Some(0),
            io_pressure: Some(0),
            ..usage.first
        };
        usage.add(Duration::from_millis(10), last);
        assert_eq!(
            usage.json(),
            "{\"cgroup\":2,\"seconds\":2.010,\"cpu_seconds\":2.100,\"cpu_mean_cores\":1.044,\"cpu_peak_cores\":1.900,\
             \"cpu_limit_cores\":2.000,\"cpu_throttled_seconds\":0.005,\"memory_peak_bytes\":300,\
             \"memory_limit_bytes\":4096,\"oom_kills\":1,\"read_bytes\":7,\"written_bytes\":8,\
             \"io_pressure_seconds\":1.234}\n"
        );
    }

    #[test]
    fn what_the_kernel_does_not_tell_is_left_out() {
        let mut usage = Usage::new(1, Limits::default(), Reading::default());
        usage.add(Duration::from_millis(1_500), Reading::default());
        assert_eq!(usage.json(), "{\"cgroup\":1,\"seconds\":1.500}\n");
        let mut usage = Usage::new(1, Limits::default(), reading(0, 1, Some(5)));
        usage.add(Duration::from_millis(40), reading(20_000, 1, Some(9)));
        assert_eq!(
            usage.json(),
            "{\"cgroup\":1,\"seconds\":0.040,\"cpu_seconds\":0.020,\"cpu_mean_cores\":0.500,\
             \"cpu_peak_cores\":0.500,\"memory_peak_bytes\":9}\n"
        );
    }

    #[test]
    fn memory_that_grows_is_written_down_before_it_is_too_late() {
        for (written, now, grown) in [
            (Some(800), Some(900), false),
            (Some(800), Some(901), true),
            (Some(0), Some(1), true),
            (Some(u64::MAX), Some(u64::MAX), false),
            (None, Some(1), false),
            (Some(1), None, false),
        ] {
            assert_eq!(has_grown(written, now), grown, "{written:?} {now:?}");
        }
    }
}
