-- Where content can be had that a remote declared: its path in the remote, and its size.
CREATE TABLE sources(
    sha256 BLOB NOT NULL CHECK(length(sha256) = 32),
    remote TEXT NOT NULL,
    locator BLOB NOT NULL,
    size INTEGER NOT NULL,
    PRIMARY KEY(sha256, remote, locator)
) STRICT, WITHOUT ROWID;
CREATE INDEX sources_by_remote ON sources(remote);

-- Content that is not in the store.
CREATE INDEX content_names_absent ON content_names(sha256) WHERE blob IS NULL;
