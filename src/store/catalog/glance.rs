//! Names in the catalog of a store that nobody has open, for the completion of a command line.
//!
//! The file is read as if it could not change: without locks, and without the WAL, whose changes are
//! not seen where a daemon was killed. Nothing is written, so no command that begins meanwhile meets it.
//! Where one does begin, names may be wrong or missing; nothing but a suggestion depends on them.

use std::path::Path;

use rusqlite::{Connection, OpenFlags, ToSql};

use super::connection::During;
use crate::model::name::{AreaName, LATEST, RepoName};
use crate::store::error::{Result, StoreError};
use crate::store::format;
use crate::store::layout::{CATALOG, Layout};

/// How many of the newest versions are looked at.
const VERSIONS_MAX: i64 = 1000;

/// The catalog of a store that is not opened.
#[derive(Debug)]
pub struct Glance {
    connection: Connection,
}

impl Glance {
    /// Looks at the catalog of the store at `path`.
    ///
    /// # Errors
    /// When it is no store, or one of somebody else.
    pub fn open(path: &Path) -> Result<Self> {
        let layout = Layout::open(path).map_err(StoreError::io("open", path))?;
        format::check(&layout)?;
        format::check_private(&layout)?;
        let place = layout.place().map_err(StoreError::io("find", path))?;
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
            | OpenFlags::SQLITE_OPEN_URI
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(uri(&place.join(CATALOG)), flags);
        Ok(Self { connection: connection.during("look at the database")? })
    }

    /// All repositories.
    ///
    /// # Errors
    /// Those of the database.
    pub fn repositories(&self) -> Result<Vec<String>> {
        self.column("SELECT name FROM repositories ORDER BY name", &[])
    }

    /// What versions of a repository may be called: tags, `latest`, numbers, newest first.
    ///
    /// # Errors
    /// Those of the database.
    pub fn versions(&self, repository: &RepoName) -> Result<Vec<String>> {
        let numbers = self.column(
            "SELECT CAST(v.number AS TEXT) FROM versions v JOIN repositories r ON v.repository = r.id
             WHERE r.name = ?1 AND v.deleted_s IS NULL ORDER BY v.number DESC LIMIT ?2",
            &[&repository.as_str(), &VERSIONS_MAX],
        )?;
        let latest = (!numbers.is_empty()).then(|| LATEST.to_owned());
        Ok(self.tags(repository)?.into_iter().chain(latest).chain(numbers).collect())
    }

    /// Tags of a repository.
    ///
    /// # Errors
    /// Those of the database.
    pub fn tags(&self, repository: &RepoName) -> Result<Vec<String>> {
        self.column(
            "SELECT t.name FROM tags t JOIN repositories r ON t.repository = r.id
             WHERE r.name = ?1 ORDER BY t.name",
            &[&repository.as_str()],
        )
    }

    /// Open staging areas of a repository.
    ///
    /// # Errors
    /// Those of the database.
    pub fn areas(&self, repository: &RepoName) -> Result<Vec<AreaName>> {
        let names = self.column(
            "SELECT a.name FROM areas a JOIN repositories r ON a.repository = r.id
             WHERE r.name = ?1 AND a.state = ?2 ORDER BY a.name",
            &[&repository.as_str(), &super::areas::OPEN],
        )?;
        Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
    }

    /// Numbers of deleted versions of a repository that can be brought back.
    ///
    /// # Errors
    /// Those of the database.
    pub fn deleted(&self, repository: &RepoName) -> Result<Vec<String>> {
        self.column(
            "SELECT CAST(v.number AS TEXT) FROM versions v JOIN repositories r ON v.repository = r.id
             WHERE r.name = ?1 AND v.deleted_s IS NOT NULL ORDER BY v.number LIMIT ?2",
            &[&repository.as_str(), &VERSIONS_MAX],
        )
    }

    fn column(&self, query: &str, parameters: &[&dyn ToSql]) -> Result<Vec<String>> {
        let names = || {
            let mut statement = self.connection.prepare(query)?;
            statement
                .query_map(parameters, |row| row.get(0))?
                .collect::<rusqlite::Result<Vec<String>>>()
        };
        names().during("read names")
    }
}

/// The URI of a file that SQLite shall take for one that does not change.
fn uri(path: &Path) -> String {
    let mut uri = "file:".to_owned();
    for byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'/' | b'-' | b'_' | b'.' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => {
                uri.push(char::from(*byte));
            }
            _ => uri.push_str(&format!("%{byte:02X}")),
        }
    }
    uri + "?immutable=1"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_path_becomes_a_uri() {
        assert_eq!(uri(Path::new("/s/a b?%#")), "file:/s/a%20b%3F%25%23?immutable=1");
    }
}
