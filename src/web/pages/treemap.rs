//! Rectangles whose areas are as sizes are (squarified treemaps: Bruls, Huizing, van Wijk, 2000).

/// A rectangle, in whole units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rectangle {
    pub(super) x: u64,
    pub(super) y: u64,
    pub(super) width: u64,
    pub(super) height: u64,
}

/// Divides a rectangle by weights, which are sorted, the largest first, and not zero.
pub(super) fn divide(weights: &[u64], mut rest: Rectangle) -> Vec<Rectangle> {
    let mut placed = Vec::with_capacity(weights.len());
    let mut left = weights;
    while !left.is_empty() {
        let total: u128 = left.iter().map(|weight| u128::from(*weight)).sum();
        let row = row_length(left, total, rest);
        let (row, after) = left.split_at(row);
        let sum: u128 = row.iter().map(|weight| u128::from(*weight)).sum();
        let along_height = rest.width >= rest.height;
        let (long, short) =
            if along_height { (rest.width, rest.height) } else { (rest.height, rest.width) };
        let thickness = if after.is_empty() { long } else { part(long, sum, total) };
        let (mut used, mut passed) = (0, 0_u128);
        for weight in row {
            passed += u128::from(*weight);
            // From the sums, so that no gap grows by rounding.
            let end = part(short, passed, sum);
            let length = end - used;
            placed.push(if along_height {
                Rectangle { x: rest.x, y: rest.y + used, width: thickness, height: length }
            } else {
                Rectangle { x: rest.x + used, y: rest.y, width: length, height: thickness }
            });
            used = end;
        }
        if along_height {
            (rest.x, rest.width) = (rest.x + thickness, rest.width - thickness);
        } else {
            (rest.y, rest.height) = (rest.y + thickness, rest.height - thickness);
        }
        left = after;
    }
    placed
}

fn part(of: u64, number: u128, all: u128) -> u64 {
    u64::try_from(u128::from(of) * number / all.max(1)).unwrap_or(of).min(of)
}

/// How many of the weights make the first row: as long as its worst rectangle becomes more like a square.
fn row_length(weights: &[u64], total: u128, rest: Rectangle) -> usize {
    let (long, short) = (rest.width.max(rest.height), rest.width.min(rest.height));
    let worst = |count: usize, sum: u128| {
        // The ratio of sides is weight·short·total/(long·sum²) or its inverse; scaled to stay whole.
        let ratio = |weight: u64| {
            let above = u128::from(weight).saturating_mul(u128::from(short)).saturating_mul(total);
            let below = u128::from(long).saturating_mul(sum).saturating_mul(sum) / u128::from(1_u8);
            let (large, small) = if above > below { (above, below) } else { (below, above) };
            large.saturating_mul(1000) / small.max(1)
        };
        ratio(weights[0]).max(ratio(weights[count - 1]))
    };
    let (mut sum, mut best) = (u128::from(weights[0]), u128::MAX);
    let mut count = 1;
    loop {
        let now = worst(count, sum);
        if now > best {
            return count - 1;
        }
        best = now;
        if count == weights.len() {
            return count;
        }
        sum += u128::from(weights[count]);
        count += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Rectangle = Rectangle { x: 0, y: 0, width: 720, height: 400 };

    #[test]
    fn rectangles_fill_the_whole_and_are_as_large_as_their_weights() {
        for weights in
            [&[1][..], &[6, 6, 4, 3, 2, 2, 1], &[1 << 50, 1], &[5; 40], &[u64::MAX / 2, 7, 7]]
        {
            let placed = divide(weights, ALL);
            assert_eq!(placed.len(), weights.len());
            let total: u128 = weights.iter().map(|weight| u128::from(*weight)).sum();
            let area = |r: &Rectangle| u128::from(r.width) * u128::from(r.height);
            assert_eq!(placed.iter().map(area).sum::<u128>(), area(&ALL), "{weights:?}");
            for (weight, rectangle) in weights.iter().zip(&placed) {
                let wanted = area(&ALL) * u128::from(*weight) / total;
                assert!(area(rectangle).abs_diff(wanted) <= 2 * 720, "{weights:?}: {rectangle:?}");
            }
        }
        assert!(divide(&[], ALL).is_empty());
    }
}
