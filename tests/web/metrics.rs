//! What is counted, and whether the daemon is well (W3, H58)

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::client::{Site, mode};
use support::wait;

/// The samples by name with labels.
fn samples(site: &Site) -> BTreeMap<String, f64> {
    let answer = site.get("/metrics");
    assert_eq!(answer.status, 200);
    assert!(answer.header("content-type").starts_with("application/openmetrics-text"));
    let text = answer.text();
    assert!(text.ends_with("# EOF\n"), "{text}");
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let sample = |line: &str| {
        let (name, value) = line.rsplit_once(' ').unwrap();
        (name.to_owned(), value.parse().unwrap_or_else(|_| panic!("{line}")))
    };
    lines.map(sample).collect()
}

#[test]
fn w3_what_the_daemon_does_is_counted() {
    let site = Site::start();
    let before = samples(&site);
    site.publish("r \"q\"\\", |top| fs::write(top.join("f"), "content").unwrap());
    site.cairn.cli(&["quota", "r \"q\"\\", "--bytes", "1G"]);
    fs::create_dir(site.cairn.staging("r \"q\"\\/area")).unwrap();
    fs::write(site.cairn.staging("r \"q\"\\/area/new"), "new content").unwrap();
    fs::read(site.cairn.versions("r \"q\"\\/1/f")).unwrap();
    site.cairn.cli(&["gc", "--full", "--wait"]);
    assert_eq!(site.get("/nothing/").status, 404);
    wait::until("the file is sealed", || samples(&site)["cairn_sealed_files_total"] >= 1.0);
    let after = samples(&site);
    let grew = |name: &str| after[name] - before.get(name).copied().unwrap_or(0.0);
    assert!(grew("cairn_commits_total") >= 1.0);
    assert!(grew("cairn_collections_total") >= 1.0);
    assert!(grew("cairn_http_answers_total{class=\"4xx\"}") >= 1.0);
    assert!(after["cairn_operation_seconds_count{operation=\"lookup\"}"] >= 1.0);
    let all = after["cairn_operation_seconds_bucket{le=\"+Inf\",operation=\"lookup\"}"];
    assert!(all >= after["cairn_operation_seconds_bucket{le=\"0.00001\",operation=\"lookup\"}"]);
    assert_eq!(after["cairn_repository_versions{repository=\"r \\\"q\\\"\\\\\"}"], 1.0);
    assert_eq!(
        after["cairn_repository_quota_bytes{repository=\"r \\\"q\\\"\\\\\"}"],
        f64::from(1 << 30)
    );
    assert_eq!((after["cairn_poisoned"], after["cairn_full"]), (0.0, 0.0));
    assert!(after["cairn_blobs"] >= 1.0 && after["cairn_free_bytes"] > 0.0);
}

#[test]
fn h58_labels_are_few_and_name_nothing_that_is_hidden() {
    let site = Site::start();
    site.cairn.cli(&["create", "secret"]);
    mode(&site.cairn.staging("secret"), 0o700);
    for number in 0..205 {
        site.cairn.cli(&["create", &format!("r{number:03}")]);
    }
    let after = samples(&site);
    let named = after.keys().filter(|name| name.starts_with("cairn_repository_versions{"));
    assert_eq!(named.count(), 200);
    assert!(!after.keys().any(|name| name.contains("secret")));
    assert_eq!(after["cairn_repositories"], 205.0);
}

#[test]
fn w3_a_daemon_says_whether_it_is_well() {
    let site = Site::start();
    assert_eq!((site.get("/healthz").status, site.get("/healthz").text().as_str()), (200, "ok\n"));
    assert_eq!((site.get("/readyz").status, site.get("/readyz").text().as_str()), (200, "ready\n"));
    // Repositories may be called so.
    site.publish("metrics", |top| fs::write(top.join("f"), "f").unwrap());
    assert_eq!(site.get("/metrics/1/f").text(), "f");
}

#[test]
fn w3_the_dashboard_and_the_alerts_ask_for_what_there_is() {
    let site = Site::start();
    site.publish("r", |top| fs::write(top.join("f"), "f").unwrap());
    site.cairn.cli(&["quota", "r", "--bytes", "1G", "--files", "1000"]);
    fs::read_dir(site.cairn.versions("r")).unwrap();
    let known: Vec<String> =
        samples(&site).into_keys().map(|name| name.split('{').next().unwrap().to_owned()).collect();
    let dist = Path::new(env!("CARGO_MANIFEST_DIR")).join("dist");
    for file in ["prometheus/cairn.rules.yml", "grafana/cairn.json"] {
        let text = fs::read_to_string(dist.join(file)).unwrap();
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let asked: Vec<_> = words.filter(|word| word.starts_with("cairn_")).collect();
        assert!(asked.len() > 5, "{file}");
        for word in asked {
            assert!(known.iter().any(|name| name == word), "{file} asks for {word}");
        }
    }
    let dashboard = fs::read_to_string(dist.join("grafana/cairn.json")).unwrap();
    serde_json::from_str::<serde_json::Value>(&dashboard).unwrap();
}
