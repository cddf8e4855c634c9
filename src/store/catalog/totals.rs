//! Sums over the whole store, kept beside what they sum.
//!
//! A transaction adds what it changes to one note, in itself; so the note is as right after a crash
//! as the rows are, and nobody reads all of them to answer how many there are. The note:
//!
//! ```text
//! "BLOBS MIB REST DAMAGED TREES"    their bytes are MIB * 2^20 + REST; DAMAGED of BLOBS
//! ```
//!
//! Absent blobs are in none of them: they take no space. Where the note is lost it stays so, and rows are counted, until a repair writes it.

use rusqlite::{Connection, OptionalExtension};

use super::connection::During;
use super::{Presence, Reader, Snapshot, Totals, Tx};
use crate::store::error::Result;

/// Key of the note.
const NOTE: &str = "totals";

/// The note as it would be if it was written now, from all rows.
const COUNTED: &str = "(SELECT count(*) || ' ' || ifnull(sum(size / 1048576), 0) || ' '
         || ifnull(sum(size % 1048576), 0) || ' ' || ifnull(sum(state = 1), 0) FROM blobs WHERE state <> 2)
    || ' ' || (SELECT count(*) FROM trees)";

/// What a transaction adds, or the sums themselves. Sums of bytes can exceed 64 bits, since files
/// have holes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sums {
    pub(super) blobs: i128,
    pub(super) bytes: i128,
    pub(super) damaged: i128,
    pub(super) trees: i128,
}

impl Sums {
    fn parse(note: &str) -> Option<Self> {
        let numbers: Vec<i128> =
            note.split(' ').map(str::parse).collect::<std::result::Result<_, _>>().ok()?;
        let [blobs, mib, rest, damaged, trees] = numbers[..] else { return None };
        let bytes = mib.checked_mul(1 << 20)?.checked_add(rest)?;
        Some(Self { blobs, bytes, damaged, trees })
    }

    fn note(self) -> String {
        let Self { blobs, bytes, damaged, trees } = self;
        format!("{blobs} {} {} {damaged} {trees}", bytes >> 20, bytes & ((1 << 20) - 1))
    }

    fn plus(self, other: Self) -> Self {
        Self {
            blobs: self.blobs + other.blobs,
            bytes: self.bytes + other.bytes,
            damaged: self.damaged + other.damaged,
            trees: self.trees + other.trees,
        }
    }

    pub(super) fn minus(self, other: Self) -> Self {
        Self {
            blobs: self.blobs - other.blobs,
            bytes: self.bytes - other.bytes,
            damaged: self.damaged - other.damaged,
            trees: self.trees - other.trees,
        }
    }

    /// What one blob adds to the sums.
    pub(super) fn of_blob(size: u64, presence: Presence) -> Self {
        let there = Self { blobs: 1, bytes: size.into(), ..Self::default() };
        match presence {
            Presence::Stored => there,
            Presence::Damaged => Self { damaged: 1, ..there },
            Presence::Absent => Self::default(),
        }
    }

    fn totals(self) -> Totals {
        let fits = |sum: i128| u64::try_from(sum.max(0)).unwrap_or(u64::MAX);
        Totals {
            blobs: fits(self.blobs),
            bytes: fits(self.bytes),
            damaged: fits(self.damaged),
            trees: fits(self.trees),
        }
    }
}

/// The sums as noted, if they are, and as all rows say: at one instant.
fn compare(connection: &Connection) -> Result<(Option<Sums>, Option<Sums>)> {
    let read = || {
        connection
            .prepare_cached(&format!(
                "SELECT (SELECT value FROM meta WHERE key = '{NOTE}'), {COUNTED}"
            ))?
            .query_row([], |row| Ok((row.get::<_, Option<String>>(0)?, row.get::<_, String>(1)?)))
    };
    let (noted, counted) = read().during("add up the store")?;
    Ok((noted.as_deref().and_then(Sums::parse), Sums::parse(&counted)))
}

impl Tx<'_> {
    /// Remembers what this transaction changes of the sums.
    pub(super) fn add_up(&self, change: Sums) {
        self.sums.set(self.sums.get().plus(change));
    }

    /// Notes what this transaction changed of the sums.
    pub(super) fn note_sums(&self) -> Result<()> {
        let change = self.sums.take();
        if change == Sums::default() {
            return Ok(());
        }
        match self.meta(NOTE)?.as_deref().and_then(Sums::parse) {
            Some(sums) => self.set_meta(NOTE, &sums.plus(change).note()),
            None => Ok(()),
        }
    }

    /// Writes the sums anew, from all rows; `false` when they were right.
    ///
    /// # Errors
    /// The database's.
    pub fn repair_totals(&self) -> Result<bool> {
        self.note_sums()?;
        let (noted, counted) = compare(&self.transaction)?;
        let Some(counted) = counted.filter(|_| noted != counted) else { return Ok(false) };
        self.set_meta(NOTE, &counted.note())?;
        Ok(true)
    }
}

impl Reader {
    /// Sums over the whole store. The cost does not depend on what is in it.
    ///
    /// # Errors
    /// The database's.
    pub fn totals(&self) -> Result<Totals> {
        if let Some(sums) = self.meta(NOTE)?.as_deref().and_then(Sums::parse) {
            return Ok(sums.totals());
        }
        Ok(compare(&self.connection)?.1.unwrap_or_default().totals())
    }
}

impl Snapshot {
    /// The sums as they are noted, if they are, and as all rows say.
    ///
    /// # Errors
    /// The database's.
    pub fn totals(&self) -> Result<(Option<Totals>, Totals)> {
        let (noted, counted) = compare(&self.connection)?;
        Ok((noted.map(Sums::totals), counted.unwrap_or_default().totals()))
    }
}

/// Removes a blob's row that has no references, with what is known of its digest and of where buckets have it; returns
/// what that changes of the sums.
pub(super) fn take_blob(connection: &Connection, hash: &[u8]) -> rusqlite::Result<Option<Sums>> {
    let taken = connection
        .prepare_cached("DELETE FROM blobs WHERE hash = ?1 AND refs = 0 RETURNING size, state")?
        .query_row([hash], |row| Ok(Sums::of_blob(row.get(0)?, Presence::of(row.get(1)?))))
        .optional()?;
    if taken.is_some() {
        connection.prepare_cached("DELETE FROM digests WHERE blob = ?1")?.execute([hash])?;
        connection.prepare_cached("DELETE FROM bucket_places WHERE blob = ?1")?.execute([hash])?;
    }
    Ok(taken.map(|sums| Sums::default().minus(sums)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::hash::{BlobHash, TreeHash};
    use crate::model::time::Timestamp;
    use crate::store::testing::TestStore;

    #[derive(Debug, Clone)]
    enum Step {
        InsertBlob(u8, u64),
        DeleteBlob(u8),
        Damage(u8, bool),
        LoseBlob(u8),
        AbsentBlob(u8, u64),
        LetBlobGo(u8),
        InsertTree(u8),
        DeleteTree(u8),
        BlankTree(u8),
    }

    fn step() -> impl Strategy<Value = Step> {
        let sizes = prop_oneof![0_u64..3 << 20, Just(i64::MAX.unsigned_abs())];
        prop_oneof![
            (0_u8..6, sizes).prop_map(|(blob, size)| Step::InsertBlob(blob, size)),
            (0_u8..6).prop_map(Step::DeleteBlob),
            (0_u8..6, any::<bool>()).prop_map(|(blob, damaged)| Step::Damage(blob, damaged)),
            (0_u8..6).prop_map(Step::LoseBlob),
            (0_u8..6, 0_u64..3 << 20).prop_map(|(blob, size)| Step::AbsentBlob(blob, size)),
            (0_u8..6).prop_map(Step::LetBlobGo),
            (0_u8..4).prop_map(Step::InsertTree),
            (0_u8..4).prop_map(Step::DeleteTree),
            (0_u8..4).prop_map(Step::BlankTree),
        ]
    }

    /// Some steps are refused; those change nothing.
    fn take(step: &Step, tx: &Tx<'_>) {
        let now = Timestamp::default();
        let (blob, tree) = (|n: &u8| BlobHash::of(&[*n]), |n: &u8| TreeHash::of(&[*n]));
        let _refused = match step {
            Step::InsertBlob(n, size) => tx.insert_blob(&blob(n), *size, 1, 0, now),
            Step::DeleteBlob(n) => tx.delete_blob(&blob(n)),
            Step::Damage(n, damaged) => tx.set_blob_damaged(&blob(n), *damaged),
            Step::LoseBlob(n) => tx.insert_lost_blob(&blob(n), 7, 0, now),
            Step::AbsentBlob(n, size) => tx.insert_absent_blob(&blob(n), *size, now).map(drop),
            Step::LetBlobGo(n) => tx.let_blob_go(&blob(n)),
            Step::InsertTree(n) => tx.insert_tree(&tree(n), &[*n], now).map(drop),
            Step::DeleteTree(n) => tx.delete_tree(&tree(n)).map(drop),
            Step::BlankTree(n) => tx.blank_tree(&tree(n), 0, now),
        };
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn the_note_says_what_counting_says(
            transactions in proptest::collection::vec(
                (proptest::collection::vec(step(), 1..9), any::<bool>()), 0..8,
            ),
        ) {
            let mut store = TestStore::new();
            for (steps, commits) in &transactions {
                let tx = store.catalog.begin().unwrap();
                steps.iter().for_each(|step| take(step, &tx));
                if *commits {
                    tx.commit().unwrap();
                } else {
                    drop(tx);
                }
                let (noted, counted) = compare(&store.catalog.connection).unwrap();
                prop_assert!(counted.is_some());
                prop_assert_eq!(noted, counted);
            }
        }
    }

    #[test]
    fn a_lost_note_is_counted_around_until_it_is_repaired() {
        let mut store = TestStore::new();
        let (blob, now) = (BlobHash::of(b"1"), Timestamp::default());
        let forget = |store: &TestStore| {
            store.catalog.connection.execute("DELETE FROM meta WHERE key = 'totals'", []).unwrap();
        };
        forget(&store);
        let tx = store.catalog.begin().unwrap();
        tx.insert_blob(&blob, 5, 1, 0, now).unwrap();
        tx.commit().unwrap();
        let reader = store.catalog.reader().unwrap();
        let one = Totals { blobs: 1, bytes: 5, damaged: 0, trees: 0 };
        assert_eq!(reader.totals().unwrap(), one);
        assert_eq!(reader.meta(NOTE).unwrap(), None, "it could only be wrong");
        let tx = store.catalog.begin().unwrap();
        tx.insert_blob(&BlobHash::of(b"2"), 6, 1, 0, now).unwrap();
        assert!(tx.repair_totals().unwrap());
        tx.commit().unwrap();
        assert_eq!(reader.meta(NOTE).unwrap().as_deref(), Some("2 0 11 0 0"));
        let tx = store.catalog.begin().unwrap();
        assert!(!tx.repair_totals().unwrap());
    }
}
