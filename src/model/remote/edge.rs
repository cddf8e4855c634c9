//! What a store that is an edge follows in its bucket.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::name::RepoName;

/// How often an edge asks for news, in milliseconds, unless its settings say otherwise.
const POLL_MS_DEFAULT: u64 = 60_000;

/// The least time between two questions, in milliseconds.
const POLL_MS_MIN: u64 = 1000;

/// What an edge follows. A store that has a remote with such settings takes changes from that bucket alone (D2).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct EdgeSettings {
    /// Only these repositories; empty for all, also those that are made later.
    #[serde(default)]
    pub chosen: Vec<RepoName>,
    /// How often it asks for news, in milliseconds: a second at least; `None` for a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub poll_ms: Option<u64>,
    /// Id of the bucket; `None` until it was reached for the first time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bucket_id: Option<String>,
}

impl EdgeSettings {
    /// How often it asks for news.
    pub fn poll(&self) -> Duration {
        Duration::from_millis(self.poll_ms.unwrap_or(POLL_MS_DEFAULT).max(POLL_MS_MIN))
    }

    /// Whether a repository is followed.
    pub fn follows(&self, name: &RepoName) -> bool {
        self.chosen.is_empty() || self.chosen.contains(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d2_an_edge_follows_all_or_what_was_chosen() {
        let name = |text: &str| text.parse::<RepoName>().unwrap();
        let mut settings = EdgeSettings::default();
        assert!(settings.follows(&name("a")) && settings.poll() == Duration::from_secs(60));
        settings = EdgeSettings { chosen: vec![name("a")], poll_ms: Some(0), ..settings };
        assert!(settings.follows(&name("a")) && !settings.follows(&name("b")));
        assert_eq!(settings.poll(), Duration::from_secs(1));
        let text = serde_json::to_string(&settings).unwrap();
        assert_eq!(text, r#"{"chosen":["a"],"poll_ms":0}"#);
        assert_eq!(serde_json::from_str::<EdgeSettings>(&text).unwrap(), settings);
    }
}
