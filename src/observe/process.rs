//! What the operating system says of this process, read from `/proc` at each scrape.
//! Knows nothing of metrics; a value that the system does not give is `None`.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

/// One reading. Seconds are fractions, memory is bytes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Process {
    /// User and system time of all threads.
    pub cpu_seconds: Option<f64>,
    pub resident_bytes: Option<u64>,
    pub threads: Option<u64>,
    pub open_fds: Option<u64>,
    /// The soft limit of `RLIMIT_NOFILE`.
    pub max_fds: Option<u64>,
    /// Unix time. Taken from the boot time, so it does not change between readings.
    pub start_time_seconds: Option<f64>,
    pub uptime_seconds: Option<f64>,
}

/// Gives memory that nobody uses back to the system. The allocator keeps the holes that a crowd of logins or
/// queries left, which comes to more than the clients themselves. Takes milliseconds; not for a busy moment.
pub fn give_back_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim takes the allocator's own locks and touches only what is free.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// The name of this host.
pub fn host_name() -> Option<String> {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    Some(name.trim().to_owned()).filter(|name| !name.is_empty())
}

/// Unix time in seconds.
pub fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Reads `/proc/self`. Costs a few system calls; meant for a scrape, not for the data path.
pub fn read() -> Process {
    let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map(|since| since.as_secs_f64()).ok();
    let status = text("/proc/self/status");
    let ticks = Ticks::parse(&text("/proc/self/stat"));
    let per_second = ticks_per_second();
    let boot = number_after(&text("/proc/stat"), "btime ");
    let start = match (&ticks, boot) {
        (Some(ticks), Some(boot)) => Some(boot as f64 + ticks.start as f64 / per_second),
        _ => None,
    };
    Process {
        cpu_seconds: ticks.map(|ticks| ticks.busy as f64 / per_second),
        resident_bytes: number_after(&status, "VmRSS:").map(|kib| kib * 1024),
        threads: number_after(&status, "Threads:"),
        open_fds: open_fds(),
        max_fds: number_after(&text("/proc/self/limits"), "Max open files"),
        start_time_seconds: start,
        uptime_seconds: now.zip(start).map(|(now, start)| (now - start).max(0.0)),
    }
}

/// Clock ticks from `/proc/self/stat`: fields 14, 15 and 22 of proc(5).
struct Ticks {
    busy: u64,
    start: u64,
}

impl Ticks {
    fn parse(stat: &str) -> Option<Ticks> {
        // The second field is the program's name in parentheses and may hold spaces and parentheses itself.
        let (_, after_name) = stat.rsplit_once(')')?;
        let field = |number: usize| after_name.split_ascii_whitespace().nth(number - 3)?.parse::<u64>().ok();
        Some(Ticks { busy: field(14)? + field(15)?, start: field(22)? })
    }
}

fn ticks_per_second() -> f64 {
    // SAFETY: sysconf reads a constant of the system and touches no memory of ours.
    let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    if ticks > 0 { ticks as f64 } else { 100.0 }
}

/// The first number on the line that begins with `key`.
fn number_after(text: &str, key: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(key))?;
    rest.split_ascii_whitespace().next()?.parse().ok()
}

fn open_fds() -> Option<u64> {
    // Since Linux 6.2 the size of the directory is the number of open files; older kernels say 0.
    let size = fs::metadata("/proc/self/fd").ok()?.len();
    if size > 0 {
        return Some(size);
    }
    // Listing the folder opens one more file, which is not ours to count.
    let listed = fs::read_dir("/proc/self/fd").ok()?.count() as u64;
    Some(listed.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_name_with_parentheses_does_not_shift_the_fields() {
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 4194560 9 0 0 0 25 50 0 0 20 0 3 0 777 10 20 30";
        let ticks = Ticks::parse(stat).expect("the line is complete");
        assert_eq!((ticks.busy, ticks.start), (75, 777));
        assert!(Ticks::parse("7 (short) S 1").is_none());
    }

    #[test]
    fn this_process_has_memory_files_and_an_age() {
        let before = read();
        let files: Vec<_> =
            (0..20).map(|_| fs::File::open("/dev/null").expect("/dev/null can be opened")).collect();
        let after = read();
        assert!(before.resident_bytes.unwrap() > 500_000);
        assert!(before.threads.unwrap() >= 1);
        assert!(before.max_fds.unwrap() >= before.open_fds.unwrap());
        // Other tests open and close files at the same time, hence the margin.
        assert!(after.open_fds.unwrap() + 10 > before.open_fds.unwrap() + files.len() as u64);
        assert!(before.cpu_seconds.unwrap() < 3600.0);
        assert_eq!(before.start_time_seconds, after.start_time_seconds);
        assert!(before.uptime_seconds.unwrap() < 24.0 * 3600.0);
    }
}
