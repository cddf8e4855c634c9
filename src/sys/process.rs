//! This process and its threads: priority, free memory, the table of descriptors.

use std::io;
use std::os::fd::RawFd;
use std::path::Path;

/// Sets the nice value and the I/O priority (`linux/ioprio.h`) of the calling thread.
///
/// # Errors
/// The system calls'.
pub(super) fn set_priority(nice: i32, io_priority: i32) -> io::Result<()> {
    /// `IOPRIO_WHO_PROCESS`: with 0, the calling thread.
    const WHO_PROCESS: libc::c_int = 1;
    // On Linux a thread has a priority of its own.
    rustix::process::setpriority_process(None, nice)?;
    // SAFETY: the call takes three integers and no pointer.
    let set = unsafe { libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, 0, io_priority) };
    if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Bounds what the allocator keeps of the memory that is freed: `arenas` times `kept` bytes, and what is
/// between pieces in use. Call it before other threads start. By default glibc has eight arenas per processor,
/// and each keeps twice as much as the largest allocation that was ever given back, up to 64 MiB.
#[cfg_attr(
    not(target_env = "gnu"),
    expect(unused_variables, reason = "others have no such settings")
)]
pub fn bound_free_memory(arenas: i32, kept: i32) {
    #[cfg(target_env = "gnu")]
    for (parameter, value) in [
        (libc::M_ARENA_MAX, arenas),
        (libc::M_TRIM_THRESHOLD, kept),
        (libc::M_MMAP_THRESHOLD, kept),
    ] {
        // SAFETY: the call takes two numbers.
        if unsafe { libc::mallopt(parameter, value) } == 0 {
            log::warn!("the allocator refused the value {value} of its parameter {parameter}");
        }
    }
}

/// Has the allocator return free memory to the system, where it can do that.
pub fn return_free_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: the call takes a number of bytes to keep and touches only what is free.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Gives the calling thread a table of descriptors of its own, without those that are `unwanted`, of
/// which it is told the number and what the kernel calls the file. The process keeps them open for its
/// other threads. The calling thread must not use any of those, nor own one.
///
/// # Errors
/// The system call's; what is unwanted may be open then.
pub fn leave_descriptors(unwanted: impl Fn(RawFd, &Path) -> bool) -> io::Result<()> {
    // SAFETY: all numbers stay open in this thread's copy, and untouched in the table of the others.
    if unsafe { libc::unshare(libc::CLONE_FILES) } != 0 {
        return Err(io::Error::last_os_error());
    }
    for entry in std::fs::read_dir("/proc/thread-self/fd")? {
        let entry = entry?;
        let Some(number) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // The descriptor of this listing is in it, too.
        if std::fs::read_link(entry.path()).is_ok_and(|target| unwanted(number, &target)) {
            // SAFETY: nothing of this thread owns or uses the number, as the caller has to see to.
            unsafe { libc::close(number) };
        }
    }
    Ok(())
}

/// Gives the calling thread a table of descriptors of its own with nothing in it. The process keeps all for
/// its other threads. The calling thread must not use any descriptor from before, nor own one; standard
/// error is closed, too.
///
/// # Errors
/// The system call's.
pub fn leave_all_descriptors() -> io::Result<()> {
    // SAFETY: with CLOSE_RANGE_UNSHARE the kernel closes the descriptors in a copy of the table that only this thread
    // uses, so descriptors of other threads stay valid. The caller promises that this thread uses none from before.
    let left = unsafe {
        libc::syscall(libc::SYS_close_range, 0, libc::c_uint::MAX, libc::CLOSE_RANGE_UNSHARE)
    };
    match left {
        0 => Ok(()),
        // Before Linux 5.9.
        _ => leave_descriptors(|_, _| true),
    }
}

#[cfg(test)]
mod tests {
    #[cfg(target_env = "gnu")]
    #[test]
    fn pages_between_pieces_in_use_are_returned() {
        // Bytes of this process that are in memory and in no file.
        let anonymous = || {
            let status = std::fs::read_to_string("/proc/self/status").unwrap();
            let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
            line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
        };
        // So small that the allocator keeps them, and one of each hundred stays.
        let pieces: Vec<_> = (0..64_000).map(|_| vec![1u8; 1000]).collect();
        let kept: Vec<_> =
            pieces.into_iter().enumerate().filter(|(number, _)| number % 100 == 0).collect();
        let before = anonymous();
        super::return_free_memory();
        let returned = before.saturating_sub(anonymous());
        assert!(returned > 40 << 20, "{returned} bytes");
        drop(kept);
    }
}
