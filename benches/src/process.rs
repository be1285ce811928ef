//! What processes cost, from `/proc` (proc(5)); absent elsewhere.

use std::fs;

/// Clock ticks a second in `/proc`: 100 on every Linux that we know.
const TICKS: f64 = 100.0;

/// Seconds of CPU time that a process has used, with or without those of its
/// children that have ended.
pub(crate) fn cpu_seconds(pid: u32, with_children: bool) -> Option<f64> {
    let fields = stat(pid)?;
    // Fields 14 to 17 of the manual; `stat` begins with the third.
    let last = if with_children { 14 } else { 12 };
    let ticks: f64 = fields.get(11..=last)?.iter().filter_map(|field| field.parse::<f64>().ok()).sum();
    Some(ticks / TICKS)
}

fn parent(pid: u32) -> Option<u32> {
    stat(pid)?.get(1)?.parse().ok()
}

fn stat(pid: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // A name may have spaces and parentheses.
    Some(text.rsplit_once(')')?.1.split_whitespace().map(str::to_owned).collect())
}

/// A figure of `/proc/PID/status` in MiB: `VmRSS` or `VmHWM`, its peak.
pub(crate) fn memory_mib(pid: u32, name: &str) -> Option<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with(name))?;
    let kib: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib / 1024.0)
}

/// Makes the peak of memory begin anew for this process, where that is allowed.
pub(crate) fn forget_peak() {
    let _not_allowed = fs::write("/proc/self/clear_refs", "5");
}

/// The postmaster over a backend, if it runs on this machine.
pub(crate) fn postmaster_of(backend: u32) -> Option<u32> {
    let name = fs::read_to_string(format!("/proc/{backend}/comm")).ok()?;
    (name.trim() == "postgres").then(|| parent(backend)).flatten()
}

/// Seconds of CPU time of a whole PostgreSQL: its backends and helpers, also
/// those that have ended.
pub(crate) fn postgres_cpu_seconds(postmaster: u32) -> Option<f64> {
    let mut sum = cpu_seconds(postmaster, true)?;
    for entry in fs::read_dir("/proc").ok()?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        if parent(pid) == Some(postmaster) {
            sum += cpu_seconds(pid, true).unwrap_or(0.0);
        }
    }
    Some(sum)
}

/// The processor, the number of cores and the memory of this machine.
pub(crate) fn machine() -> String {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let value = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let processor = value(&read("/proc/cpuinfo"), "model name").unwrap_or_else(|| "unknown processor".to_owned());
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory = value(&read("/proc/meminfo"), "MemTotal").unwrap_or_default();
    format!("{processor}, {cores} cores, {memory}")
}
