//! Bytes from outside: mostly text, not validated, with a form in JSON.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::name::{EntryName, NameError};

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum BytesForm<'a> {
    Text(Cow<'a, str>),
    Raw { bytes: Cow<'a, [u8]> },
}

macro_rules! bytes_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        ///
        /// In JSON a string when it is UTF-8, otherwise `{"bytes":[…]}`.
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub Box<[u8]>);

        impl $name {
            /// The raw bytes.
            pub fn as_bytes(&self) -> &[u8] {
                &self.0
            }
        }

        impl From<&[u8]> for $name {
            fn from(bytes: &[u8]) -> Self {
                Self(bytes.into())
            }
        }

        impl From<Vec<u8>> for $name {
            fn from(bytes: Vec<u8>) -> Self {
                Self(bytes.into())
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{:?}", String::from_utf8_lossy(&self.0))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                match std::str::from_utf8(&self.0) {
                    Ok(text) => serializer.serialize_str(text),
                    Err(_) => BytesForm::Raw {
                        bytes: Cow::Borrowed(&self.0),
                    }
                    .serialize(serializer),
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Ok(match BytesForm::deserialize(deserializer)? {
                    BytesForm::Text(text) => Self(text.into_owned().into_bytes().into()),
                    BytesForm::Raw { bytes } => Self(bytes.into_owned().into()),
                })
            }
        }
    };
}

bytes_type! {
    /// Any bytes: a symlink's target, an extended attribute.
    RawBytes
}

bytes_type! {
    /// A path relative to the root of a tree, `/`-separated, without a leading or trailing `/`;
    /// empty for the root itself. Not validated: see [`RawPath::components`].
    RawPath
}

impl RawPath {
    /// Splits into validated names; none for the root.
    ///
    /// # Errors
    /// The rule that a component breaks: empty (a leading, trailing or double `/`), `.`, `..`,
    /// too long, NUL.
    pub fn components(&self) -> Result<Vec<EntryName>, NameError> {
        if self.0.is_empty() {
            return Ok(Vec::new());
        }
        self.0.split(|b| *b == b'/').map(EntryName::new).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_text_where_they_can_be() {
        let cases: [(&[u8], &str); 3] = [
            (b"a/b", r#""a/b""#),
            (b"\xff", r#"{"bytes":[255]}"#),
            ("\u{e9}\n".as_bytes(), "\"\u{e9}\\n\""),
        ];
        for (bytes, json) in cases {
            let path = RawPath::from(bytes);
            assert_eq!(serde_json::to_string(&path).unwrap(), json);
            assert_eq!(serde_json::from_str::<RawPath>(json).unwrap(), path);
        }
        assert!(serde_json::from_str::<RawPath>(r#"{"bytes":[256]}"#).is_err());
    }

    #[test]
    fn components_refuse_what_leads_elsewhere() {
        assert_eq!(RawPath::default().components(), Ok(Vec::new()));
        for bad in ["/a", "a/", "a//b", "..", "a/../b", "./a", "a\0"] {
            assert!(RawPath::from(bad.as_bytes()).components().is_err(), "{bad}");
        }
        let good = RawPath::from(&b"a/\xff"[..]).components().unwrap();
        assert_eq!(good.len(), 2);
    }
}
