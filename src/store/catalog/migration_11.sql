-- What is known of a blob's file: 0 it is stored, 1 it is damaged, 2 it is absent. An absent blob is named by trees like
-- any other, and a bucket has it.
DROP INDEX blobs_damaged;
ALTER TABLE blobs RENAME COLUMN damaged TO state;
CREATE INDEX blobs_damaged ON blobs(hash) WHERE state = 1;
CREATE INDEX blobs_absent ON blobs(hash) WHERE state = 2;

-- Packs and objects of buckets that have content, and their lengths.
CREATE TABLE bucket_objects(
    id INTEGER PRIMARY KEY,
    remote TEXT NOT NULL,
    key BLOB NOT NULL,
    bytes INTEGER NOT NULL,
    UNIQUE(remote, key)
) STRICT;

-- Where in them a blob can be had: the offset, how many bytes are stored there, and how many they are unpacked. Both
-- are null where the object is the blob, as it is.
CREATE TABLE bucket_places(
    blob BLOB NOT NULL CHECK(length(blob) = 32),
    object INTEGER NOT NULL,
    at INTEGER,
    stored INTEGER,
    size INTEGER NOT NULL,
    PRIMARY KEY(blob, object)
) STRICT, WITHOUT ROWID;
CREATE INDEX bucket_places_by_object ON bucket_places(object, at);
