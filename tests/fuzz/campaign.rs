//! One campaign: the regressions and seeds of a target, then mutations of them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use crate::memory::{ALLOCATION_BYTES_MAX, greatest_allocation};
use crate::mutate::mutate;
use crate::targets::Target;
use crate::watch::{Watch, count_panics, panics};
use support::random::Random;

/// The seed of a campaign that names none.
const SEED: u64 = 1;

/// Tries a target, with `executions` inputs unless the environment says how many.
///
/// # Panics
/// When an input makes the target panic or ask for too much memory. The input is saved, and how to
/// try it again is printed.
pub(crate) fn run(name: &str, target: &Target, executions: u64) {
    let executions = number("CAIRN_FUZZ_EXECUTIONS", executions);
    let seed = number("CAIRN_FUZZ_SEED", SEED);
    count_panics();
    let saved = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("fuzz-{name}"));
    let watch = Watch::start(saved.clone());
    let trial = Trial { name, target, saved, watch };
    let regressions = regressions(name);
    for (path, input) in &regressions {
        trial.run(input, &path.display().to_string());
    }
    let mut corpus = (target.seeds)();
    assert!(!corpus.is_empty(), "{name} has no seeds");
    for (index, input) in corpus.iter().enumerate() {
        trial.run(input, &format!("seed {index}"));
    }
    corpus.extend(regressions.into_iter().map(|(_, input)| input));
    let mut random = Random::new(seed);
    for execution in 0..executions {
        let input = mutate(&corpus, &mut random);
        trial.run(&input, &format!("CAIRN_FUZZ_SEED={seed}, execution {execution}"));
    }
    eprintln!("{name}: {executions} executions from seed {seed}");
}

struct Trial<'a> {
    name: &'a str,
    target: &'a Target,
    saved: PathBuf,
    watch: Watch,
}

impl Trial<'_> {
    fn run(&self, input: &[u8], origin: &str) {
        self.watch.begin(input);
        let before = panics();
        let outcome = catch_unwind(AssertUnwindSafe(|| (self.target.run)(input)));
        let greatest = greatest_allocation();
        let fault = if outcome.is_err() || panics() != before {
            "panics".to_owned()
        } else if greatest > ALLOCATION_BYTES_MAX {
            format!("allocates {greatest} bytes at once")
        } else {
            return;
        };
        std::fs::write(&self.saved, input).unwrap();
        let (name, saved) = (self.name, self.saved.display());
        let hex: String = input.iter().take(512).map(|byte| format!("{byte:02x}")).collect();
        panic!(
            "{name} {fault} ({origin})\n{} bytes: {hex}\n\
             the input is in {saved}; keep it as tests/fuzz/regressions/{name}/NAME",
            input.len()
        );
    }
}

/// The inputs that once were refused badly.
fn regressions(name: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/regressions").join(name);
    let Ok(entries) = std::fs::read_dir(&directory) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
}

fn number(variable: &str, default: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{variable}={text} is not a number")),
        Err(_) => default,
    }
}
