//! Arguments that name things: what is accepted, and which rule is told otherwise.

use std::time::Duration;

use cairn::cli::parse::{
    DeleteTarget, RepositoryArea, RepositoryTag, RepositoryVersion, UsageTarget, VersionTarget,
    parse_duration, parse_mode, parse_size,
};
use cairn::model::id::VersionNumber;

#[test]
fn versions() {
    for (text, repository, version) in [
        ("web/7", "web", "7"),
        ("web/latest", "web", "latest"),
        ("web/v1.0", "web", "v1.0"),
        ("h\u{e9} llo/b-1", "h\u{e9} llo", "b-1"),
    ] {
        let parsed: RepositoryVersion = text.parse().unwrap();
        assert_eq!(parsed.repository.as_str(), repository);
        assert_eq!(parsed.version.to_string(), version);
    }
    for (text, rule) in [
        ("web", "expected REPO/VERSION"),
        ("", "expected REPO/VERSION"),
        ("/7", "must not be empty"),
        ("web/", "must not be empty"),
        ("web/a/b", "without a path in it (for example web/a)"),
        ("web/7/index", "without a path in it (for example web/7)"),
        ("web/07", "without leading zeros"),
        ("web/0", "from 1 on"),
        ("web/99999999999999999999", "at most 18446744073709551615"),
        ("web/a@b", "`@`"),
        ("we\nb/7", "control characters"),
        ("../7", "`.` and `..`"),
    ] {
        let error = text.parse::<RepositoryVersion>().unwrap_err().to_string();
        assert!(error.contains(rule), "{text:?}: {error}");
    }
    let long = format!("{}/7", "a".repeat(256));
    let error = long.parse::<RepositoryVersion>().unwrap_err().to_string();
    assert!(error.contains("255 bytes"), "{error}");
}

#[test]
fn areas() {
    let area: RepositoryArea = "web/b42@7".parse().unwrap();
    assert_eq!((area.area.label(), area.area.as_str()), ("b42", "b42@7"));
    for (text, rule) in [("web", "expected REPO/AREA"), ("web/b@", "base after `@`")] {
        let error = text.parse::<RepositoryArea>().unwrap_err().to_string();
        assert!(error.contains(rule), "{text:?}: {error}");
    }
}

#[test]
fn tags() {
    assert_eq!("web".parse::<RepositoryTag>().unwrap().tag, None);
    let tag: RepositoryTag = "web/v1".parse().unwrap();
    assert_eq!(tag.tag.unwrap().as_str(), "v1");
    for text in ["web/7", "web/latest", "web/a@b", "web/"] {
        assert!(text.parse::<RepositoryTag>().is_err(), "{text}");
    }
}

#[test]
fn delete_targets() {
    let range = |first, last| {
        DeleteTarget::Range("web".parse().unwrap(), VersionNumber(first), VersionNumber(last))
    };
    assert_eq!("web/3-5".parse(), Ok(range(3, 5)));
    assert_eq!("web/3-3".parse(), Ok(range(3, 3)));
    let error = "web/5-3".parse::<DeleteTarget>().unwrap_err();
    assert_eq!(error.to_string(), "the range 5-3 runs backwards");
    for (text, what) in [("web", "Repository"), ("web/v-1", "Version"), ("web/03-5", "Version")] {
        let target = format!("{:?}", text.parse::<DeleteTarget>().unwrap());
        assert!(target.starts_with(what), "{text}: {target}");
    }
}

#[test]
fn durations_and_modes() {
    for (text, seconds) in [("0", 0), ("90", 90), ("90s", 90), ("10m", 600), ("2d", 172_800)] {
        assert_eq!(parse_duration(text), Ok(Duration::from_secs(seconds)), "{text}");
    }
    for text in ["", "m", "-1", "1.5h", "+3", "99999999999999999d", "10 m", "3\u{e9}"] {
        assert!(parse_duration(text).is_err(), "{text}");
    }
    assert_eq!(parse_mode("0750"), Ok(0o750));
    for text in ["", "8", "+7", "10000", "rwx"] {
        assert!(parse_mode(text).is_err(), "{text}");
    }
}

#[test]
fn targets_of_versions_and_usage() {
    assert!("web/3-5".parse::<VersionTarget>().is_ok());
    let error = "web".parse::<VersionTarget>().unwrap_err().to_string();
    assert!(error.contains("expected REPO/VERSION"), "{error}");
    assert_eq!("web".parse::<UsageTarget>().unwrap().version, None);
    assert!("web/7".parse::<UsageTarget>().unwrap().version.is_some());
    assert!("web/".parse::<UsageTarget>().is_err());
}

#[test]
fn sizes() {
    for (text, bytes) in [
        ("0", 0),
        ("17", 17),
        ("10K", 10 << 10),
        ("10k", 10 << 10),
        ("3KiB", 3 << 10),
        ("3MB", 3 << 20),
        ("2G", 2 << 30),
        ("16777215T", 16_777_215 << 40),
    ] {
        assert_eq!(parse_size(text), Ok(bytes), "{text}");
    }
    for text in ["", "K", "-1", "1.5G", "1 K", "1P", "99999999999999999999", "16777216T"] {
        assert!(parse_size(text).is_err(), "{text}");
    }
}
