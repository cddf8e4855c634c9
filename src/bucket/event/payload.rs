//! What happened in a repository, or in the bucket.
//!
//! A number of a version is 8 bytes, 0 for none; a key is 49 bytes ([`ObjectKey::to_bytes`]); `name` is 2+n bytes.
//!
//! ```text
//!     in the log of a repository
//!  1  commit      number, uses (key), base (number), created (8 seconds, 4 nanoseconds),
//!                 1 flags: 1 released, 2 locked, 4 the name is a tag from now on; draft (16, zeros for none),
//!                 name (empty for none), author (2+n), message (4+n), root (4+n, as the catalog keeps it)
//!  2  tag         number (0: removed), number before (0: there was none), 1 protects, name
//!  3  flags       number, 1 released, 1 locked; each 0 off, 1 on, 2 as it was
//!  4  delete      number, 1 although it is released, the newest or named by a tag
//!  5  remove      nothing: all versions and tags go, numbers go on
//!  6  draft       uses (key) of a push under way; the event's nonce is its id
//!  7  draft end   id (16)
//!  8  barrier     mark (16), its candidates (key)
//!  9  checkpoint  reserved
//! 10  retention   reserved
//!     in the bucket's own log
//! 64  repository  name: it is made
//! 65  mark        candidates (key of an object of kind keys); the event's nonce is its id
//! 66  sentence    mark (16), keys that are condemned (key)
//! 67  abandon     mark (16)
//! ```
//!
//! The hash of a commit's root names the whole content of the version ([`Commit::hash`]), and its summary has the sums
//! that lists of versions show.

use super::super::fields::{Fields, FormatError, put_length};
use super::super::key::{Nonce, ObjectKey, ObjectKind};
use super::{OBJECT, long_bytes, put_text, read_time, text};
use crate::model::hash::TreeHash;
use crate::model::id::VersionNumber;
use crate::model::name::{RepoName, TagName};
use crate::model::time::Timestamp;
use crate::model::tree::Root;
use crate::model::tree_format::{decode_root, encode_root, root_hash};

const RELEASED: u8 = 1;
const LOCKED: u8 = 2;
const TAGGED: u8 = 4;

/// Bytes of an author at most.
const AUTHOR_BYTES_MAX: usize = 4096;

/// A version that is published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// Its number.
    pub number: VersionNumber,
    /// The root directory.
    pub root: Root,
    /// Which objects it needs.
    pub uses: ObjectKey,
    /// The version its staging area started from.
    pub base: Option<VersionNumber>,
    /// When it was committed.
    pub created: Timestamp,
    /// The name given at commit.
    pub name: Option<TagName>,
    /// Whether the name becomes a tag, one that does not protect the version.
    pub tagged: bool,
    /// Who committed it.
    pub author: String,
    /// Free text given at commit.
    pub message: String,
    /// Whether it is released.
    pub released: bool,
    /// Whether it is locked.
    pub locked: bool,
    /// The draft that ends with it.
    pub draft: Option<Nonce>,
}

impl Commit {
    /// Names the whole content of the version.
    pub fn hash(&self) -> TreeHash {
        root_hash(&self.root)
    }
}

/// A tag that is made, moved or removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagChange {
    /// The tag.
    pub tag: TagName,
    /// What it names from now on; `None` when it is removed.
    pub target: Option<VersionNumber>,
    /// What it named before.
    pub before: Option<VersionNumber>,
    /// Whether it protects its version.
    pub protects: bool,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload {
    /// A version was published.
    Commit(Box<Commit>),
    /// A tag was made, moved or removed.
    Tag(TagChange),
    /// A version was released or locked, or that was taken back; `None` stays.
    Flags {
        /// The version.
        number: VersionNumber,
        /// Whether it is released.
        released: Option<bool>,
        /// Whether it is locked.
        locked: Option<bool>,
    },
    /// A version was deleted. Its number is not used again.
    Delete {
        /// The version.
        number: VersionNumber,
        /// Although it is released, the newest, or named by a tag that protects it.
        force: bool,
    },
    /// The repository was removed, with all versions and tags. Its log goes on.
    Remove,
    /// A push that takes long needs these objects until it ends. The event's nonce is the draft's id.
    Draft {
        /// What it needs so far.
        uses: ObjectKey,
    },
    /// A draft ended without a version.
    DraftEnd {
        /// The draft.
        draft: Nonce,
    },
    /// Whoever publishes in this repository after this event uses no key that the mark names.
    Barrier {
        /// The mark.
        mark: Nonce,
        /// The keys that it names.
        candidates: ObjectKey,
    },
    /// A repository was made.
    Repository {
        /// Its name.
        name: RepoName,
    },
    /// A collector asks to give up keys. The event's nonce is the mark's id.
    Mark {
        /// The keys.
        candidates: ObjectKey,
    },
    /// Of the keys of a mark these are needed by nobody.
    Sentence {
        /// The mark.
        mark: Nonce,
        /// The keys that may be deleted.
        condemned: ObjectKey,
    },
    /// A mark was given up: its keys may be used again.
    Abandon {
        /// The mark.
        mark: Nonce,
    },
}

impl Payload {
    /// The number of its kind.
    pub fn code(&self) -> u16 {
        match self {
            Self::Commit(_) => 1,
            Self::Tag(_) => 2,
            Self::Flags { .. } => 3,
            Self::Delete { .. } => 4,
            Self::Remove => 5,
            Self::Draft { .. } => 6,
            Self::DraftEnd { .. } => 7,
            Self::Barrier { .. } => 8,
            Self::Repository { .. } => 64,
            Self::Mark { .. } => 65,
            Self::Sentence { .. } => 66,
            Self::Abandon { .. } => 67,
        }
    }

    /// As users read it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Commit(_) => "commit",
            Self::Tag(_) => "tag",
            Self::Flags { .. } => "flags",
            Self::Delete { .. } => "delete",
            Self::Remove => "remove",
            Self::Draft { .. } => "draft",
            Self::DraftEnd { .. } => "draft end",
            Self::Barrier { .. } => "barrier",
            Self::Repository { .. } => "repository",
            Self::Mark { .. } => "mark",
            Self::Sentence { .. } => "sentence",
            Self::Abandon { .. } => "abandon",
        }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Commit(commit) => commit.encode(&mut out),
            Self::Tag(change) => {
                put_number(&mut out, change.target);
                put_number(&mut out, change.before);
                out.push(u8::from(change.protects));
                put_text(&mut out, change.tag.as_str());
            }
            Self::Flags { number, released, locked } => {
                put_number(&mut out, Some(*number));
                out.push(released.map_or(2, u8::from));
                out.push(locked.map_or(2, u8::from));
            }
            Self::Delete { number, force } => {
                put_number(&mut out, Some(*number));
                out.push(u8::from(*force));
            }
            Self::Remove => {}
            Self::Draft { uses: key } | Self::Mark { candidates: key } => {
                out.extend_from_slice(&key.to_bytes());
            }
            Self::DraftEnd { draft: nonce } | Self::Abandon { mark: nonce } => {
                out.extend_from_slice(nonce.as_bytes());
            }
            Self::Barrier { mark, candidates: key } | Self::Sentence { mark, condemned: key } => {
                out.extend_from_slice(mark.as_bytes());
                out.extend_from_slice(&key.to_bytes());
            }
            Self::Repository { name } => put_text(&mut out, name.as_str()),
        }
        out
    }

    pub(super) fn decode(code: u16, bytes: &[u8]) -> Result<Self, FormatError> {
        let fields = &mut Fields::new(OBJECT, bytes);
        let payload = match code {
            1 => Self::Commit(Box::new(Commit::decode(fields)?)),
            2 => {
                let (target, before) = (number(fields)?, number(fields)?);
                let protects = switch(fields)?;
                Self::Tag(TagChange { tag: tag(fields)?, target, before, protects })
            }
            3 => Self::Flags {
                number: some_number(fields)?,
                released: change(fields)?,
                locked: change(fields)?,
            },
            4 => Self::Delete { number: some_number(fields)?, force: switch(fields)? },
            5 => Self::Remove,
            6 => Self::Draft { uses: key(fields, ObjectKind::Uses)? },
            7 => Self::DraftEnd { draft: nonce(fields)? },
            8 => Self::Barrier { mark: nonce(fields)?, candidates: key(fields, ObjectKind::Keys)? },
            64 => {
                let name = RepoName::new(text(fields)?.as_bytes());
                Self::Repository { name: name.map_err(|e| fields.refuse(e.to_string()))? }
            }
            65 => Self::Mark { candidates: key(fields, ObjectKind::Keys)? },
            66 => {
                Self::Sentence { mark: nonce(fields)?, condemned: key(fields, ObjectKind::Keys)? }
            }
            67 => Self::Abandon { mark: nonce(fields)? },
            _ => {
                return Err(fields.refuse(format!(
                    "its kind {code} is unknown to this release: install a newer one"
                )));
            }
        };
        fields.end()?;
        Ok(payload)
    }
}

impl Commit {
    fn encode(&self, out: &mut Vec<u8>) {
        put_number(out, Some(self.number));
        out.extend_from_slice(&self.uses.to_bytes());
        put_number(out, self.base);
        out.extend_from_slice(&self.created.seconds.to_le_bytes());
        out.extend_from_slice(&self.created.nanoseconds.to_le_bytes());
        let flags = [(self.released, RELEASED), (self.locked, LOCKED), (self.tagged, TAGGED)];
        out.push(flags.iter().filter(|(set, _)| *set).map(|(_, flag)| flag).sum());
        out.extend_from_slice(&self.draft.map_or(NO_NONCE, |draft| *draft.as_bytes()));
        put_text(out, self.name.as_ref().map_or("", TagName::as_str));
        put_text(out, cut(&self.author));
        put_length(out, self.message.len());
        out.extend_from_slice(self.message.as_bytes());
        let root = encode_root(&self.root);
        put_length(out, root.len());
        out.extend_from_slice(&root);
    }

    fn decode(fields: &mut Fields<'_>) -> Result<Self, FormatError> {
        let version = some_number(fields)?;
        let uses = key(fields, ObjectKind::Uses)?;
        let base = number(fields)?;
        let created = read_time(fields)?;
        let flags = fields.u8()?;
        if flags > RELEASED | LOCKED | TAGGED {
            return Err(fields.refuse("a reserved flag is set"));
        }
        let draft = Some(fields.array()?).filter(|draft| *draft != NO_NONCE);
        let name = match text(fields)? {
            "" => None,
            name => Some(name.parse::<TagName>().map_err(|e| fields.refuse(e.to_string()))?),
        };
        let tagged = flags & TAGGED != 0;
        if tagged && name.is_none() {
            return Err(fields.refuse("a tag has no name"));
        }
        let author = text(fields)?.to_owned();
        if author.len() > AUTHOR_BYTES_MAX {
            return Err(fields.refuse("an author's name is too long"));
        }
        let message = std::str::from_utf8(long_bytes(fields)?);
        let message = message.map_err(|_| fields.refuse("a text is not UTF-8"))?.to_owned();
        let root = decode_root(long_bytes(fields)?).map_err(|e| fields.refuse(e.to_string()))?;
        Ok(Self {
            number: version,
            root,
            uses,
            base,
            created,
            name,
            tagged,
            author,
            message,
            released: flags & RELEASED != 0,
            locked: flags & LOCKED != 0,
            draft: draft.map(Nonce::from_bytes),
        })
    }
}

const NO_NONCE: [u8; Nonce::BYTES] = [0; Nonce::BYTES];

/// As much of an author's name as an event holds.
fn cut(author: &str) -> &str {
    let mut end = author.len().min(AUTHOR_BYTES_MAX);
    while !author.is_char_boundary(end) {
        end -= 1;
    }
    &author[..end]
}

fn put_number(out: &mut Vec<u8>, number: Option<VersionNumber>) {
    out.extend_from_slice(&number.map_or(0, |number| number.0).to_le_bytes());
}

fn number(fields: &mut Fields<'_>) -> Result<Option<VersionNumber>, FormatError> {
    let number = fields.u64()?;
    if i64::try_from(number).is_err() {
        return Err(fields.refuse("a number of a version is out of range"));
    }
    Ok((number > 0).then_some(VersionNumber(number)))
}

fn some_number(fields: &mut Fields<'_>) -> Result<VersionNumber, FormatError> {
    number(fields)?.ok_or_else(|| fields.refuse("a number of a version is missing"))
}

fn nonce(fields: &mut Fields<'_>) -> Result<Nonce, FormatError> {
    fields.array().map(Nonce::from_bytes)
}

fn key(fields: &mut Fields<'_>, kind: ObjectKind) -> Result<ObjectKey, FormatError> {
    let key = ObjectKey::from_bytes(&fields.array()?).filter(|key| key.kind == kind);
    key.ok_or_else(|| fields.refuse("a key is of another kind"))
}

fn tag(fields: &mut Fields<'_>) -> Result<TagName, FormatError> {
    text(fields)?.parse().map_err(|error| fields.refuse(format!("{error}")))
}

fn switch(fields: &mut Fields<'_>) -> Result<bool, FormatError> {
    change(fields)?.ok_or_else(|| fields.refuse("a switch is neither on nor off"))
}

fn change(fields: &mut Fields<'_>) -> Result<Option<bool>, FormatError> {
    match fields.u8()? {
        0 => Ok(Some(false)),
        1 => Ok(Some(true)),
        2 => Ok(None),
        _ => Err(fields.refuse("a switch has an unknown state")),
    }
}
