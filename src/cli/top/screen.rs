//! The terminal: a screen of its own that is drawn anew, keys without Enter, and all of it put back.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

use crate::cli::output::Output;

/// Enters the terminal's other screen, and hides the cursor.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
/// Takes both back.
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";
/// Goes to the upper left corner.
const HOME: &str = "\x1b[H";
/// Clears to the end of the line, and to the end of the screen.
const CLEAR_LINE: &str = "\x1b[K";
const CLEAR_REST: &str = "\x1b[J";

/// How a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    /// The time is over.
    Over,
    /// Somebody pressed q or Ctrl-C, or the process is to end.
    End,
}

/// Where tables are shown.
pub(super) struct Screen {
    /// Set by a signal.
    end: Arc<AtomicBool>,
    /// How the terminal was, if this is one.
    before: Option<Termios>,
}

impl Screen {
    /// Takes the terminal, if `wanted` and there is one on both sides.
    pub(super) fn open(wanted: bool) -> io::Result<Self> {
        let end = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            // The second one ends the process at once.
            flag::register_conditional_default(signal, Arc::clone(&end))?;
            flag::register(signal, Arc::clone(&end))?;
        }
        let mut screen = Self { end, before: None };
        if wanted && io::stdin().is_terminal() && io::stdout().is_terminal() {
            let before = tcgetattr(io::stdin())?;
            let mut keys = before.clone();
            // Keys come at once and are not shown. Ctrl-C still is a signal; Ctrl-Z is none, since the
            // shell would find the terminal like this.
            keys.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
            keys.special_codes[SpecialCodeIndex::VSUSP] = 0;
            keys.special_codes[SpecialCodeIndex::VMIN] = 1;
            keys.special_codes[SpecialCodeIndex::VTIME] = 0;
            tcsetattr(io::stdin(), OptionalActions::Now, &keys)?;
            screen.before = Some(before);
            write(ENTER)?;
        }
        Ok(screen)
    }

    /// Shows a table in place of the one before; where there is no terminal, after it.
    pub(super) fn show(&mut self, output: &mut Output, lines: &[String]) -> io::Result<()> {
        if self.before.is_none() {
            for line in lines {
                output.line(line)?;
            }
            return output.line("");
        }
        let mut text = HOME.to_owned();
        for line in lines {
            text.push_str(line);
            text.push_str(CLEAR_LINE);
            text.push_str("\r\n");
        }
        text.push_str(CLEAR_REST);
        output.writer().write_all(text.as_bytes())
    }

    /// Waits for the time to pass, for q, or for a signal.
    pub(super) fn wait(&mut self, time: Duration) -> io::Result<Wait> {
        let deadline = Instant::now() + time;
        loop {
            if self.end.load(Ordering::SeqCst) {
                return Ok(Wait::End);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(Wait::Over);
            }
            if self.is_quit(left)? {
                return Ok(Wait::End);
            }
        }
    }

    /// Whether q was pressed in time. Other keys, and a signal, end the wait as well.
    fn is_quit(&self, time: Duration) -> io::Result<bool> {
        let time = Timespec {
            tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(time.subsec_nanos()),
        };
        let stdin = io::stdin();
        let mut watched = [PollFd::new(&stdin, PollFlags::IN)];
        let watched = if self.before.is_some() { &mut watched[..] } else { &mut [] };
        match poll(watched, Some(&time)) {
            Ok(0) | Err(Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
            Ok(_) => {
                let mut keys = [0; 64];
                match rustix::io::read(&stdin, &mut keys) {
                    // The terminal has gone.
                    Ok(0) => Ok(true),
                    Ok(count) => Ok(keys[..count].contains(&b'q')),
                    Err(Errno::INTR) => Ok(false),
                    Err(error) => Err(error.into()),
                }
            }
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let Some(before) = self.before.take() else { return };
        let left = write(LEAVE);
        let set = tcsetattr(io::stdin(), OptionalActions::Now, &before);
        if let Err(error) = left.and(set.map_err(io::Error::from)) {
            // A terminal that has gone need not be put back.
            log::debug!("the terminal stays as it is: {error}");
        }
    }
}

fn write(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}
