//! Points in time as people and scripts read them: RFC 3339 in UTC, never local time.

use crate::model::time::Timestamp;
pub use crate::model::time::rfc3339;

macro_rules! moment {
    ($(#[$doc:meta])* $name:ident { $text:ident, $seconds:ident }) => {
        $(#[$doc])*
        /// Each is flattened into the value that has it, so that both fields stand there.
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
    /// When something ended.
    Ended { ended, ended_seconds }
}
moment! {
    /// When the next periodic collection run is due.
    NextRun { next_run, next_run_seconds }
}
moment! {
    /// When an edge last heard from its bucket.
    Contact { last_contact, last_contact_seconds }
}
moment! {
    /// When something began.
    Began { began, began_seconds }
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
        for (seconds, text) in
            [(i64::MIN, "-009999-01-02T01:59:59Z"), (i64::MAX, "9999-12-30T22:00:00Z")]
        {
            assert_eq!(rfc3339(Timestamp::new(seconds, 0).unwrap()), text);
        }
    }
}
