//! Names of entries, repositories, tags, areas and versions.

use cairn::model::name::{AreaName, BaseName, EntryName, RepoName, TagName, parse_number};

use super::Target;

pub(crate) const TARGET: Target = Target { run, seeds };

pub(crate) fn run(data: &[u8]) {
    let entry = EntryName::new(data);
    if let Ok(name) = &entry {
        assert_eq!(name.as_bytes(), data);
        assert!(!data.is_empty() && data.len() <= 255 && data != b"." && data != b"..");
        assert!(!data.contains(&b'/') && !data.contains(&0));
    }
    let texts = [
        RepoName::new(data).map(String::from),
        TagName::new(data).map(String::from),
        AreaName::new(data).map(String::from),
    ];
    for text in texts.into_iter().flatten() {
        assert_eq!(text.as_bytes(), data);
        assert!(entry.is_ok() && !text.chars().any(char::is_control));
    }
    if let Ok(area) = AreaName::new(data) {
        let base = area.base().map(|base| format!("@{base}")).unwrap_or_default();
        assert_eq!(format!("{}{base}", area.label()), area.as_str());
        EntryName::new(area.label().as_bytes()).unwrap();
        assert!(!area.label().contains('@'));
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(base) = text.parse::<BaseName>() {
        assert_eq!(base.to_string(), text);
    }
    if let Some(number) = parse_number(text) {
        assert_eq!(number.to_string(), text);
    }
    // A tag is never taken for a number or for `latest`.
    if let Ok(tag) = text.parse::<TagName>() {
        assert_eq!(text.parse::<BaseName>(), Ok(BaseName::Tag(tag)));
    }
    let json = serde_json::to_string(text).unwrap();
    assert_eq!(serde_json::from_str::<RepoName>(&json).ok(), RepoName::new(data).ok());
    assert_eq!(serde_json::from_str::<AreaName>(&json).ok(), AreaName::new(data).ok());
    assert_eq!(serde_json::from_str::<TagName>(&json).ok(), TagName::new(data).ok());
}

fn seeds() -> Vec<Vec<u8>> {
    let long = "n".repeat(255);
    let texts = [
        "web",
        "v1.0",
        "latest",
        "7",
        "18446744073709551615",
        "work",
        "work@7",
        "work@latest",
        "work@v1",
        "a b",
        "\u{e9}\u{1f600}",
        "..",
        &long,
    ];
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}
