//! File descriptors: how many there are, and how many clients may use, so that servers and the HTTP surface
//! find some when they need them. Knows nothing of what a connection says.

/// What pgweir itself opens: listeners, timers, logs, some connections to the HTTP surface.
const OWN: usize = 16;

/// Raises the soft limit of open files to the hard one, as far as the system lets us: the usual soft limit
/// of 1,024 is for programs that use `select`. Returns the limit that holds now.
pub fn raise() -> usize {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is to a value of our own that lives through the call.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) } != 0 {
        return usize::MAX;
    }
    let higher = libc::rlimit { rlim_cur: limit.rlim_max, rlim_max: limit.rlim_max };
    // SAFETY: as above; the limit is only read.
    let raised = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &higher) } == 0;
    let now = if raised { higher.rlim_cur } else { limit.rlim_cur };
    usize::try_from(now).unwrap_or(usize::MAX)
}

/// The descriptor from which on clients are refused. The system gives out the lowest free number, so the
/// number of a new connection says how many are in use. `servers`: connections that the pools may open.
pub fn bound(limit: usize, servers: usize) -> usize {
    // A limit that is far too low is shared: clients get most of it, for without them there is no work.
    limit - servers.saturating_add(OWN).min(limit / 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_keep_their_part() {
        assert_eq!(bound(1024, 100), 1024 - 116);
        assert_eq!(bound(100, 10_000), 75);
        assert_eq!(bound(usize::MAX, usize::MAX), usize::MAX - usize::MAX / 4);
    }

    #[test]
    fn the_limit_is_known() {
        assert!(raise() >= 64);
        assert_eq!(raise(), raise());
    }
}
