//! Names for the completion of a command line: from the registry of a daemon, or from the catalog of a
//! store that no daemon serves, which is not opened for that.

use std::path::Path;

use super::errors::store_error;
use super::{Answer, StoreService};
use crate::control::names::{NamesOf, area_names, matching};
use crate::control::protocol::{ControlError, ErrorKind, Progress, Request};
use crate::control::reply::Reply;
use crate::control::service::{Attachment, Caller, Service};
use crate::model::name::LATEST;
use crate::store::catalog::Glance;

impl StoreService {
    pub(super) fn names(&self, of: &NamesOf, prefix: &str) -> Answer {
        Ok(Reply::Names(match of {
            NamesOf::Repositories => {
                let all = self.engine.registry.all();
                matching(all.iter().map(|repository| &repository.name), prefix)
            }
            NamesOf::Versions(name) => {
                let repository = self.repository(name)?;
                let tags = repository.tags.keys().map(ToString::to_string);
                let latest = repository.latest().map(|_| LATEST.to_owned());
                let numbers = repository.versions.keys().rev().map(ToString::to_string);
                matching(tags.chain(latest).chain(numbers), prefix)
            }
            NamesOf::Areas(name) => {
                let areas: Vec<_> = self.repository(name)?.areas.keys().cloned().collect();
                matching(area_names(&areas), prefix)
            }
            NamesOf::Tags(name) => matching(self.repository(name)?.tags.keys(), prefix),
            NamesOf::Deleted(name) => matching(self.repository(name)?.deleted.keys(), prefix),
        }))
    }
}

/// Opens a store for names only. It takes no lock and writes nothing, so it is in nobody's way.
///
/// # Errors
/// When there is no store, or none that this user may read.
pub fn open_glance(store: &Path) -> Result<Box<dyn Service>, ControlError> {
    Ok(Box::new(GlanceService { glance: Glance::open(store).map_err(store_error)?.into() }))
}

/// Answers what is asked of names, and nothing else.
struct GlanceService {
    glance: parking_lot::Mutex<Glance>,
}

impl Service for GlanceService {
    fn call(
        &self,
        _caller: Caller,
        request: Request,
        _attachment: Attachment,
        _progress: &mut dyn FnMut(Progress),
    ) -> Result<(Reply, Attachment), ControlError> {
        let Request::Names { of, prefix } = request else {
            let message = "this store is open for names only";
            return Err(ControlError::new(ErrorKind::Usage, message));
        };
        let glance = self.glance.lock();
        let names = match of {
            NamesOf::Repositories => glance.repositories(),
            NamesOf::Versions(name) => glance.versions(&name),
            NamesOf::Areas(name) => glance.areas(&name).map(|areas| area_names(&areas)),
            NamesOf::Tags(name) => glance.tags(&name),
            NamesOf::Deleted(name) => glance.deleted(&name),
        };
        Ok((Reply::Names(matching(names.map_err(store_error)?, &prefix)), Attachment::none()))
    }
}
