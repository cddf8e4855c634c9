//! What a store that is an edge follows in its bucket.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::name::RepoName;

/// The interval at which an edge polls its bucket, in milliseconds, where its settings name none.
const POLL_MS_DEFAULT: u64 = 60_000;

/// The shortest interval at which an edge may poll its bucket, in milliseconds.
const POLL_MS_MIN: u64 = 1000;

/// What an edge follows. A store that has a remote with such settings takes changes from that bucket alone (D2).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct EdgeSettings {
    /// The repositories that the edge shows. Empty for all of them, including those that are made later.
    #[serde(default)]
    pub chosen: Vec<RepoName>,
    /// The interval at which the edge polls its bucket for new events, in milliseconds, 1000 at least. `None` for one minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub poll_ms: Option<u64>,
    /// Id of the bucket. `None` until the edge has reached the bucket for the first time; from then on the edge follows no
    /// bucket with another id.
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
