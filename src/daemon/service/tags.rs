//! Tags.

use super::errors::control_error;
use super::{Answer, StoreService, describe};
use crate::control::protocol::{ControlError, ErrorKind};
use crate::control::reply::Reply;
use crate::engine::request::Request;
use crate::model::name::{BaseName, RepoName, TagName};
use crate::model::time::Timestamp;

impl StoreService {
    pub(super) fn tags(&self, repository: &RepoName) -> Answer {
        let repository = self.repository(repository)?;
        let tags = repository.tags.iter();
        Ok(Reply::Tags(tags.map(|(name, tag)| describe::tag(&repository, name, tag)).collect()))
    }

    pub(super) fn set_tag(&self, name: &RepoName, tag: TagName, version: &BaseName) -> Answer {
        let (repository, version) = self.version(name, version)?;
        let (repo, number, now) = (repository.id, version.number, Timestamp::now());
        let wanted = tag.clone();
        self.engine
            .call(|reply| Request::SetTag { repo, tag, number, fresh: false, now, reply })
            .map_err(control_error)?;
        let repository = self.repository(name)?;
        let made = repository.tags.get(&wanted).map(|tag| describe::tag(&repository, &wanted, tag));
        made.map(Reply::Tag).ok_or_else(|| {
            ControlError::new(ErrorKind::NotFound, format!("tag `{name}/{wanted}` went again"))
        })
    }

    pub(super) fn delete_tag(&self, name: &RepoName, tag: TagName) -> Answer {
        let (repo, now) = (self.repository(name)?.id, Timestamp::now());
        self.engine
            .call(|reply| Request::DeleteTag { repo, tag, now, reply })
            .map_err(control_error)?;
        Ok(Reply::Done)
    }
}
