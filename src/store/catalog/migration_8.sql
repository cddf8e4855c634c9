-- Remotes, from which declared content comes. Settings are JSON, without passwords.
CREATE TABLE remotes(
    name TEXT NOT NULL PRIMARY KEY,
    settings TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- SHA-256 of blobs, as far as it is known: a hint, which holds nothing and goes with its blob.
CREATE TABLE digests(
    sha256 BLOB NOT NULL PRIMARY KEY CHECK(length(sha256) = 32),
    blob BLOB NOT NULL CHECK(length(blob) = 32)
) STRICT, WITHOUT ROWID;
CREATE INDEX digests_by_blob ON digests(blob);

-- What the last sync of a repository from a remote saw, as JSON, by which the next one knows that
-- nothing changed.
CREATE TABLE syncs(
    repository INTEGER NOT NULL,
    remote TEXT NOT NULL,
    state TEXT NOT NULL,
    PRIMARY KEY(repository, remote)
) STRICT, WITHOUT ROWID;
