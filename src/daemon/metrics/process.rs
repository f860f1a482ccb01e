//! The process, by the names that all clients of Prometheus give its figures.

use crate::api::exposition::{Exposition, Family};
use crate::base::Timestamp;

/// Writes what `/proc` says of this process, as far as it may be read.
pub(super) fn write(started: Timestamp, out: &mut Exposition) {
    let read = |name: &str| std::fs::read_to_string(format!("/proc/self/{name}")).ok();
    let stat = read("stat").as_deref().and_then(Stat::parse);
    let files = std::fs::read_dir("/proc/self/fd").ok().map(|files| files.count() as f64);
    let ticks = rustix::param::clock_ticks_per_second() as f64;
    let page = rustix::param::page_size() as f64;
    let help = "User and system CPU time.";
    out.family(Family::counter("process_cpu_seconds", help));
    value(out, stat.map(|stat| stat.cpu_ticks as f64 / ticks));
    let mut gauge = |name, help, figure| {
        out.family(Family::gauge(name, help));
        value(out, figure);
    };
    let resident = stat.map(|stat| stat.resident_pages as f64 * page);
    gauge("process_resident_memory_bytes", "Resident memory.", resident);
    let virt = stat.map(|stat| stat.virtual_bytes as f64);
    gauge("process_virtual_memory_bytes", "Virtual memory.", virt);
    gauge("process_open_fds", "Open file descriptors.", files);
    let most = read("limits").as_deref().and_then(open_files_max);
    gauge("process_max_fds", "Most file descriptors that may be open.", most);
    gauge("process_threads", "Threads.", stat.map(|stat| stat.threads as f64));
    let help = "When the process started, since the Unix epoch.";
    gauge("process_start_time_seconds", help, Some(started.0 as f64 / 1000.0));
}

fn value(out: &mut Exposition, figure: Option<f64>) {
    if let Some(figure) = figure {
        out.value(&[], figure);
    }
}

/// What is wanted of `/proc/self/stat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stat {
    cpu_ticks: u64,
    threads: u64,
    virtual_bytes: u64,
    resident_pages: u64,
}

impl Stat {
    /// See proc_pid_stat(5). The name, in parentheses, may hold anything.
    fn parse(text: &str) -> Option<Stat> {
        let (_, after) = text.rsplit_once(')')?;
        let fields: Vec<&str> = after.split_whitespace().collect();
        // The third field is the first one after the name.
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(Stat {
            cpu_ticks: field(14)?.saturating_add(field(15)?),
            threads: field(20)?,
            virtual_bytes: field(23)?,
            resident_pages: field(24)?,
        })
    }
}

/// The soft limit of `/proc/self/limits`; `None` where there is none.
fn open_files_max(text: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_any_kind_does_not_confuse() {
        let stat = "42 (a) b (c) S 1 42 42 0 -1 4194560 9 0 0 0 70 30 0 0 20 0 5 0 100 4096 7 1 1";
        let found = Stat { cpu_ticks: 100, threads: 5, virtual_bytes: 4096, resident_pages: 7 };
        assert_eq!(Stat::parse(stat), Some(found));
        for bad in ["", ")", "1 (a) S 1", "1 (a) S 1 1 1 x"] {
            assert_eq!(Stat::parse(bad), None);
        }
    }

    #[test]
    fn limits() {
        let text = "Limit  Soft Limit  Hard Limit  Units\nMax open files  1024  524288  files\n";
        assert_eq!(open_files_max(text), Some(1024.0));
        assert_eq!(open_files_max("Max open files  unlimited unlimited files"), None);
    }
}
