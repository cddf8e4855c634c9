//! What strangers may not read is as if it were not there (W4, H55)

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::client::{Answer, Site, mode};

fn fill(top: &Path) {
    for directory in ["open", "closed", "listed", "entered", "closed/below"] {
        fs::create_dir(top.join(directory)).unwrap();
        fs::write(top.join(directory).join("file"), directory).unwrap();
    }
    for (path, bits) in [("closed", 0o750), ("listed", 0o754), ("entered", 0o751)] {
        mode(&top.join(path), bits);
    }
    fs::write(top.join("open/hidden"), "secret").unwrap();
    mode(&top.join("open/hidden"), 0o640);
    fs::write(top.join("open/shown"), "shown").unwrap();
    for (target, name) in [
        ("../closed/file", "into-closed"),
        ("hidden", "to-hidden"),
        ("shown", "to-shown"),
        ("/etc/passwd", "absolute"),
        ("../../../../../../etc/passwd", "out"),
        ("..", "up"),
        ("loop", "loop"),
    ] {
        symlink(target, top.join("open").join(name)).unwrap();
    }
}

/// The answer without what differs from request to request.
fn comparable(mut answer: Answer) -> Answer {
    answer.headers.remove("date");
    answer
}

#[test]
fn w4_no_address_leads_to_another_site() {
    let site = Site::start();
    site.publish("r", |top| fs::create_dir(top.join("https:evil.example")).unwrap());
    for path in [
        "/\\\\evil.example",
        "/%5c%5cevil.example",
        "/%2f%2fevil.example",
        "//evil.example",
        "/https:evil.example",
        "/javascript:alert(1)",
        "/r/https:evil.example",
        "/r/1/https:evil.example",
    ] {
        let answer = site.get(path);
        let to = answer.header("location");
        assert!(to.is_empty() || to.starts_with("./"), "{path}: {to}");
        assert!(!to.contains([':', '\\']) && !to.contains("//"), "{path}: {to}");
    }
    assert_eq!(site.get("/r/1/https:evil.example").header("location"), "./https%3Aevil.example/");
}

#[test]
fn h55_what_may_not_be_read_is_indistinguishable_from_what_is_not_there() {
    let site = Site::start();
    site.publish("r", fill);
    let absent = comparable(site.get("/r/1/open/nothing"));
    assert_eq!(absent.status, 404);
    for path in [
        "closed",
        "closed/",
        "closed/file",
        "closed/below/",
        "closed/below/file",
        "closed/nothing",
        "listed/",
        "listed/file",
        "entered/",
        "open/hidden",
        "open/into-closed",
        "open/to-hidden",
        "open/absolute",
        "open/out",
        "open/loop",
        "open/up/closed/file",
        "closed/?tar",
    ] {
        for method in ["GET", "HEAD"] {
            let mut answer = comparable(site.ask(method, &format!("/r/1/{path}"), &[]));
            if method == "HEAD" {
                answer.body = absent.body.clone();
            }
            assert_eq!(answer, absent, "{method} {path}");
        }
        let conditional = site.ask("GET", &format!("/r/1/{path}"), &["If-None-Match: *"]);
        assert_eq!(comparable(conditional), absent, "{path}");
    }
    for path in ["entered/file", "open/shown", "open/to-shown", "open/up/open/shown"] {
        assert_eq!(site.get(&format!("/r/1/{path}")).status, 200, "{path}");
    }
}

#[test]
fn h55_lists_and_archives_leave_out_what_may_not_be_read() {
    let site = Site::start();
    site.publish("r", fill);
    let names = |path: &str| -> Vec<String> {
        let listed = site.json(path);
        let entries = listed["entries"].as_array().unwrap().iter();
        entries.map(|entry| entry["path"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names("/r/1/"), ["open"]);
    let open = names("/r/1/open/");
    assert!(open.contains(&"open/shown".to_owned()) && !open.contains(&"open/hidden".to_owned()));
    let links = site.get("/r/1/open/").text();
    assert!(!links.contains("hidden\"") && links.contains("./to-shown\""), "{links}");
    assert!(!links.contains("href=\"./out\""), "{links}");
    let manifest = site.get("/r/1/PULP_MANIFEST").text();
    let lines = manifest.lines().filter(|line| !line.starts_with('#'));
    let paths: Vec<_> = lines.map(|line| line.split(',').next().unwrap()).collect();
    assert_eq!(paths, ["open/file", "open/shown"]);
    for query in ["tar", "tar.zst"] {
        let archive = crate::archive::names(&site.get(&format!("/r/1/?{query}")).body, query);
        assert!(archive.contains(&"open/shown".to_owned()), "{archive:?}");
        assert!(!archive.iter().any(|name| name.contains("closed/") || name.contains("/hidden")));
    }
}

#[test]
fn h55_a_private_repository_is_not_there() {
    let site = Site::start();
    for (name, bits) in [("open", "755"), ("private", "750"), ("entered", "751"), ("listed", "754")]
    {
        site.publish(name, |top| fs::write(top.join("f"), name).unwrap());
        let path = site.cairn.staging(name);
        mode(&path, u32::from_str_radix(bits, 8).unwrap());
    }
    let listed = site.json("/");
    let names: Vec<_> = listed["repositories"].as_array().unwrap().iter().collect();
    assert_eq!((names.len(), &names[0]["repository"]), (1, &serde_json::json!("open")));
    let absent = comparable(site.get("/nothing/"));
    for name in ["private", "entered", "listed"] {
        for path in ["", "1/", "1/f", "latest/f", "1/?tar", "1/PULP_MANIFEST"] {
            assert_eq!(comparable(site.get(&format!("/{name}/{path}"))), absent, "{name}/{path}");
        }
        // A redirect to the slash says nothing about what is there.
        assert_eq!(site.get(&format!("/{name}")).status, site.get("/nothing").status);
    }
}

#[test]
fn h55_the_root_of_a_version_has_a_mode_too() {
    let site = Site::start();
    site.publish("r", |top| {
        fs::write(top.join("f"), "f").unwrap();
        mode(top, 0o750);
    });
    for path in ["/r/1/", "/r/1/f", "/r/1/PULP_MANIFEST"] {
        assert_eq!(site.get(path).status, 404, "{path}");
    }
}

#[test]
fn h55_the_tag_of_a_manifest_tells_nothing_of_hidden_content() {
    let tag = |secret: &str| {
        let site = Site::start();
        site.publish("r", |top| {
            fs::write(top.join("f"), "f").unwrap();
            fs::write(top.join("hidden"), secret).unwrap();
            mode(&top.join("hidden"), 0o600);
        });
        let answer = site.get("/r/1/PULP_MANIFEST");
        (answer.text(), answer.header("etag").to_owned())
    };
    let ((first, _), (second, _)) = (tag("a"), tag("longer"));
    assert_eq!(first, second);
}
