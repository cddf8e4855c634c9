//! A sync from its first request to the area that is ready to be published.

use std::sync::atomic::AtomicU32;

use super::declare::{Declared, declare};
use super::difference::{Step, difference};
use super::document::{Before, has_changed};
use super::fetch::{Context, fetch};
use super::pipeline::{self, Stage, send};
use super::query::{Item, Missing, defer, query};
use super::save::Saver;
use super::sort::Sorted;
use super::{Destination, Note, Options, Origin, Seen, SyncError, Watch, add};
use crate::model::sync::{SyncCounts, SyncStage};

/// How a sync ended that did not fail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The remote declares what it declared the last time: nothing was even compared.
    Unchanged,
    /// The area has what the version is to have.
    Ready {
        /// What was done.
        counts: SyncCounts,
        /// What to know the next time, but for the version.
        seen: Seen,
        /// What is to be known about the remote.
        notes: Vec<Note>,
    },
}

/// What a sync would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plan {
    /// This file would be added.
    Add(Vec<u8>),
    /// This file would get another content.
    Change(Vec<u8>),
    /// This would be removed, with what is below it.
    Remove(Vec<u8>),
}

/// Runs a sync. With `plan` nothing is fetched but what declares the content, and nothing is put: it hears what would be
/// done.
///
/// # Errors
/// Why there is to be no new version. What was fetched is kept for the next try.
pub fn run(
    origin: &Origin<'_>,
    options: Options,
    seen: Option<&Seen>,
    destination: &dyn Destination,
    watch: Watch<'_>,
    plan: Option<&mut dyn FnMut(Plan) -> Result<(), SyncError>>,
) -> Result<Outcome, SyncError> {
    let asked = asked(origin, options);
    let is_lazy = origin.policy.is_lazy();
    let missing = match !is_lazy && destination.lacks_content()? {
        true => Missing::IsFetched,
        false => Missing::IsUnchanged,
    };
    let before = seen.map_or(Before::NONE, |seen| Before {
        documents: &seen.documents,
        // What is missing is asked for, whether the remote has changed or not.
        may_be_unchanged: seen.asked == asked && missing == Missing::IsUnchanged,
    });
    let Watch { stop, tally, .. } = watch;
    tally.reset();
    let Some(mut declared) = declare(origin, before, destination, watch)? else {
        return Ok(Outcome::Unchanged);
    };
    add(&tally.declared, declared.entries.count);
    tally.enter(SyncStage::Fetch);
    let failures = AtomicU32::new(0);
    let Declared { ref mut entries, ref found } = declared;
    let gathered = found.gathered.as_ref();
    let context = Context { origin, destination, gathered, tally, stop, failures: &failures };
    if let Some(plan) = plan {
        dry_run(context, entries, options, plan)?;
        return Ok(ready(declared, asked, tally.counts()));
    }
    check_removals(entries, destination, options)?;
    let mtime = found.mtime.unwrap_or_else(|| destination.now());
    let mut saver = Saver::new(destination, watch, mtime, is_lazy.then_some(origin));
    let steps: Stage<'_, Item<'_>> = Box::new(move |_, next| {
        let lines = entries.read()?;
        difference(lines, destination, options.mirror, &mut |step| send(&next, Item::Step(step)))
    });
    let known: Stage<'_, Item<'_>> = Box::new(move |items, next| {
        query(destination, (context.tally, missing), stop, &items, &next)
    });
    let fetched: Stage<'_, Item<'_>> = Box::new(move |items, next| fetch(context, &items, &next));
    let mut stages = vec![("difference", steps), ("query", known), ("fetch", fetched)];
    if is_lazy {
        stages.insert(
            2,
            ("defer", Box::new(move |items, next| defer(destination, gathered, &items, &next))),
        );
    }
    pipeline::run(stages, stop, |items| saver.run(&items))?;
    let (disagreements, lost) = (saver.disagreements, saver.lost.take());
    drop(saver);
    let counts = tally.counts();
    if disagreements > 0
        && let Some(url) = has_changed(origin, &found.documents, watch)?
    {
        return Err(SyncError::Changed(url));
    }
    if let Some(path) = lost.filter(|_| options.keep_going) {
        return Err(SyncError::Lost(path));
    }
    if counts.failed > 0 && !options.keep_going {
        return Err(SyncError::Failed(counts.failed));
    }
    Ok(ready(declared, asked, counts))
}

/// All that was asked for, and of whom. With another policy the same list says something else (L1).
fn asked(origin: &Origin<'_>, options: Options) -> String {
    let subpath = origin.subpath.map_or_else(String::new, ToString::to_string);
    let how = if options.mirror { "mirror" } else { "additive" };
    format!("{how} {} {} {} {subpath}", origin.kind, origin.policy, origin.url)
}

fn ready(declared: Declared, asked: String, counts: SyncCounts) -> Outcome {
    let seen = Seen { documents: declared.found.documents, asked, version: 0 };
    Outcome::Ready { counts, seen, notes: declared.found.notes }
}

/// Refuses before the first fetch what would remove too much (V11): of a mirror, or what is in the way.
fn check_removals(
    entries: &mut Sorted,
    destination: &dyn Destination,
    options: Options,
) -> Result<(), SyncError> {
    let there = destination.base().map_or(0, |root| root.summary.files);
    if there == 0 {
        return Ok(());
    }
    let mut removed = 0;
    difference(entries.read()?, destination, options.mirror, &mut |step| {
        if let Step::Remove { files, .. } = step {
            removed += files;
        }
        Ok(())
    })?;
    if options.removal_limit.allows(removed, there) {
        return Ok(());
    }
    Err(SyncError::TooManyRemoved { removed, there })
}

fn dry_run(
    context: Context<'_>,
    entries: &mut Sorted,
    options: Options,
    plan: &mut dyn FnMut(Plan) -> Result<(), SyncError>,
) -> Result<(), SyncError> {
    let Context { destination, tally, stop, .. } = context;
    let steps: Stage<'_, Item<'_>> = Box::new(move |_, next| {
        let lines = entries.read()?;
        difference(lines, destination, options.mirror, &mut |step| send(&next, Item::Step(step)))
    });
    let known: Stage<'_, Item<'_>> = Box::new(move |items, next| {
        query(destination, (tally, Missing::IsUnchanged), stop, &items, &next)
    });
    pipeline::run(vec![("difference", steps), ("query", known)], stop, |items| {
        items.iter().try_for_each(|item| match item {
            Item::Step(Step::Remove { path, files, .. }) => {
                add(&tally.removed, files);
                plan(Plan::Remove(path))
            }
            Item::Step(Step::Put { file, base }) | Item::Known { file, base, .. } => {
                let path = file.path.as_bytes().to_vec();
                match base {
                    Some(_) => {
                        add(&tally.changed, 1);
                        plan(Plan::Change(path))
                    }
                    None => {
                        add(&tally.added, 1);
                        plan(Plan::Add(path))
                    }
                }
            }
            Item::Unchanged(_)
            | Item::Absent { .. }
            | Item::Fetched { .. }
            | Item::Failed { .. } => Ok(()),
        })
    })
}
