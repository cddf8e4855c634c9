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
