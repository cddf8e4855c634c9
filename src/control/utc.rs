//! Points in time as people and scripts read them: RFC 3339 in UTC, never local time.

use crate::model::time::Timestamp;

const DAY_SECONDS: i64 = 86_400;

macro_rules! moment {
    ($(#[$doc:meta])* $name:ident { $text:ident, $seconds:ident }) => {
        $(#[$doc])*
        /// Flattened into its owner, which has both fields.
        #[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        pub struct $name {
            /// RFC 3339 in UTC, to the second: `2026-11-20T22:14:00Z`.
            pub $text: String,
            /// Whole seconds since 1970-01-01 UTC.
            pub $seconds: i64,
        }

        impl $name {
            /// Of a number of seconds since 1970-01-01 UTC.
            pub fn at(seconds: i64) -> Self {
                Self::from(Timestamp { seconds, nanoseconds: 0 })
            }
        }

        impl From<Timestamp> for $name {
            fn from(time: Timestamp) -> Self {
                Self { $text: rfc3339(time), $seconds: time.seconds }
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.$text
            }
        }
    };
}

moment! {
    /// When something was made.
    Created { created, created_seconds }
}
moment! {
    /// When something was deleted.
    Deleted { deleted, deleted_seconds }
}
moment! {
    /// The earliest end of something: content is protected, a deletion can be undone until then.
    Until { until, until_seconds }
}
moment! {
    /// When something expires unless it changes before.
    Expires { expires, expires_seconds }
}
moment! {
    /// When something began.
    Began { began, began_seconds }
}

/// Formats a time as RFC 3339 in UTC, to the second.
pub fn rfc3339(time: Timestamp) -> String {
    let days = time.seconds.div_euclid(DAY_SECONDS);
    let second = time.seconds.rem_euclid(DAY_SECONDS);
    let (year, month, day) = civil(days);
    let (hour, minute) = (second / 3600, second / 60 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{:02}Z", second % 60)
}

/// Year, month and day of a number of days since 1970-01-01, in the proleptic Gregorian calendar
/// (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`).
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days.saturating_add(719_468);
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_dates() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (-1, "1969-12-31T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_000_000_000, "2001-09-09T01:46:40Z"),
            (4_102_444_799, "2099-12-31T23:59:59Z"),
        ] {
            let time = Timestamp::new(seconds, 0).unwrap();
            assert_eq!(rfc3339(time), text);
        }
        for seconds in [i64::MIN, i64::MAX] {
            rfc3339(Timestamp::new(seconds, 0).unwrap());
        }
    }
}
