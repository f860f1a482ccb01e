//! What is measured: CPU time, memory, the disk, and the machine itself.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// Durations, for their percentiles.
#[derive(Clone, Debug, Default)]
pub(crate) struct Latency(Vec<u32>);

impl Latency {
    pub(crate) fn add(&mut self, took: Duration) {
        self.0.push(u32::try_from(took.as_nanos()).unwrap_or(u32::MAX));
    }

    /// In microseconds; 0 if nothing was measured.
    pub(crate) fn percentile(&self, percent: f64) -> f64 {
        let mut all = self.0.clone();
        all.sort_unstable();
        let at = (all.len() as f64 * percent / 100.0) as usize;
        all.get(at.min(all.len().saturating_sub(1))).map_or(0.0, |ns| f64::from(*ns) / 1e3)
    }
}

/// Seconds of CPU that all threads of a process have used, by the scheduler's own count.
pub(crate) fn cpu(pid: u32) -> f64 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    tasks.map(|task| schedstat(&task.path().join("schedstat"))).sum()
}

/// Seconds of CPU that this thread has used.
pub(crate) fn own_cpu() -> f64 {
    schedstat(Path::new("/proc/thread-self/schedstat"))
}

fn schedstat(path: &Path) -> f64 {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.split(' ').next().and_then(|ns| ns.parse::<f64>().ok()).unwrap_or(0.0) / 1e9
}

/// Seconds that all processors together were busy since boot.
pub(crate) fn busy() -> f64 {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = text.lines().next().unwrap_or_default();
    let fields: Vec<f64> = line.split_whitespace().skip(1).flat_map(str::parse).collect();
    // User, nice, system, idle, iowait, irq, softirq, steal; what guests use is in user.
    let of = |i: usize| fields.get(i).copied().unwrap_or(0.0);
    (of(0) + of(1) + of(2) + of(5) + of(6) + of(7)) / 100.0
}

/// Resident memory of a process in bytes.
pub(crate) fn resident(pid: u32) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    let kib = line.split_whitespace().next().and_then(|kib| kib.parse::<f64>().ok());
    kib.unwrap_or(0.0) * 1024.0
}

/// Open descriptors of a process.
pub(crate) fn descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().count()
}

/// Bytes that everything below `dir` takes on disk.
pub(crate) fn on_disk(dir: &Path) -> f64 {
    let mut sum = 0.0;
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        match entry.metadata() {
            Ok(meta) if meta.is_dir() => sum += on_disk(&entry.path()),
            Ok(meta) => sum += meta.blocks() as f64 * 512.0,
            Err(_) => {}
        }
    }
    sum
}

/// How long the disk takes to append one block of a file and sync its data, `count` times.
pub(crate) fn syncs(dir: &Path, count: usize) -> Latency {
    let path = dir.join("sync-test");
    let mut file = File::create(&path).expect("a file on the disk");
    file.set_len((count * 4096) as u64).expect("room on the disk");
    file.sync_all().expect("sync");
    let mut latency = Latency::default();
    for i in 0..count {
        let begun = Instant::now();
        file.write_all(&[i as u8; 4096]).expect("write");
        file.sync_data().expect("fdatasync");
        latency.add(begun.elapsed());
    }
    drop(file);
    fs::remove_file(path).expect("remove");
    latency
}

/// The machine, in the words of its own files and programs.
pub(crate) fn machine(dir: &Path) -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("");
    let cores = cpuinfo.lines().filter(|line| line.starts_with("processor")).count();
    let memory = read("/proc/meminfo");
    let kib = memory.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok());
    let kernel = read("/proc/sys/kernel/osrelease");
    format!(
        "{cores} × {}, {} GiB of memory, Linux {}, store on {}",
        model.trim_start_matches([':', ' ', '\t']),
        kib.unwrap_or(0) >> 20,
        kernel.trim(),
        file_system(dir)
    )
}

/// The type of the file system that `dir` is on.
pub(crate) fn file_system(dir: &Path) -> String {
    let out = Command::new("stat").args(["-f", "-c", "%T"]).arg(dir).output().expect("stat");
    String::from_utf8_lossy(&out.stdout).trim().to_owned()
}
