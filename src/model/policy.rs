//! Retention policies: what a repository keeps when nobody decides one by one.

use serde::{Deserialize, Serialize};

/// The rules (G9). All versions of a class without a rule are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// The newest unreleased versions, this many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_unreleased: Option<u64>,
    /// The newest released versions, this many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_released: Option<u64>,
    /// Also everything younger than this. Without other rules it applies to unreleased versions;
    /// released ones expire only where `keep_released` is set.
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
        // Parsed as a map first: serde would accept a plain array field by field.
        let map: serde_json::Map<_, _> = serde_json::from_str(text).map_err(|e| e.to_string())?;
        serde_json::from_value(map.into()).map_err(|error| error.to_string())
    }

    /// The form that the catalog keeps.
    pub fn to_text(&self) -> String {
        serde_json::json!(self).to_string()
    }
}

/// What becomes of one rule or limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// It stays.
    #[default]
    Keep,
    /// It goes.
    Unlimited,
    /// It is this from now on.
    Limit(u64),
}

impl Limit {
    /// What `now` becomes.
    pub fn applied(self, now: Option<u64>) -> Option<u64> {
        match self {
            Self::Keep => now,
            Self::Unlimited => None,
            Self::Limit(limit) => Some(limit),
        }
    }
}

/// What becomes of each rule of a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RuleChanges {
    /// Of [`Policy::keep_unreleased`].
    pub keep_unreleased: Limit,
    /// Of [`Policy::keep_released`].
    pub keep_released: Limit,
    /// Of [`Policy::keep_within_seconds`].
    pub keep_within_seconds: Limit,
    /// Of [`Policy::expire_areas_seconds`].
    pub expire_areas_seconds: Limit,
}

impl RuleChanges {
    /// Whether every rule stays.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The policy with these changes; `None` when no rule is left.
    pub fn applied(&self, policy: Policy) -> Option<Policy> {
        let policy = Policy {
            keep_unreleased: self.keep_unreleased.applied(policy.keep_unreleased),
            keep_released: self.keep_released.applied(policy.keep_released),
            keep_within_seconds: self.keep_within_seconds.applied(policy.keep_within_seconds),
            expire_areas_seconds: self.expire_areas_seconds.applied(policy.expire_areas_seconds),
        };
        (!policy.is_empty()).then_some(policy)
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
    fn rules_that_are_not_named_stay() {
        let policy =
            Policy { keep_unreleased: Some(5), keep_released: Some(3), ..Policy::default() };
        let changes = RuleChanges {
            keep_unreleased: Limit::Unlimited,
            keep_within_seconds: Limit::Limit(60),
            ..RuleChanges::default()
        };
        let expected =
            Policy { keep_released: Some(3), keep_within_seconds: Some(60), ..Policy::default() };
        assert_eq!(changes.applied(policy), Some(expected));
        assert_eq!(RuleChanges::default().applied(policy), Some(policy));
        let last = Policy { keep_unreleased: Some(5), ..Policy::default() };
        let clear = RuleChanges { keep_unreleased: Limit::Unlimited, ..RuleChanges::default() };
        assert_eq!(clear.applied(last), None, "a policy without rules is none");
    }

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
