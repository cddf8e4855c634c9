CREATE TABLE areas(
    id INTEGER PRIMARY KEY,
    repository INTEGER NOT NULL,
    name TEXT NOT NULL,
    state INTEGER NOT NULL,
    base INTEGER,
    base_root BLOB,
    created_s INTEGER NOT NULL,
    created_ns INTEGER NOT NULL,
    message TEXT NOT NULL,
    author TEXT NOT NULL,
    on_stale TEXT NOT NULL
, changed_s INTEGER NOT NULL DEFAULT 0, names INTEGER NOT NULL DEFAULT 0) STRICT;
CREATE TABLE blobs(
    hash BLOB NOT NULL PRIMARY KEY,
    size INTEGER NOT NULL,
    refs INTEGER NOT NULL CHECK(refs >= 0),
    interest INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    state INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE bucket_objects(
    id INTEGER PRIMARY KEY,
    remote TEXT NOT NULL,
    key BLOB NOT NULL,
    bytes INTEGER NOT NULL,
    UNIQUE(remote, key)
) STRICT;
CREATE TABLE bucket_places(
    blob BLOB NOT NULL CHECK(length(blob) = 32),
    object INTEGER NOT NULL,
    at INTEGER,
    stored INTEGER,
    size INTEGER NOT NULL,
    PRIMARY KEY(blob, object)
) STRICT, WITHOUT ROWID;
CREATE TABLE content_names(
    sha256 BLOB NOT NULL PRIMARY KEY CHECK(length(sha256) = 32),
    refs INTEGER NOT NULL CHECK(refs > 0),
    blob BLOB CHECK(blob IS NULL OR length(blob) = 32)
) STRICT, WITHOUT ROWID;
CREATE TABLE deleted_repositories(
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    mode INTEGER NOT NULL,
    uid INTEGER NOT NULL,
    gid INTEGER NOT NULL,
    created_s INTEGER NOT NULL,
    created_ns INTEGER NOT NULL,
    changed_s INTEGER NOT NULL,
    changed_ns INTEGER NOT NULL,
    next_number INTEGER NOT NULL,
    policy TEXT,
    quota_bytes INTEGER,
    quota_files INTEGER,
    deleted_s INTEGER NOT NULL
) STRICT;
CREATE TABLE digests(
    sha256 BLOB NOT NULL PRIMARY KEY CHECK(length(sha256) = 32),
    blob BLOB NOT NULL CHECK(length(blob) = 32)
) STRICT, WITHOUT ROWID;
CREATE TABLE doomed(
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    tree BLOB,
    area INTEGER,
    CHECK((tree IS NULL) <> (area IS NULL))
) STRICT;
CREATE TABLE meta(
    key TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE names(
    area INTEGER NOT NULL,
    parent INTEGER NOT NULL,
    name BLOB NOT NULL,
    node INTEGER,
    PRIMARY KEY(area, parent, name)
) STRICT, WITHOUT ROWID;
CREATE TABLE nodes(
    area INTEGER NOT NULL,
    id INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    mode INTEGER NOT NULL,
    uid INTEGER NOT NULL,
    gid INTEGER NOT NULL,
    mtime_s INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    ctime_s INTEGER NOT NULL,
    ctime_ns INTEGER NOT NULL,
    size INTEGER NOT NULL,
    data_kind INTEGER NOT NULL,
    data ANY,
    xattrs BLOB, charged INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY(area, id)
) STRICT, WITHOUT ROWID;
CREATE TABLE remotes(
    name TEXT NOT NULL PRIMARY KEY,
    settings TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE repositories(
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    mode INTEGER NOT NULL,
    uid INTEGER NOT NULL,
    gid INTEGER NOT NULL,
    created_s INTEGER NOT NULL,
    created_ns INTEGER NOT NULL,
    changed_s INTEGER NOT NULL,
    changed_ns INTEGER NOT NULL,
    next_number INTEGER NOT NULL
, policy TEXT, quota_bytes INTEGER, quota_files INTEGER) STRICT;
CREATE TABLE sources(
    sha256 BLOB NOT NULL CHECK(length(sha256) = 32),
    remote TEXT NOT NULL,
    locator BLOB NOT NULL,
    size INTEGER NOT NULL,
    PRIMARY KEY(sha256, remote, locator)
) STRICT, WITHOUT ROWID;
CREATE TABLE sqlite_sequence(name,seq);
CREATE TABLE syncs(
    repository INTEGER NOT NULL,
    remote TEXT NOT NULL,
    state TEXT NOT NULL,
    PRIMARY KEY(repository, remote)
) STRICT, WITHOUT ROWID;
CREATE TABLE tags(
    repository INTEGER NOT NULL,
    name TEXT NOT NULL,
    number INTEGER NOT NULL,
    protects INTEGER NOT NULL,
    created_s INTEGER NOT NULL,
    created_ns INTEGER NOT NULL,
    PRIMARY KEY(repository, name)
) STRICT, WITHOUT ROWID;
CREATE TABLE tree_pages(
    page INTEGER PRIMARY KEY,
    data BLOB NOT NULL
) STRICT;
CREATE TABLE trees(
    hash BLOB NOT NULL PRIMARY KEY,
    refs INTEGER NOT NULL CHECK(refs >= 0),
    interest INTEGER NOT NULL,
    page INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE versions(
    repository INTEGER NOT NULL,
    number INTEGER NOT NULL,
    root BLOB NOT NULL,
    hash BLOB NOT NULL,
    created_s INTEGER NOT NULL,
    created_ns INTEGER NOT NULL,
    base INTEGER,
    name TEXT,
    author TEXT NOT NULL,
    message TEXT NOT NULL,
    released INTEGER NOT NULL,
    locked INTEGER NOT NULL, charge_base INTEGER, charge_bytes INTEGER NOT NULL DEFAULT 0, charge_files INTEGER NOT NULL DEFAULT 0, deleted_s INTEGER,
    PRIMARY KEY(repository, number)
) STRICT;
CREATE UNIQUE INDEX areas_open ON areas(repository, name) WHERE state = 0;
CREATE INDEX blobs_absent ON blobs(hash) WHERE state = 2;
CREATE INDEX blobs_damaged ON blobs(hash) WHERE state = 1;
CREATE INDEX blobs_orphaned ON blobs(interest) WHERE refs = 0;
CREATE INDEX blobs_unsettled ON blobs(epoch) WHERE epoch > 0;
CREATE INDEX bucket_places_by_object ON bucket_places(object, at);
CREATE INDEX content_names_absent ON content_names(sha256) WHERE blob IS NULL;
CREATE INDEX digests_by_blob ON digests(blob);
CREATE INDEX sources_by_remote ON sources(remote);
CREATE INDEX trees_orphaned ON trees(interest) WHERE refs = 0;
CREATE INDEX versions_deleted ON versions(deleted_s) WHERE deleted_s IS NOT NULL;
