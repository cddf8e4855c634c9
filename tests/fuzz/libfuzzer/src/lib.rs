//! The targets of the tests, for libFuzzer.
#![allow(dead_code, unused_imports, reason = "each fuzzer uses a part of what the tests share")]

#[path = "../../targets/mod.rs"]
mod targets;


/// Tries one input.
///
/// # Panics
/// When the target finds something, and where it does not exist.
pub fn run(target: &str, data: &[u8]) {
    let target = match target {
        "archive" => &targets::archive::TARGET,
        "bucket" => &targets::bucket::TARGET,
        "catalog" => &targets::catalog::TARGET,
        "debian" => &targets::debian::TARGET,
        "directory" => &targets::directory::TARGET,
        "frame" => &targets::frame::TARGET,
        "manifest" => &targets::manifest::TARGET,
        "message" => &targets::message::TARGET,
        "name" => &targets::name::TARGET,
        "pack" => &targets::pack::TARGET,
        "page" => &targets::page::TARGET,
        "path" => &targets::path::TARGET,
        "policy" => &targets::policy::TARGET,
        "root" => &targets::root::TARGET,
        "session" => &targets::session::TARGET,
        "signature" => &targets::signature::TARGET,
        other => panic!("there is no target {other}"),
    };
    (target.run)(data);
}
