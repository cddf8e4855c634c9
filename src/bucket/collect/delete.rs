//! Deleting what was sentenced.

use std::time::SystemTime;

use super::{CollectError, Collected, Collector, FoundKeys, KeyLists};
use crate::bucket::fold::BucketState;
use crate::bucket::key::{LogName, ObjectKey};
use crate::bucket::store::DELETE_KEYS_MAX;

impl Collector<'_> {
    /// Deletes what was sentenced, is still listed, and had the readers' grace. Before each batch it is looked whether
    /// mark and sentence are still in the log: a bucket that was restored from an older copy has neither.
    pub(super) fn delete_sentenced(
        &self,
        found: &FoundKeys,
        now: SystemTime,
        bucket: &BucketState,
        lists: &mut KeyLists,
        collected: &mut Collected,
    ) -> Result<(), CollectError> {
        for (mark, condemned, sentence) in Self::sentences(bucket) {
            let list = lists.load(self.store, &condemned)?;
            let left: Vec<ObjectKey> =
                list.keys().iter().filter(|key| found.contains_key(key)).copied().collect();
            if left.is_empty() {
                continue;
            }
            let written = self.store.head(&LogName::Bucket.key(sentence.seq))?;
            // A time of the future is one of a moment ago: clocks of stores differ by that much.
            let age = written.map(|it| now.duration_since(it.modified).unwrap_or_default());
            if age.is_none_or(|age| age < self.patience.grace) {
                collected.waiting += left.len() as u64;
                continue;
            }
            for keys in left.chunks(DELETE_KEYS_MAX) {
                self.go_on()?;
                self.bucket_log().seen(mark.at).verify_seen()?;
                self.bucket_log().seen(sentence).verify_seen()?;
                let texts: Vec<String> = keys.iter().map(ToString::to_string).collect();
                self.store.delete(&texts)?;
                collected.deleted += keys.len() as u64;
                let sizes = keys.iter().filter_map(|key| found.get(key));
                collected.deleted_bytes += sizes.map(|found| found.size).sum::<u64>();
            }
        }
        Ok(())
    }
}
