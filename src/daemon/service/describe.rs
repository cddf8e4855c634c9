//! Registry values as replies show them.

use super::StoreService;
use crate::control::areas::AreaInfo;
use crate::control::repositories::RepositoryInfo;
use crate::control::tags::TagInfo;
use crate::control::utc::{Created, Expires};
use crate::control::versions::VersionInfo;
use crate::engine::registry::{Repository, Tag};
use crate::model::id::AreaId;
use crate::model::name::{AreaName, TagName};
use crate::model::policy::PolicyState;
use crate::model::time::Timestamp;
use crate::model::version::Version;

pub(super) fn repository(repository: &Repository) -> RepositoryInfo {
    RepositoryInfo {
        name: repository.name.clone(),
        mode: repository.mode,
        uid: repository.uid,
        gid: repository.gid,
        versions: repository.versions.size() as u64,
        latest: repository.latest().map(|version| version.number),
        areas: repository.areas.size() as u64,
        tags: repository.tags.size() as u64,
        created: Created::from(repository.created),
    }
}

pub(super) fn version(repository: &Repository, version: &Version) -> VersionInfo {
    VersionInfo {
        repository: repository.name.clone(),
        number: version.number,
        hash: version.hash,
        name: version.name.clone(),
        tags: repository.tags.of(version.number).to_vec(),
        base: version.base,
        author: version.author.clone(),
        message: version.message.clone(),
        released: version.released,
        locked: version.locked,
        files: version.root.summary.files,
        directories: version.root.summary.directories,
        size_bytes: version.root.summary.bytes,
        created: Created::from(version.created),
    }
}

pub(super) fn tag(repository: &Repository, name: &TagName, tag: &Tag) -> TagInfo {
    TagInfo {
        repository: repository.name.clone(),
        name: name.clone(),
        number: tag.number,
        protects: tag.protects,
        created: Created::from(tag.created),
    }
}

/// When the policy discards an area that changed last at `changed`.
fn expires(repository: &Repository, changed: i64) -> Option<Expires> {
    let PolicyState::Set(policy) = &repository.policy else { return None };
    let after = i64::try_from(policy.expire_areas_seconds?).unwrap_or(i64::MAX);
    Some(Expires::at(changed.saturating_add(after)))
}

impl StoreService {
    /// `None` when the area went meanwhile.
    pub(super) fn area_info(
        &self,
        repository: &Repository,
        name: &AreaName,
        id: AreaId,
    ) -> Option<AreaInfo> {
        let state = self.engine.staging.read();
        let area = state.areas.get(&id)?;
        let base = area.base.as_ref();
        let number = base.and_then(|base| base.number);
        let newest = repository.latest().map(|version| version.number);
        let path = self.facts.mount.as_ref().map(|mount| {
            let path = mount.join("staging").join(repository.name.as_str()).join(name.as_str());
            path.display().to_string()
        });
        Some(AreaInfo {
            repository: repository.name.clone(),
            name: name.clone(),
            path,
            base: number,
            stale: base.is_some() && number != newest,
            open_files: u64::from(area.shared.writers()),
            created: Created::from(area.created),
            expires: expires(repository, area.shared.changed().min(Timestamp::now().seconds)),
            error: Some(area.error.clone()).filter(|error| !error.is_empty()),
        })
    }
}
