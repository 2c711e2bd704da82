//! Metrics of the process itself: log lines lost, and the usual `process_*` metrics, read from `/proc/self` when they
//! are requested. Metrics that cannot be read, as on systems without `/proc`, are left out.

use std::fs;

use rustix::process::{Resource, getrlimit};
use tokio::runtime::Handle;

use crate::logs;
use crate::metrics::exposition::Exposition;
use crate::metrics::families;

/// Clock ticks in a second as `/proc` counts them. Source: proc(5); `USER_HZ` is 100 on every architecture of Linux
/// that Rust's standard library is tested on.
const TICKS_PER_SECOND: f64 = 100.0;

/// Adds the metrics of this process that the system provides.
pub(super) fn render(exposition: &mut Exposition, runtime: Option<&Handle>) {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let stat = read("/proc/self/stat");
    let status = read("/proc/self/status");
    let samples = [
        (families::LOG_LINES_DROPPED, dropped()),
        (families::PROCESS_CPU, cpu_seconds(&stat)),
        (families::PROCESS_RESIDENT, kibibytes(&status, "VmRSS:")),
        (families::PROCESS_VIRTUAL, kibibytes(&status, "VmSize:")),
        (families::PROCESS_OPEN_FDS, open_files()),
        (
            families::PROCESS_MAX_FDS,
            getrlimit(Resource::Nofile).current.and_then(count),
        ),
        (
            families::PROCESS_START,
            start_time(&stat, &read("/proc/stat")),
        ),
        (families::PROCESS_THREADS, field(&status, "Threads:")),
        (
            families::RUNTIME_TASKS,
            count(runtime.map_or(0, |runtime| runtime.metrics().num_alive_tasks())),
        ),
    ];
    for (name, value) in samples {
        if let Some(value) = value {
            exposition.sample(name, "", value);
        }
    }
}

/// Log lines that were lost; the number stops at the largest u32.
fn dropped() -> Option<f64> {
    count(u32::try_from(logs::dropped()).unwrap_or(u32::MAX))
}

fn open_files() -> Option<f64> {
    let listed = fs::read_dir("/proc/self/fd").ok()?.count();
    // Without the descriptor that is open for counting.
    count(listed.saturating_sub(1))
}

/// Field `index` of `/proc/self/stat`, counted from 1 as in proc(5), from the third on: the second, the name of the
/// program, may contain anything.
fn stat_field(stat: &str, index: usize) -> Option<f64> {
    let (_, rest) = stat.rsplit_once(") ")?;
    rest.split(' ').nth(index.checked_sub(3)?)?.parse().ok()
}

fn cpu_seconds(stat: &str) -> Option<f64> {
    let user = stat_field(stat, 14)?;
    let system = stat_field(stat, 15)?;
    Some((user + system) / TICKS_PER_SECOND)
}

fn start_time(stat: &str, machine: &str) -> Option<f64> {
    let since_boot = stat_field(stat, 22)? / TICKS_PER_SECOND;
    Some(field(machine, "btime")? + since_boot)
}

/// The number that follows a word at the beginning of a line.
fn field(text: &str, word: &str) -> Option<f64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(word))?;
    rest.split_whitespace().next()?.parse().ok()
}

fn kibibytes(status: &str, word: &str) -> Option<f64> {
    Some(field(status, word)? * 1024.0)
}

fn count(number: impl TryInto<u32>) -> Option<f64> {
    number.try_into().ok().map(f64::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "8846 (a) b (c)) R 8829 8829 13643 0 -1 4194304 101 0 0 0 250 50 0 0 20 0 1 0 284478 3133440 382 1";

    #[test]
    fn the_fields_are_those_of_proc_also_after_a_program_name_with_brackets() {
        assert_eq!(cpu_seconds(STAT), Some(3.0));
        let machine = "cpu 1 2 3\nbtime 1700000000\nprocesses 5\n";
        assert_eq!(start_time(STAT, machine), Some(1_700_002_844.78));
        let status = "VmSize:\t    3060 kB\nThreads:\t7\n";
        assert_eq!(kibibytes(status, "VmSize:"), Some(3_133_440.0));
        assert_eq!(field(status, "Threads:"), Some(7.0));
    }

    #[test]
    fn what_cannot_be_read_is_left_out() {
        assert_eq!(cpu_seconds(""), None);
        assert_eq!(start_time(STAT, ""), None);
        assert_eq!(kibibytes("VmSize: many kB", "VmSize:"), None);
    }
}
