//! The signals of threads: what the kernel tells of those of others, and blocking one's own.

use std::io;
use std::mem::MaybeUninit;

/// Blocks all signals that can be blocked for the calling thread, and for programs and threads that it starts.
///
/// # Errors
/// The system call's.
pub(crate) fn block_signals() -> io::Result<()> {
    let mut all = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: the pointer is valid for writes.
    unsafe { libc::sigfillset(all.as_mut_ptr()) };
    // SAFETY: the set was filled in; the old one is not asked for.
    match unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), std::ptr::null_mut()) } {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

/// Whether a thread has got a signal that ends it, and is still waiting for the kernel to let it go.
/// `false` where nobody knows.
pub(crate) fn is_being_killed(thread: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{thread}/status"))
        .is_ok_and(|status| has_fatal_signal(&status))
}

/// Whether `/proc/PID/status` tells of a signal that ends the thread: one that is neither blocked nor
/// ignored nor handled, and not one of those that end nothing.
fn has_fatal_signal(status: &str) -> bool {
    /// CHLD, CONT, STOP, TSTP, TTIN, TTOU, URG, WINCH.
    const HARMLESS: [u32; 8] = [17, 18, 19, 20, 21, 22, 23, 28];
    let set = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|line| u64::from_str_radix(line.trim(), 16).ok()).unwrap_or(0)
    };
    let spared = HARMLESS.iter().fold(0_u64, |set, signal| set | 1 << (signal - 1));
    let pending = set("SigPnd") | set("ShdPnd");
    pending & !(set("SigBlk") | set("SigIgn") | set("SigCgt") | spared) != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_signal_that_ends_the_thread_counts() {
        let status = |pending: u64, group: u64, blocked: u64, ignored: u64, caught: u64| {
            format!(
                "Name:\tmv\nSigPnd:\t{pending:016x}\nShdPnd:\t{group:016x}\nSigBlk:\t{blocked:016x}\n\
                 SigIgn:\t{ignored:016x}\nSigCgt:\t{caught:016x}\n"
            )
        };
        let (kill, term, child, urgent) = (1 << 8, 1 << 14, 1 << 16, 1 << 22);
        assert!(has_fatal_signal(&status(kill, 0, 0, 0, 0)));
        assert!(has_fatal_signal(&status(0, term, 0, 0, 0)));
        assert!(has_fatal_signal(&status(0, term | child, child, 0, 0)));
        assert!(!has_fatal_signal(&status(0, 0, kill, kill, kill)));
        assert!(!has_fatal_signal(&status(0, child | urgent, 0, 0, 0)));
        for (blocked, ignored, caught) in [(term, 0, 0), (0, term, 0), (0, 0, term)] {
            assert!(!has_fatal_signal(&status(0, term, blocked, ignored, caught)));
        }
        assert!(!has_fatal_signal("nothing that is known"));
        assert!(!is_being_killed(std::process::id()));
    }
}
