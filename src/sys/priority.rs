//! How much of the processor and the disk a thread takes while others want them.

use std::io;

use super::process::set_priority;

/// A choice of how far to stand back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Priority {
    /// Only what nobody else wants. While others are busy it may stand still, for however long.
    Idle,
    /// A small share, which brings it to its end on a busy machine, too.
    Low,
    /// As everybody.
    Normal,
}

/// I/O classes of `linux/ioprio.h` at their place in the value.
const CLASS_BEST_EFFORT: i32 = 2 << 13;
const CLASS_IDLE: i32 = 3 << 13;

/// The last of the best-effort class.
const LEVEL_LAST: i32 = 7;

impl Priority {
    /// Gives the calling thread this priority; the disk's scheduler may not heed its part. Only root
    /// can raise it again.
    ///
    /// # Errors
    /// The system calls'.
    pub fn apply(self) -> io::Result<()> {
        match self {
            Self::Idle => set_priority(19, CLASS_IDLE),
            Self::Low => set_priority(10, CLASS_BEST_EFFORT | LEVEL_LAST),
            Self::Normal => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What util-linux says of the calling thread's I/O priority, and its nice value.
    fn priority() -> (String, i32) {
        let thread = rustix::thread::gettid().as_raw_nonzero().to_string();
        let output = std::process::Command::new("ionice").args(["-p", &thread]).output().unwrap();
        let nice = rustix::process::getpriority_process(None).unwrap();
        (String::from_utf8(output.stdout).unwrap().trim().to_owned(), nice)
    }

    #[test]
    fn low_is_not_idle() {
        let seen = |priority: Priority| {
            let body = move || {
                priority.apply().unwrap();
                self::priority()
            };
            std::thread::spawn(body).join().unwrap()
        };
        assert_eq!(seen(Priority::Low), ("best-effort: prio 7".to_owned(), 10));
        assert_eq!(seen(Priority::Idle), ("idle".to_owned(), 19));
        assert_eq!(seen(Priority::Normal), priority());
    }
}
