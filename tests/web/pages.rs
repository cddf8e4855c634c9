//! Pages for people (W1), with names of strangers in them (H56) and without what is hidden (H55)

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;

use crate::client::{Site, mode};

/// Names that would be more than text if they were not escaped.
const HOSTILE: &[&[u8]] = &[
    b"<script>alert(1)",
    b"\"><img src=x onerror=alert(1)>",
    b"' onmouseover='alert(1)",
    b"javascript:alert(1)",
    b"line\nbreak",
    b"\xff\xfe",
    b"%2e%2e%2f",
    b"?diff=1",
    b"#fragment",
    b"a b&amp;c",
    "\u{202e}gnp".as_bytes(),
];

/// Elements that have no end.
const VOID: &[&str] = &["meta", "link", "br", "img"];

fn page(site: &Site, path: &str) -> String {
    let answer = site.ask("GET", path, &["Accept: text/html"]);
    assert_eq!(answer.status, 200, "{path}");
    assert_eq!(answer.header("content-type"), "text/html; charset=utf-8", "{path}");
    answer.text()
}

/// The tags of a page, in order, which must be balanced: what is not escaped would show here.
fn tags(html: &str) -> Vec<(String, BTreeMap<String, String>)> {
    let (mut found, mut open) = (Vec::new(), Vec::new());
    let mut rest = html.strip_prefix("<!DOCTYPE html>").expect("a document");
    while let Some((_, after)) = rest.split_once('<') {
        let (tag, after) = after.split_once('>').expect("the end of a tag");
        rest = after;
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(name), "{tag}");
            continue;
        }
        let name = tag.split([' ', '/']).next().unwrap().to_owned();
        let mut attributes = BTreeMap::new();
        for part in tag.split("=\"").collect::<Vec<_>>().windows(2) {
            let key = part[0].rsplit([' ', '"']).next().unwrap();
            attributes.insert(key.to_owned(), part[1].split('"').next().unwrap().to_owned());
        }
        if !VOID.contains(&&*name) && !tag.ends_with('/') {
            open.push(name.clone());
        }
        found.push((name, attributes));
    }
    assert!(open.is_empty(), "{open:?} have no end");
    found
}

/// Checks that a page is ours alone, and returns what it links to.
fn links(html: &str) -> BTreeSet<String> {
    let mut links = BTreeSet::new();
    for (name, attributes) in tags(html) {
        assert!(!["script", "iframe", "object", "form", "style"].contains(&&*name), "{name}");
        for (key, value) in attributes {
            assert!(!key.starts_with("on") && key != "style", "{key}={value}");
            if key == "href" || key == "src" {
                links.insert(value.replace("&amp;", "&"));
            }
        }
    }
    links
}

/// The path of a link on the page at `base`.
fn resolve(base: &str, link: &str) -> Option<String> {
    let base_url = url::Url::parse("http://test").unwrap().join(base).unwrap();
    let to = base_url.join(link).unwrap();
    let inside = to.host_str() == Some("test") && link != "data:,";
    inside.then(|| match to.query() {
        Some(query) => format!("{}?{query}", to.path()),
        None => to.path().to_owned(),
    })
}

fn publish_hostile(site: &Site) {
    for version in ["one", "two"] {
        site.publish("r <i>", |top| {
            for name in HOSTILE {
                let path = top.join("dir").join(OsStr::from_bytes(name));
                fs::create_dir_all(top.join("dir")).unwrap();
                fs::write(&path, format!("{version}\n<b>bold</b>\n</pre></td>")).unwrap();
                fs::create_dir(top.join(OsStr::from_bytes(name))).unwrap();
                fs::write(top.join(OsStr::from_bytes(name)).join("in"), version).unwrap();
            }
            fs::write(top.join("README"), "<script>readme</script>").unwrap();
            fs::write(top.join("binary"), b"\0\x01<b>").unwrap();
            fs::write(top.join("a.svg"), "<svg xmlns='http://www.w3.org/2000/svg'/>").unwrap();
            fs::write(top.join("empty"), "").unwrap();
            symlink("<script>", top.join("dangling")).unwrap();
            symlink("dir", top.join("to dir")).unwrap();
            symlink("README", top.join("to README")).unwrap();
        });
    }
    site.cairn.cli(&["tag", "r <i>/<u>&\"'", "1"]);
}

#[test]
fn w1_every_link_leads_to_a_page_and_names_are_only_text_h56() {
    let site = Site::start();
    publish_hostile(&site);
    site.cairn.cli(&["create", "empty"]);
    let mut open = vec!["/".to_owned()];
    let mut seen = BTreeSet::new();
    while let Some(path) = open.pop() {
        if !seen.insert(path.clone()) {
            continue;
        }
        let answer = site.ask("GET", &path, &["Accept: text/html"]);
        if matches!(answer.status, 301) {
            open.extend(resolve(&path, answer.header("location")));
            continue;
        }
        assert_eq!(answer.status, 200, "{path}");
        let is_page = answer.header("content-security-policy").contains("form-action");
        if is_page && answer.header("content-type").starts_with("text/html") {
            let links = links(&answer.text());
            open.extend(links.iter().filter_map(|link| resolve(&path, link)));
        }
    }
    assert!(seen.len() > 150, "{}", seen.len());
    for view in ["?view", "?diff=1", "?sizes", "?sharing", "?tar"] {
        assert!(seen.iter().any(|path| path.ends_with(view)), "{view} is linked");
    }
}

#[test]
fn w1_differences_are_shown_file_by_file_and_line_by_line() {
    let site = Site::start();
    let long: Vec<String> = (0..100).map(|line| format!("line {line}")).collect();
    site.publish("r", |top| {
        fs::write(top.join("changed"), long.join("\n")).unwrap();
        fs::write(top.join("same"), "same").unwrap();
        fs::write(top.join("binary"), b"\0a").unwrap();
    });
    site.publish("r", |top| {
        let changed = long.join("\n").replace("line 50", "line fifty");
        fs::write(top.join("changed"), changed).unwrap();
        fs::create_dir(top.join("new")).unwrap();
        fs::write(top.join("new/file"), "fresh <words>").unwrap();
        fs::write(top.join("same"), "same").unwrap();
        fs::write(top.join("binary"), b"\0b").unwrap();
    });
    let html = page(&site, "/r/2/?diff=1");
    assert!(html.contains("1 added, 2 modified, 0 removed"), "{html}");
    assert!(html.contains("line fifty") && html.contains("line 47") && !html.contains("line 45<"));
    assert!(html.contains("fresh &lt;words&gt;") && html.contains("new/file"));
    // Only the time of `same` may differ, which is no line.
    assert!(!html.contains("<h3><bdi>same</bdi>"), "{html}");
    assert!(page(&site, "/r/1/?diff=2").contains("0 added, 2 modified, 1 removed"));
    let file = page(&site, "/r/2/changed?diff=1");
    assert!(file.contains("line fifty") && !file.contains("fresh"));
    assert!(page(&site, "/r/1/?diff=1").contains("No difference"));
    for nothing in ["/r/2/?diff=9", "/r/2/nothing?diff=1", "/r/9/?diff=1"] {
        let answer = site.ask("GET", nothing, &["Accept: text/html"]);
        assert_eq!(answer.status, 404, "{nothing}");
        links(&answer.text());
    }
}

#[test]
fn h55_pages_do_not_tell_of_what_is_hidden() {
    // Two stores that differ in hidden things alone show the same, but for times.
    let shown = |secret: Option<&str>| {
        let site = Site::start();
        for version in ["one", "two"] {
            site.publish("r", |top| {
                fs::create_dir(top.join("dir")).unwrap();
                fs::write(top.join("dir/f"), version).unwrap();
                let Some(secret) = secret else { return };
                fs::write(top.join("dir/hidden"), format!("{secret}{version}")).unwrap();
                mode(&top.join("dir/hidden"), 0o600);
                fs::create_dir(top.join("closed")).unwrap();
                fs::write(top.join("closed/f"), secret.repeat(1000)).unwrap();
                mode(&top.join("closed"), 0o700);
            });
        }
        let paths = [
            "/r/2/",
            "/r/2/dir/",
            "/r/2/?diff=1",
            "/r/2/dir/?diff=1",
            "/r/2/?sharing",
            "/r/2/?sizes",
            "/r/2/dir/f?view",
        ];
        let without_times = |html: String| {
            let mut parts = html.split("<time").map(str::to_owned).collect::<Vec<_>>();
            for part in parts.iter_mut().skip(1) {
                *part = part.split_once("</time>").unwrap().1.to_owned();
            }
            // The hash of a version is shown only where nothing is hidden.
            let text = parts.join("");
            let mut lines = text.split("<div><dt>Hash").map(str::to_owned).collect::<Vec<_>>();
            for line in lines.iter_mut().skip(1) {
                *line = line.split_once("</div>").unwrap().1.to_owned();
            }
            lines.join("")
        };
        paths.map(|path| without_times(page(&site, path)))
    };
    let (open, hidden) = (shown(None), shown(Some("secret")));
    for (one, two) in open.iter().zip(&hidden) {
        assert_eq!(one, two);
    }
    assert_eq!(shown(Some("other")), hidden);
}

#[test]
fn w1_large_directories_and_texts_are_shown_in_parts() {
    let site = Site::start();
    site.publish("r", |top| {
        fs::create_dir(top.join("many")).unwrap();
        for number in 0..2100 {
            fs::write(top.join(format!("many/f{number:04}")), "").unwrap();
        }
        fs::write(top.join("long"), "x\n".repeat(20_000)).unwrap();
    });
    let first = page(&site, "/r/1/many/");
    assert!(first.contains("f0999<") && !first.contains("f1000<"));
    let next = links(&first).into_iter().find(|link| link.starts_with("?after=")).unwrap();
    let second = page(&site, &format!("/r/1/many/{next}"));
    assert!(second.contains("f1000<") && second.contains("f1999<") && !second.contains("f2000<"));
    let long = page(&site, "/r/1/long?view");
    assert!(long.contains("The first 10000 of 20000 lines."), "cut");
}

#[test]
fn w1_a_repository_says_what_is_kept() {
    let site = Site::start();
    for version in ["1", "2"] {
        site.publish("r", |top| fs::write(top.join("f"), version).unwrap());
    }
    site.cairn.cli(&["policy", "r", "--keep-unreleased", "5"]);
    site.cairn.cli(&["quota", "r", "--bytes", "2G"]);
    site.cairn.cli(&["release", "r/1"]);
    site.cairn.cli(&["lock", "r/2"]);
    let html = page(&site, "/r/");
    for part in ["keeps the newest 5", "2.0 GiB", "released", "locked", "<svg", "?diff=1"] {
        assert!(html.contains(part), "{part}: {html}");
    }
    assert!(page(&site, "/").contains("<svg class=\"spark\""));
    let style = site.get("/@/style.css");
    assert_eq!(style.header("content-type"), "text/css; charset=utf-8");
    assert!(style.text().contains("prefers-color-scheme: dark"));
    let has = format!("If-None-Match: {}", style.header("etag"));
    assert_eq!(site.ask("GET", "/@/style.css", &[&has]).status, 304);
}
