//! A repository as readers see it and as the catalog has it, in one form that can be compared.

use std::collections::{BTreeMap, BTreeSet};

use cairn::engine::registry::Repository;
use cairn::model::id::{AreaId, VersionNumber};
use cairn::model::name::{AreaName, TagName};
use cairn::model::policy::PolicyState;
use cairn::model::quota::Charge;
use cairn::model::time::Timestamp;
use cairn::model::version::Version;
use cairn::store::catalog::{AreaState, RepositoryRow};

use crate::world::World;
use support::wait;

/// Everything that the catalog keeps of a repository.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Seen {
    row: RepositoryRow,
    pub(super) versions: BTreeMap<VersionNumber, Version>,
    charges: BTreeMap<VersionNumber, Charge>,
    deleted: BTreeMap<VersionNumber, (Version, i64)>,
    tags: BTreeMap<TagName, (VersionNumber, bool, Timestamp)>,
    areas: BTreeMap<AreaName, AreaId>,
}

impl Seen {
    /// Whether it is known of each version what it adds to the one before it.
    fn is_charged(&self) -> bool {
        let mut before = VersionNumber(0);
        self.versions.keys().all(|number| {
            let base = std::mem::replace(&mut before, *number);
            self.charges.get(number).is_some_and(|charge| charge.base == base)
        })
    }
}

/// The repository `web` as readers see it.
pub(super) fn registry(world: &World) -> Seen {
    let repository: &Repository = &world.repository();
    let policy = match &repository.policy {
        PolicyState::None => None,
        PolicyState::Set(policy) => Some(policy.to_text()),
        PolicyState::Unreadable { text, .. } => Some(text.clone()),
    };
    let charge = |number: &VersionNumber| Some((*number, *repository.versions.charge(*number)?));
    let tag = |(name, tag): (&TagName, &cairn::engine::registry::Tag)| {
        (name.clone(), (tag.number, tag.protects, tag.created))
    };
    Seen {
        row: RepositoryRow {
            id: repository.id,
            name: repository.name.clone(),
            mode: repository.mode,
            uid: repository.uid,
            gid: repository.gid,
            created: repository.created,
            changed: repository.changed,
            next_number: repository.next_number,
            policy,
            quota: repository.account.quota(),
        },
        versions: repository.versions.iter().map(|(n, v)| (*n, Version::clone(v))).collect(),
        charges: repository.versions.keys().filter_map(charge).collect(),
        deleted: (repository.deleted.iter())
            .map(|(number, gone)| (*number, (Version::clone(&gone.version), gone.deleted)))
            .collect(),
        tags: repository.tags.iter().map(tag).collect(),
        areas: repository.areas.iter().map(|(name, id)| (name.clone(), *id)).collect(),
    }
}

/// The repository `web` as the catalog has it.
pub(super) fn catalog(world: &World) -> Seen {
    // One reader at one instant each: nobody writes meanwhile but who the test started.
    world
        .engine
        .query(|reader| {
            let mut repositories = reader.repositories()?.into_iter();
            let row = repositories.find(|row| row.name.as_str() == "web").unwrap();
            let of = row.id;
            let versions: Vec<_> =
                reader.versions()?.into_iter().filter(|(repo, _)| *repo == of).collect();
            let live = || versions.iter().filter(|(_, row)| row.deleted.is_none());
            let gone = versions.iter().filter_map(|(_, row)| Some((row, row.deleted?)));
            let tags = reader.tags()?.into_iter().filter(|(repo, ..)| *repo == of);
            let areas = reader.areas()?.into_iter();
            Ok(Seen {
                row,
                versions: live()
                    .map(|(_, row)| (row.version.number, row.version.clone()))
                    .collect(),
                charges: live().filter_map(|(_, r)| Some((r.version.number, r.charge?))).collect(),
                deleted: gone
                    .map(|(row, at)| (row.version.number, (row.version.clone(), at)))
                    .collect(),
                tags: tags
                    .map(|(_, name, tag)| (name, (tag.number, tag.protects, tag.created)))
                    .collect(),
                areas: areas
                    .filter(|area| area.repo == of && area.state == AreaState::Open)
                    .map(|area| (area.name, area.id))
                    .collect(),
            })
        })
        .unwrap()
}

/// What a commit that nobody was told of may keep from readers.
#[derive(Debug, Default)]
pub(super) struct Flight {
    /// How many commits there are.
    pub(super) commits: usize,
    /// Their names.
    pub(super) names: BTreeSet<TagName>,
}

/// Says how readers' view differs from the catalog beyond what the commits under way explain.
pub(super) fn check_in_flight(world: &World, flight: &Flight) -> Result<(), String> {
    let (mut seen, mut kept) = (registry(world), catalog(world));
    let hidden: Vec<VersionNumber> = kept
        .versions
        .keys()
        .filter(|number| !seen.versions.contains_key(number))
        .copied()
        .collect();
    if hidden.len() > flight.commits {
        return Err(format!("{hidden:?} are in the catalog and nobody sees them"));
    }
    kept.versions.retain(|number, _| !hidden.contains(number));
    kept.tags.retain(|name, (number, ..)| {
        let unseen = !seen.tags.contains_key(name);
        !(unseen && (hidden.contains(number) || flight.names.contains(name)))
    });
    for side in [&mut seen, &mut kept] {
        // The accountant works beside the test.
        side.charges.clear();
        if flight.commits > 0 {
            side.row.next_number = VersionNumber(0);
            side.row.changed = Timestamp::default();
            side.areas.clear();
        }
    }
    if seen == kept {
        Ok(())
    } else {
        Err(format!("readers see {seen:?}\nthe catalog has {kept:?}"))
    }
}

/// Waits until both hold the same to the last field, and returns it.
#[track_caller]
pub(super) fn settled(world: &World) -> Seen {
    check_in_flight(world, &Flight::default()).unwrap();
    wait::until("what versions add is noted everywhere", || {
        let seen = registry(world);
        seen == catalog(world) && seen.is_charged()
    });
    registry(world)
}
