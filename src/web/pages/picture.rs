//! Pictures of growth, drawn as SVG. Colours come from the stylesheet, by class.

use maud::{Markup, html};

use super::size;
use crate::model::id::VersionNumber;

/// One version.
pub(super) struct Bar {
    /// Its number.
    pub(super) number: VersionNumber,
    /// What it holds.
    pub(super) bytes: u64,
    /// How much of that is new in it.
    pub(super) added: u64,
}

/// Height of the large picture, in its own units.
const HEIGHT: u64 = 140;
/// Width of the large picture.
const WIDTH: u64 = 720;
/// The widest bar.
const BAR_WIDTH_MAX: u64 = 40;

/// The part of `height` that `bytes` of `most` are; something is never nothing.
fn scaled(bytes: u64, most: u64, height: u64) -> u64 {
    let part = u128::from(bytes) * u128::from(height) / u128::from(most.max(1));
    u64::try_from(part).unwrap_or(height).max(u64::from(bytes > 0))
}

/// Growth at a glance.
pub(super) fn sparkline(bars: &[Bar]) -> Markup {
    let most = bars.iter().map(|bar| bar.bytes).max().unwrap_or(0);
    let placed = (0_u64..).step_by(5).zip(bars);
    html! {
        @if !bars.is_empty() {
            svg.spark viewBox="0 0 120 24" width="120" height="24" role="img" aria-label="sizes of the newest versions" {
                @for (x, bar) in placed {
                    @let height = scaled(bar.bytes, most, 22);
                    rect.held x=(x) y=(24 - height) width="4" height=(height) rx="1" {}
                }
            }
        }
    }
}

/// Sizes of versions, and what is new in each.
pub(super) fn growth(bars: &[Bar]) -> Markup {
    let most = bars.iter().map(|bar| bar.bytes).max().unwrap_or(0);
    let count = u64::try_from(bars.len()).unwrap_or(1).max(1);
    let step = (WIDTH / count).clamp(2, BAR_WIDTH_MAX + 8);
    let width = step - (step / 5).max(1);
    let placed = (0_u64..).step_by(usize::try_from(step).unwrap_or(1)).zip(bars);
    let used = step * count;
    let ends = bars.first().zip(bars.last());
    html! {
        figure.growth {
            svg viewBox=(format!("0 0 {used} {}", HEIGHT + 4)) width=(used) height=(HEIGHT + 4) role="img" aria-label="sizes of versions" {
                @for (x, bar) in placed {
                    @let height = scaled(bar.bytes, most, HEIGHT);
                    @let added = scaled(bar.added, most, HEIGHT).min(height);
                    g {
                        title { "version " (bar.number) ": " (size(bar.bytes)) ", " (size(bar.added)) " new" }
                        rect.held x=(x) y=(HEIGHT + 2 - height) width=(width) height=(height) rx="2" {}
                        rect.new x=(x) y=(HEIGHT + 2 - added) width=(width) height=(added) rx="2" {}
                    }
                }
            }
            figcaption {
                span.key.held { "held" } span.key.new { "new" }
                @if let Some((first, last)) = ends {
                    span.muted { "versions " (first.number) " to " (last.number) ", at most " (size(most)) }
                }
            }
        }
    }
}
