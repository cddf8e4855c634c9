//! Contents over a store in a temporary directory, for unit tests.

use std::sync::Arc;

use super::ContentStore;
use crate::engine::pins::Pins;
use crate::engine::quota::{Account, AreaCharge};
use crate::engine::staging::area::AreaShared;
use crate::model::id::{AreaId, RepoId};
use crate::model::time::Timestamp;
use crate::store::blob_names::BlobNames;
use crate::store::catalog::Reader;
use crate::store::readers::Readers;
use crate::store::testing::TestStore;

/// When everything happens.
pub(in crate::engine) const NOW: Timestamp = Timestamp { seconds: 1, nanoseconds: 0 };

/// What the contents of a store share.
pub(in crate::engine) fn contents(store: &TestStore) -> Arc<ContentStore> {
    let layout = store.layout.clone();
    let names =
        BlobNames::new(Arc::new(Readers::new(move || Reader::open(&layout))), Arc::default());
    ContentStore::new(store, &Arc::new(names), &Arc::new(Pins::default()), 1)
}

/// An area of a repository without a quota.
pub(in crate::engine) fn area() -> Arc<AreaShared> {
    let charge = AreaCharge::new(Arc::new(Account::default()));
    Arc::new(AreaShared::new(AreaId(1), RepoId(1), true, charge, 0))
}
