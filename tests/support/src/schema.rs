//! What `--json` may print: every name that any command uses, with its one type (`docs/json.md`).

use cairn::control::utc::rfc3339;
use cairn::model::time::Timestamp;
use serde_json::{Map, Value};

/// Type of a name's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Type {
    Text,
    /// Text, or `{"bytes": […]}`.
    Path,
    Number,
    Flag,
    Object,
    Texts,
    Numbers,
    Paths,
    Objects,
    /// RFC 3339; its seconds are beside it.
    Time,
    /// Four octal digits.
    Mode,
}

/// Names that may be `null`.
const NULLABLE: &[&str] = &[
    "after",
    "base",
    "bucket_id",
    "candidate_bytes",
    "change",
    "command",
    "conditional",
    "creates_once",
    "daemon_pid",
    "declared_file_count",
    "directory",
    "edge",
    "error",
    "has_sizes",
    "failure",
    "guard",
    "last",
    "last_run",
    "latest",
    "lists_at_once",
    "mount",
    "name",
    "number",
    "pid",
    "poisoned",
    "policy",
    "quota_bytes",
    "quota_file_count",
    "ranges",
    "repository",
    "retry",
    "running_permille",
    "since",
    "store",
    "tag",
    "version",
];

/// Every name. What ends in `_count`, `_bytes`, `_ms` or `_us` is a number and not listed one by one.
const NAMES: &[(Type, &[&str])] = &[
    (
        Type::Text,
        &[
            "area",
            "author",
            "bucket_id",
            "cairn_version",
            "change",
            "check",
            "command",
            "cost",
            "endpoint",
            "environment",
            "failure",
            "guard",
            "hash",
            "hint",
            "kind",
            "message",
            "name",
            "note",
            "operation",
            "outcome",
            "page",
            "place",
            "poisoned",
            "reason",
            "region",
            "remote",
            "repository",
            "script",
            "retry",
            "severity",
            "shell",
            "stage",
            "state",
            "tag",
            "type",
            "url",
            "user",
        ],
    ),
    (
        Type::Path,
        &[
            "ca_file",
            "certificate_file",
            "content",
            "directory",
            "file",
            "key_file",
            "keyring_file",
            "mount",
            "path",
            "store",
        ],
    ),
    (
        Type::Number,
        &[
            "base",
            "connections",
            "daemon_pid",
            "fetched_bytes_per_second",
            "format",
            "from",
            "gid",
            "job",
            "keep_released",
            "keep_unreleased",
            "latest",
            "lowest_bytes_per_second",
            "number",
            "pid",
            "rate_bytes_per_second",
            "running_permille",
            "since",
            "to",
            "uid",
        ],
    ),
    (
        Type::Flag,
        &[
            "absent",
            "allow_expired",
            "attributes_only",
            "changed",
            "conditional",
            "counts_skipped",
            "creates_once",
            "damaged",
            "detached",
            "dry_run",
            "finished",
            "free",
            "full",
            "has_sizes",
            "is_deleted",
            "is_directory",
            "keep",
            "lists_at_once",
            "locked",
            "lost_unknown",
            "open",
            "protects",
            "ranges",
            "read_only",
            "released",
            "repository_deleted",
            "stale",
            "succeeded",
            "unchanged_remote",
            "usable",
            "virtual_hosted",
            "with_sources",
        ],
    ),
    (
        Type::Object,
        &[
            "basic",
            "bearer",
            "bucket",
            "client_certificate",
            "counts",
            "debian",
            "detail",
            "edge",
            "error",
            "failed_files",
            "last",
            "last_run",
            "locked_by",
            "login",
            "now",
            "password",
            "policy",
            "remote_changed",
            "scrub",
            "stale_base",
            "token",
            "unreadable_files",
            "version",
        ],
    ),
    (
        Type::Texts,
        &[
            "architectures",
            "changed_tags",
            "chosen",
            "components",
            "languages",
            "notes",
            "suites",
            "tags",
            "warnings",
        ],
    ),
    (Type::Numbers, &["deleted_numbers", "flagged_numbers", "numbers"]),
    (Type::Paths, &["conflicts", "open_files", "paths", "skipped"]),
    (
        Type::Objects,
        &[
            "alarms",
            "areas",
            "between",
            "damaged_blobs",
            "decisions",
            "events",
            "failures",
            "files",
            "findings",
            "holders",
            "left",
            "lost",
            "operations",
            "problems",
            "quotas",
            "repositories",
            "unfetched_contents",
            "version_ranges",
            "versions",
        ],
    ),
    (
        Type::Time,
        &["began", "created", "deleted", "ended", "expires", "last_contact", "next_run", "until"],
    ),
    (Type::Mode, &["mode"]),
];

/// Sizes, counts and durations.
const NUMBER_ENDS: [&str; 4] = ["_count", "_bytes", "_ms", "_us"];

fn type_of(name: &str) -> Option<Type> {
    if NUMBER_ENDS.iter().any(|end| name.ends_with(end)) {
        return Some(Type::Number);
    }
    let mut types = NAMES.iter().filter(|(_, names)| names.contains(&name)).map(|(kind, _)| *kind);
    let found = types.next();
    assert_eq!(types.next(), None, "{name} has one type");
    found
}

/// What a document does that the rules do not allow, one sentence each; and all names in it.
pub fn check(document: &Value) -> (Vec<String>, Vec<String>) {
    let (mut wrong, mut names) = (Vec::new(), Vec::new());
    match document {
        Value::Array(items) => {
            for item in items {
                object(item, "the array", &mut wrong, &mut names);
            }
        }
        other => object(other, "the document", &mut wrong, &mut names),
    }
    names.sort_unstable();
    names.dedup();
    (wrong, names)
}

fn object(value: &Value, place: &str, wrong: &mut Vec<String>, names: &mut Vec<String>) {
    let Value::Object(fields) = value else {
        return wrong.push(format!("{place} has {value} in place of an object"));
    };
    for (name, value) in fields {
        names.push(name.clone());
        if let Some(time) = name.strip_suffix("_seconds") {
            if type_of(time) != Some(Type::Time) || !fields.contains_key(time) {
                wrong.push(format!("{name} has no {time} beside it"));
            }
            continue;
        }
        let Some(kind) = type_of(name) else {
            wrong.push(format!("{name} is not a known name"));
            continue;
        };
        if value.is_null() && NULLABLE.contains(&name.as_str()) {
            continue;
        }
        if !fits(kind, name, value, fields) {
            wrong.push(format!("{name} is {value}, which is no {kind:?}"));
        }
        let nested = match value {
            Value::Array(items) if kind == Type::Objects => items.as_slice(),
            one if kind == Type::Object && !one.is_string() => std::slice::from_ref(one),
            _ => &[],
        };
        for item in nested {
            object(item, name, wrong, names);
        }
    }
}

fn fits(kind: Type, name: &str, value: &Value, fields: &Map<String, Value>) -> bool {
    let all =
        |fits: fn(&Value) -> bool| value.as_array().is_some_and(|items| items.iter().all(fits));
    match kind {
        Type::Text => value.is_string(),
        Type::Path => is_path(value),
        Type::Number => value.is_u64(),
        Type::Flag => value.is_boolean(),
        // The fetch policy of a remote, and the retention policy of a repository.
        Type::Object if name == "policy" && fields.contains_key("url") => value.is_string(),
        Type::Object => value.is_object(),
        Type::Texts => all(Value::is_string),
        Type::Numbers => all(Value::is_u64),
        Type::Paths => all(is_path),
        Type::Objects => all(Value::is_object),
        Type::Time => {
            let seconds = fields.get(&format!("{name}_seconds")).and_then(Value::as_i64);
            let time = seconds.and_then(|seconds| Timestamp::new(seconds, 0));
            time.is_some_and(|time| value.as_str() == Some(&rfc3339(time)))
        }
        Type::Mode => value.as_str().is_some_and(|text| {
            text.len() == 4 && text.bytes().all(|digit| (b'0'..=b'7').contains(&digit))
        }),
    }
}

fn is_path(value: &Value) -> bool {
    let bytes = |value: &Value| {
        let only = value.as_object().is_some_and(|fields| fields.len() == 1);
        only && value["bytes"].as_array().is_some_and(|bytes| bytes.iter().all(Value::is_u64))
    };
    value.is_string() || bytes(value)
}

/// The documents in what a command printed, one a line; each is checked, and that the help of `verb`
/// names its fields, or the help that it refers to (``as in `cairn show` ``).
#[track_caller]
pub fn documents(verb: &str, printed: &str) -> Vec<Value> {
    assert!(printed.ends_with('\n'), "{verb} does not end its output: {printed:?}");
    let help = help_of(verb);
    let documents = printed.lines().map(|line| {
        let document: Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{verb}: {error} in {line}"));
        let (wrong, names) = check(&document);
        assert!(wrong.is_empty(), "{verb}: {wrong:#?}\nin {document:#}");
        for name in names {
            let told = |word: &str| word == name;
            let words = || help.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            assert!(words().any(told), "{name} is not in the help of {verb}: {document}");
        }
        document
    });
    documents.collect()
}

/// The part about JSON in the help of a verb, with those that it refers to.
fn help_of(verb: &str) -> String {
    let mut command = cairn::cli::command();
    let found = command.find_subcommand_mut(verb).expect("a verb");
    let help = found.render_long_help().to_string();
    let part = help.split("JSON\n").nth(1).unwrap_or_else(|| panic!("{verb} has no JSON part"));
    let lines = part.split("\n\n").next().unwrap_or_default();
    let mut part = lines.split_whitespace().collect::<Vec<_>>().join(" ");
    let referred: Vec<String> = part
        .split("as in `cairn ")
        .skip(1)
        .filter_map(|rest| rest.split('`').next())
        .filter(|other| *other != verb && *other != "help")
        .map(str::to_owned)
        .collect();
    for other in referred {
        part.push_str(&help_of(&other));
    }
    part
}

/// Asserts what holds for a failed command: one document on standard error, which says `kind`.
#[track_caller]
pub fn error(printed: &str, kind: &str) -> Value {
    assert!(printed.ends_with('\n') && printed.lines().count() == 1, "{printed:?}");
    let document: Value = serde_json::from_str(printed).expect("the error is JSON");
    let (wrong, _) = check(&document);
    assert!(wrong.is_empty(), "{wrong:#?}\nin {document:#}");
    assert_eq!(document["error"]["kind"], kind, "{document}");
    document["error"].clone()
}
