//! Retention policies: what a repository keeps when nobody decides one by one.

use serde::{Deserialize, Serialize};

/// What is kept (G9). A class without a rule is kept whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// The newest unreleased versions, this many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_unreleased: Option<u64>,
    /// The newest released versions, this many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_released: Option<u64>,
    /// Also everything younger than this. Alone it is the rule of unreleased versions; released
    /// ones expire only where `keep_released` says how many are enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_within_seconds: Option<u64>,
    /// Staging areas that nobody changed for this long are discarded (H25).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expire_areas_seconds: Option<u64>,
}

impl Policy {
    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Reads what [`Policy::to_text`] wrote.
    ///
    /// # Errors
    /// Why the text is not a policy. Nothing must be deleted then.
    pub fn parse(text: &str) -> Result<Self, String> {
        // By way of a map: a plain array would be taken field by field.
        let map: serde_json::Map<_, _> = serde_json::from_str(text).map_err(|e| e.to_string())?;
        serde_json::from_value(map.into()).map_err(|error| error.to_string())
    }

    /// The form that the catalog keeps.
    pub fn to_text(&self) -> String {
        serde_json::json!(self).to_string()
    }
}

/// What the catalog has as the policy of a repository.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum PolicyState {
    /// There is none: nothing is deleted.
    #[default]
    None,
    /// This one.
    Set(Policy),
    /// Not a policy: nothing is deleted.
    Unreadable {
        /// What the catalog has.
        text: String,
        /// Why it is no policy.
        reason: String,
    },
}

impl PolicyState {
    /// From the catalog's column.
    pub fn from_text(text: Option<&str>) -> Self {
        let Some(text) = text else { return Self::None };
        match Policy::parse(text) {
            Ok(policy) => Self::Set(policy),
            Err(reason) => Self::Unreadable { text: text.to_owned(), reason },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_what_its_text_says() {
        let policy = Policy {
            keep_unreleased: Some(5),
            keep_within_seconds: Some(86_400),
            ..Policy::default()
        };
        assert_eq!(policy.to_text(), r#"{"keep_unreleased":5,"keep_within_seconds":86400}"#);
        assert_eq!(Policy::parse(&policy.to_text()), Ok(policy));
        assert_eq!(PolicyState::from_text(None), PolicyState::None);
        assert_eq!(PolicyState::from_text(Some("{}")), PolicyState::Set(Policy::default()));
    }

    #[test]
    fn what_is_not_understood_is_no_policy() {
        for text in ["", "{", "[]", r#"{"keep_unreleased":-1}"#, r#"{"keep_everything":1}"#] {
            let state = PolicyState::from_text(Some(text));
            assert!(matches!(state, PolicyState::Unreadable { .. }), "{text}: {state:?}");
        }
    }
}
