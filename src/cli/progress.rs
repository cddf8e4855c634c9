//! Progress on a terminal; silent everywhere else.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::control::protocol::Progress;

/// How often a spinner turns while nothing arrives.
const TICK: Duration = Duration::from_millis(120);

/// A line on stderr that shows how far a request has come, removed when dropped.
#[derive(Debug)]
pub struct ProgressLine {
    bar: ProgressBar,
    known: bool,
}

impl ProgressLine {
    /// Starts a line; hidden with `--json` or when stderr is no terminal.
    pub fn new(json: bool) -> Self {
        let visible = !json && std::io::stderr().is_terminal();
        let target =
            if visible { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(None, target);
        if visible {
            bar.enable_steady_tick(TICK);
        }
        Self { bar, known: false }
    }

    /// Shows a step. Other kinds of progress are not for a line.
    pub fn show(&mut self, progress: &Progress) {
        let Progress::Step { what, done, total, is_bytes } = progress else {
            return;
        };
        if !self.known || self.bar.length() != *total {
            self.known = true;
            self.bar.set_style(style(total.is_some(), *is_bytes));
            match total {
                Some(total) => self.bar.set_length(*total),
                None => self.bar.unset_length(),
            }
        }
        self.bar.set_message(super::text::printable(what));
        self.bar.set_position(*done);
    }

    /// Runs `print`, which writes to the terminal, with the line out of the way.
    pub fn suspend<T>(&self, print: impl FnOnce() -> T) -> T {
        self.bar.suspend(print)
    }
}

impl Drop for ProgressLine {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

fn style(total: bool, bytes: bool) -> ProgressStyle {
    let template = match (total, bytes) {
        (true, true) => "{msg} {wide_bar} {binary_bytes}/{binary_total_bytes} {eta}",
        (true, false) => "{msg} {wide_bar} {human_pos}/{human_len} {eta}",
        (false, true) => "{spinner} {msg} {binary_bytes}",
        (false, false) => "{spinner} {msg} {human_pos}",
    };
    // A template that does not parse is shown as the default one: progress is no reason to fail.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
