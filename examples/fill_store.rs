//! Makes large stores quickly, for `scripts/bench`: rows, trees and blobs are written by the
//! library itself, without a daemon or a mount.
//!
//! What it makes is an ordinary store: reference counts are exact, blobs hold what their name says.
//! It must not know how the engine works; it uses `cairn::store` and `cairn::model` only.

use std::collections::HashMap;
use std::error::Error;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use cairn::model::hash::{BlobHash, TreeHash};
use cairn::model::id::{RepoId, VersionNumber};
use cairn::model::name::{EntryName, RepoName};
use cairn::model::quota::{self, Charge};
use cairn::model::time::Timestamp;
use cairn::model::tree::{Attributes, Content, Entry, Root, Xattrs};
use cairn::model::tree_format::{self, BuiltTree, Reference, TreePage};
use cairn::model::version::Version;
use cairn::store::catalog::{Checkpointer, Reader, RepositoryRow, Tx};
use cairn::store::error::StoreError;
use cairn::store::pool::Pool;
use cairn::store::root_lock::RootLock;
use cairn::store::tree_cache::TreeCache;
use cairn::store::{Store, init};
use clap::Parser;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Blobs per transaction.
const BATCH: u64 = 16_384;

/// Pages kept to compare versions.
const TREE_CACHE_BYTES: usize = 8 << 20;

/// The WAL is copied into the catalog when it is longer.
const WAL_BYTES_MAX: u64 = 64 << 20;

/// Files per directory of the pool's versions.
const POOL_DIRECTORY_FILES: u64 = 500;

/// Distinct contents of versions that are about names.
const SHARED_BLOBS: u64 = 1_000;

/// Fills a store.
#[derive(Parser)]
struct Arguments {
    /// A store, made where it is missing.
    store: PathBuf,
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// Repository `pool`: ROUNDS versions that each own OWNED blobs, between two that own none.
    Pool {
        /// Blobs in all.
        blobs: u64,
        /// Blobs that one version alone names.
        owned: u64,
        /// Number of such versions.
        rounds: u64,
    },
    /// One version of repository NAME with many files, of few contents.
    Version {
        /// The repository.
        name: RepoName,
        /// Files in all.
        files: u64,
        /// Files per directory.
        per_directory: u64,
    },
    /// Repository NAME with many versions of 100 files, one file changed from each to the next.
    Versions {
        /// The repository.
        name: RepoName,
        /// Number of versions.
        count: u64,
    },
    /// Repositories `r1`… with one version of 100 files each.
    Repositories {
        /// Number of repositories.
        count: u64,
    },
}

fn main() -> Outcome<()> {
    let arguments = Arguments::parse();
    if !arguments.store.join("format").exists() {
        init(&arguments.store)?;
    }
    let store = Store::open(&arguments.store)?;
    let checkpointer = store.catalog.checkpointer()?;
    let layout = store.layout.clone();
    let trees = TreeCache::new(move || Reader::open(&layout), TREE_CACHE_BYTES, &Arc::default());
    let published = HashMap::new();
    let mut filler = Filler { store, checkpointer, trees, published, now: Timestamp::now() };
    match arguments.what {
        What::Pool { blobs, owned, rounds } => filler.pool(blobs, owned, rounds)?,
        What::Version { name, files, per_directory } => {
            filler.version(&name, files, per_directory)?;
        }
        What::Versions { name, count } => filler.versions(&name, count)?,
        What::Repositories { count } => filler.repositories(count)?,
    }
    filler.checkpointer.truncate()?;
    writeln!(std::io::stdout(), "filled {}", arguments.store.display())?;
    Ok(())
}

/// The content that has this number.
fn content(number: u64) -> Vec<u8> {
    format!("cairn bench {number:>12}\n").repeat(4).into_bytes()
}

struct Filler {
    store: Store,
    checkpointer: Checkpointer,
    trees: TreeCache,
    /// The newest version of each repository.
    published: HashMap<RepoId, (VersionNumber, TreeHash)>,
    now: Timestamp,
}

impl Filler {
    fn pool(&mut self, blobs: u64, owned: u64, rounds: u64) -> Outcome<()> {
        let common = blobs.checked_sub(owned * rounds).ok_or("fewer blobs than are owned")?;
        let hashes = self.blobs(0, blobs)?;
        let (common, owned_hashes) = hashes.split_at(usize::try_from(common)?);
        let mut entries = self.directories(common, POOL_DIRECTORY_FILES)?;
        let repo = self.repository(&RepoName::new(b"pool")?, rounds + 3)?;
        self.publish(repo, 1, entries.clone())?;
        let mut number = 1;
        for part in owned_hashes.chunks(usize::try_from(owned)?) {
            let inside = self.directories(part, POOL_DIRECTORY_FILES)?;
            let directory = self.directory(inside)?;
            // "owned" sorts after the other directories, which start with "d".
            entries.push(self.entry("owned", directory_content(&directory))?);
            number += 1;
            self.publish(repo, number, entries.clone())?;
            entries.pop();
        }
        self.publish(repo, number + 1, entries)
    }

    fn version(&mut self, name: &RepoName, files: u64, per_directory: u64) -> Outcome<()> {
        let shared = self.blobs(0, SHARED_BLOBS.min(files))?;
        let hashes: Vec<BlobHash> =
            shared.iter().cycle().take(usize::try_from(files)?).copied().collect();
        let entries = if per_directory >= files {
            self.files(&hashes)?
        } else {
            self.directories(&hashes, per_directory)?
        };
        let repo = self.repository(name, 2)?;
        self.publish(repo, 1, entries)
    }

    fn versions(&mut self, name: &RepoName, count: u64) -> Outcome<()> {
        let shared = self.blobs(0, SHARED_BLOBS)?;
        let repo = self.repository(name, count + 1)?;
        let mut hashes: Vec<BlobHash> = shared[..100].to_vec();
        for number in 1..=count {
            let at = usize::try_from(number)?;
            hashes[at % 100] = shared[at / 100 % shared.len()];
            let entries = self.files(&hashes)?;
            self.publish(repo, number, entries)?;
        }
        Ok(())
    }

    fn repositories(&mut self, count: u64) -> Outcome<()> {
        let shared = self.blobs(0, SHARED_BLOBS)?;
        let entries = self.files(&shared[..100])?;
        for number in 1..=count {
            let repo = self.repository(&RepoName::new(format!("r{number}").as_bytes())?, 2)?;
            self.publish(repo, 1, entries.clone())?;
        }
        Ok(())
    }

    /// Stores the contents of these numbers, in transactions of [`BATCH`].
    fn blobs(&mut self, first: u64, count: u64) -> Outcome<Vec<BlobHash>> {
        let mut hashes = Vec::with_capacity(usize::try_from(count)?);
        let mut next = first;
        let end = first + count;
        while next < end {
            let batch_end = end.min(next + BATCH);
            let batch: Vec<(BlobHash, Vec<u8>)> =
                (next..batch_end).map(content).map(|data| (BlobHash::of(&data), data)).collect();
            hashes.extend(batch.iter().map(|(hash, _)| *hash));
            self.store_batch(batch)?;
            next = batch_end;
        }
        Ok(hashes)
    }

    /// Files by two threads, one per half of the hashes, then rows in the order of the index.
    fn store_batch(&mut self, mut batch: Vec<(BlobHash, Vec<u8>)>) -> Outcome<()> {
        batch.sort_unstable();
        let (low, high) = batch.split_at(batch.len() / 2);
        let (pool, lock) = (&*self.store.pool, &self.store.lock);
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| write_files(pool, lock, low));
            write_files(pool, lock, high)?;
            writer.join().unwrap_or(Err(StoreError::Io {
                action: "write blobs in",
                path: "pool".into(),
                source: std::io::Error::other("a thread panicked"),
            }))
        })?;
        let now = self.now;
        self.write(|tx| {
            for (hash, data) in &batch {
                if tx.blob(hash)?.is_none() {
                    tx.insert_blob(hash, data.len() as u64, 0, 0, now)?;
                }
            }
            Ok(())
        })
    }

    /// Directories `d000001`… of that many files each.
    fn directories(&mut self, hashes: &[BlobHash], files: u64) -> Outcome<Vec<Entry>> {
        let mut entries = Vec::new();
        for (number, part) in hashes.chunks(usize::try_from(files)?).enumerate() {
            let inside = self.files(part)?;
            let built = self.directory(inside)?;
            entries.push(self.entry(&format!("d{number:06}"), directory_content(&built))?);
        }
        Ok(entries)
    }

    fn files(&self, hashes: &[BlobHash]) -> Outcome<Vec<Entry>> {
        let size = content(0).len() as u64;
        let file = |(number, hash): (usize, &BlobHash)| {
            let content = Content::File { size, blob: Some((*hash).into()) };
            self.entry(&format!("f{number:07}"), content)
        };
        hashes.iter().enumerate().map(file).collect()
    }

    fn entry(&self, name: &str, content: Content) -> Outcome<Entry> {
        let mode = if matches!(content, Content::Directory { .. }) { 0o755 } else { 0o644 };
        let name = EntryName::new(name.as_bytes())?;
        Ok(Entry { name, attributes: self.attributes(mode), link_group: None, content })
    }

    fn attributes(&self, mode: u16) -> Attributes {
        Attributes { mode, uid: 0, gid: 0, mtime: self.now, xattrs: Xattrs::new() }
    }

    /// Stores a directory's pages; each adds the references that it holds.
    fn directory(&mut self, entries: Vec<Entry>) -> Outcome<BuiltTree> {
        let built = tree_format::build(entries)?;
        let now = self.now;
        self.write(|tx| {
            for (hash, bytes) in &built.pages {
                if tx.insert_tree(hash, bytes, now)? {
                    add_references(tx, bytes)?;
                }
            }
            Ok(())
        })?;
        Ok(built)
    }

    fn repository(&mut self, name: &RepoName, next: u64) -> Outcome<RepoId> {
        let row = RepositoryRow {
            id: RepoId(0),
            name: name.clone(),
            mode: 0o755,
            uid: 0,
            gid: 0,
            created: self.now,
            changed: self.now,
            next_number: VersionNumber(next),
            policy: None,
            quota: cairn::model::quota::Quota::default(),
        };
        let mut id = RepoId(0);
        self.write(|tx| {
            id = tx.insert_repository(&row)?;
            Ok(())
        })?;
        Ok(id)
    }

    fn publish(&mut self, repo: RepoId, number: u64, entries: Vec<Entry>) -> Outcome<()> {
        let built = self.directory(entries)?;
        let root =
            Root { attributes: self.attributes(0o755), tree: built.root, summary: built.summary };
        let version = Version {
            number: VersionNumber(number),
            hash: tree_format::root_hash(&root),
            root,
            created: self.now,
            base: None,
            name: None,
            author: "bench".to_owned(),
            message: String::new(),
            released: false,
            locked: false,
        };
        let tree = version.root.tree;
        let before = self.published.insert(repo, (version.number, tree));
        let usage = quota::added(&self.trees, before.as_ref().map(|(_, tree)| tree), &tree)?;
        let base = before.map_or(VersionNumber(0), |(number, _)| number);
        self.write(|tx| {
            tx.insert_version(repo, &version)?;
            tx.set_charge(repo, version.number, &Charge { base, usage })?;
            tx.add_tree_refs(&tree, 1).map(drop)
        })
    }

    fn write(&mut self, body: impl FnOnce(&Tx<'_>) -> Result<(), StoreError>) -> Outcome<()> {
        let tx = self.store.catalog.begin()?;
        body(&tx)?;
        tx.commit()?;
        if self.checkpointer.wal_bytes()? > WAL_BYTES_MAX {
            self.checkpointer.passive()?;
        }
        Ok(())
    }
}

fn directory_content(built: &BuiltTree) -> Content {
    Content::Directory { tree: built.root, summary: built.summary }
}

fn write_files(
    pool: &Pool,
    lock: &RootLock,
    blobs: &[(BlobHash, Vec<u8>)],
) -> Result<(), StoreError> {
    for (hash, data) in blobs {
        let incoming = pool.write_incoming(data, hash)?;
        pool.adopt(lock, incoming, hash)?;
    }
    Ok(())
}

fn add_references(tx: &Tx<'_>, bytes: &[u8]) -> Result<(), StoreError> {
    let page = TreePage::parse(bytes.to_vec())?;
    for reference in page.references() {
        match reference {
            Reference::Blob(name) => tx.add_content_refs(&name, 1)?,
            Reference::Tree(tree) => tx.add_tree_refs(&tree, 1).map(drop)?,
        };
    }
    Ok(())
}
