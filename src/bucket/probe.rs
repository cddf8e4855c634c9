//! What works with a store: asked of it, never assumed (H44).
//!
//! A probe writes below `probe/`, and removes what it wrote. What a killed one leaves, a collector removes.

use std::io;
use std::ops::ControlFlow;

use super::key::{Key, Nonce};
use super::store::{Created, ObjectStore, StoreError, StoreErrorKind};

/// Writers that race for one key.
const WRITERS: u8 = 16;

/// How often they race.
const RACES: usize = 2;

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probe {
    /// An occupied name is refused, and of several who create one object at once, one does.
    pub creates_once: bool,
    /// Parts of objects can be had.
    pub ranges: bool,
    /// What was written shows in a list at once.
    pub lists_at_once: bool,
}

/// Asks a store for all that a bucket needs. `nonce` draws a random number.
///
/// # Errors
/// Why it cannot be used at all: what was written cannot be read or removed.
pub fn probe(
    store: &dyn ObjectStore,
    nonce: &mut dyn FnMut() -> io::Result<Nonce>,
) -> Result<Probe, StoreError> {
    let mut written = Vec::new();
    let mut new_key = || {
        let drawn = nonce().map_err(|e| StoreError::new(StoreErrorKind::Local, e.to_string()))?;
        let key = Key::Probe(drawn).to_string();
        written.push(key.clone());
        Ok(key)
    };
    let found = ask(store, &mut new_key);
    // Also after a failure, which is the one to be told then.
    let removed = store.delete(&written);
    let found = found?;
    removed?;
    for key in &written {
        if store.head(key)?.is_some() {
            return Err(wrong(key, "it is still there after it was deleted"));
        }
    }
    Ok(found)
}

fn ask(
    store: &dyn ObjectStore,
    new_key: &mut dyn FnMut() -> Result<String, StoreError>,
) -> Result<Probe, StoreError> {
    let first = new_key()?;
    if store.create(&first, b"first")? == Created::Occupied {
        return Err(wrong(&first, "nothing was there, and it says that it is occupied"));
    }
    let again = store.create(&first, b"second");
    let mut creates_once = !matches!(again, Ok(Created::Done));
    let kept = store.get(&first)?;
    creates_once &= kept.as_deref() == Some(b"first");
    if kept.is_none() {
        return Err(wrong(&first, "what was written is not there"));
    }
    for _ in 0..RACES {
        creates_once &= race(store, &new_key()?)?;
    }
    let part = new_key()?;
    store.put(&part, b"0123456789")?;
    let ranges = store.get_range(&part, 3..6)?.as_deref() == Some(b"345");
    let mut lists_at_once = false;
    store.list("probe/", &mut |listed| {
        lists_at_once |= listed.key == part;
        if lists_at_once { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    Ok(Probe { creates_once, ranges, lists_at_once })
}

/// Whether of several writers one wins, and its bytes stay.
fn race(store: &dyn ObjectStore, key: &str) -> Result<bool, StoreError> {
    let bytes = |writer: u8| [writer; 64];
    let results: Vec<(u8, Result<Created, StoreError>)> = std::thread::scope(|scope| {
        let write = |writer| (writer, scope.spawn(move || store.create(key, &bytes(writer))));
        let writers: Vec<_> = (0..WRITERS).map(write).collect();
        let ended =
            writers.into_iter().filter_map(|(writer, thread)| Some((writer, thread.join().ok()?)));
        ended.collect()
    });
    let kept = store.get(key)?.ok_or_else(|| wrong(key, "what was written is not there"))?;
    let is_winner = |(writer, result): &(u8, Result<Created, StoreError>)| {
        matches!(result, Ok(Created::Done)).then_some(*writer)
    };
    let winners: Vec<u8> = results.iter().filter_map(is_winner).collect();
    // Who got no answer may be the one who won.
    let unknown = results.iter().any(|(_, result)| result.is_err());
    Ok(match winners[..] {
        [] => unknown,
        [winner] => kept == bytes(winner),
        _ => false,
    })
}

fn wrong(key: &str, what: &str) -> StoreError {
    StoreError::new(StoreErrorKind::Protocol, format!("{key}: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bucket::memory::{Fault, Memory, Operation};
    use crate::bucket::testing::nonce;

    fn found(store: &dyn ObjectStore) -> Result<Probe, StoreError> {
        let mut drawn = 0;
        probe(store, &mut || {
            drawn += 1;
            Ok(nonce(drawn))
        })
    }

    #[test]
    fn h44_a_store_that_works_passes_and_is_left_empty() {
        let store = Memory::default();
        let all = Probe { creates_once: true, ranges: true, lists_at_once: true };
        assert_eq!(found(&store).unwrap(), all);
        assert!(store.keys().is_empty());
    }

    #[test]
    fn h44_a_store_that_ignores_conditions_is_found_out() {
        let store = Memory::default();
        let ignoring = store.with_faults(Box::new(|_| Fault::NoCondition));
        assert!(!found(&ignoring).unwrap().creates_once);
        // One that refuses an occupied name and lets writers overwrite each other while they race.
        let mut creations = 0;
        let racy = store.with_faults(Box::new(move |operation| match operation {
            Operation::Create(_) => {
                creations += 1;
                if creations > 20 { Fault::NoCondition } else { Fault::None }
            }
            _ => Fault::None,
        }));
        assert!(!found(&racy).unwrap().creates_once);
        assert!(store.keys().is_empty());
    }

    #[test]
    fn h48_a_list_that_lags_is_told_and_lost_answers_are_no_verdict() {
        let store = Memory::default();
        let lagging = store.with_faults(Box::new(|_| Fault::Stale(1)));
        assert!(!found(&lagging).unwrap().lists_at_once);
        let mut creations = 0;
        let losing = store.with_faults(Box::new(move |operation| match operation {
            Operation::Create(_) => {
                creations += 1;
                if creations == 3 { Fault::AnswerLost } else { Fault::None }
            }
            _ => Fault::None,
        }));
        assert!(found(&losing).unwrap().creates_once);
    }
}
