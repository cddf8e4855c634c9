//! Progress on a terminal; silent everywhere else.

use std::fmt::Write;
use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use super::text::size;
use crate::control::protocol::Progress;

/// How often a spinner turns while nothing arrives.
const TICK: Duration = Duration::from_millis(120);

/// A line on stderr that shows how far a request has come, removed when dropped.
#[derive(Debug)]
pub(crate) struct ProgressLine {
    bar: ProgressBar,
    style: Option<Style>,
}

/// What a line shows beside its message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Style {
    /// How much there is in all is known.
    total: bool,
    /// Amounts are bytes.
    bytes: bool,
    /// Something is counted at all.
    counted: bool,
}

impl ProgressLine {
    /// Starts a line; hidden with `--json` or when stderr is no terminal.
    pub(crate) fn new(json: bool) -> Self {
        let visible = !json && std::io::stderr().is_terminal();
        let target =
            if visible { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(None, target);
        if visible {
            bar.enable_steady_tick(TICK);
        }
        Self { bar, style: None }
    }

    /// Whether anybody sees the line.
    pub(crate) fn is_visible(&self) -> bool {
        !self.bar.is_hidden()
    }

    /// Shows a step. Other kinds of progress carry results, which the line does not show.
    pub(crate) fn show(&mut self, progress: &Progress) {
        let Progress::Step { what, done, total, is_bytes } = progress else {
            return;
        };
        let style = Style {
            total: total.is_some(),
            bytes: *is_bytes,
            counted: *done > 0 || total.is_some(),
        };
        if self.style != Some(style) {
            self.style = Some(style);
            self.bar.set_style(style.of_bar());
        }
        if self.bar.length() != *total {
            match total {
                Some(total) => self.bar.set_length(*total),
                None => self.bar.unset_length(),
            }
        }
        self.bar.set_message(super::text::printable(what));
        self.bar.set_position(*done);
    }

    /// Runs `print`, which writes to the terminal, with the line out of the way.
    pub(crate) fn suspend<T>(&self, print: impl FnOnce() -> T) -> T {
        self.bar.suspend(print)
    }
}

impl Drop for ProgressLine {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

impl Style {
    /// Returns the text of the line in indicatif's template language: what is done so far, the total,
    /// the rate, and the time that is left.
    fn template(self) -> &'static str {
        match self {
            Self { total: true, .. } => "{msg} {wide_bar} {done} of {all}, {rate}/s, {eta} left",
            Self { counted: true, .. } => "{spinner} {msg} {done}, {rate}/s",
            Self { counted: false, .. } => "{spinner} {msg}",
        }
    }

    fn of_bar(self) -> ProgressStyle {
        // A template that does not parse is shown as the default one: progress is no reason to fail.
        ProgressStyle::with_template(self.template())
            .unwrap_or_else(|_| ProgressStyle::default_bar())
            .with_key("done", move |state: &ProgressState, text: &mut dyn Write| {
                show(text, &self.amount(state.pos()));
            })
            .with_key("all", move |state: &ProgressState, text: &mut dyn Write| {
                show(text, &self.amount(state.len().unwrap_or_default()));
            })
            .with_key("rate", move |state: &ProgressState, text: &mut dyn Write| {
                show(text, &self.amount(whole(state.per_sec())));
            })
    }

    /// An amount in the units that all other output has.
    fn amount(self, amount: u64) -> String {
        if self.bytes { size(amount) } else { amount.to_string() }
    }
}

fn show(text: &mut dyn Write, amount: &str) {
    // Writing into memory does not fail.
    text.write_str(amount).unwrap_or_default();
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rate is not negative, and the fraction is not shown"
)]
fn whole(rate: f64) -> u64 {
    rate as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_parse_and_show_rate_and_total() {
        let all = [false, true];
        for (total, bytes, counted) in
            all.into_iter().flat_map(|t| all.into_iter().flat_map(move |b| all.map(|c| (t, b, c))))
        {
            let style = Style { total, bytes, counted };
            assert!(ProgressStyle::with_template(style.template()).is_ok(), "{style:?}");
            assert_eq!(style.template().contains("{all}"), total, "{style:?}");
            assert_eq!(style.template().contains("{rate}"), total || counted, "{style:?}");
        }
        let bytes = Style { total: true, bytes: true, counted: true };
        assert_eq!(bytes.amount(3 << 19), "1.5 MiB");
        assert_eq!(Style { bytes: false, ..bytes }.amount(1536), "1536");
    }
}
