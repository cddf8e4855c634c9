-- Names of content that a remote declared by SHA-256: how many entries of trees and files of areas have that
-- name. A name whose content is stored holds one reference on that blob, however many have the name.
CREATE TABLE content_names(
    sha256 BLOB NOT NULL PRIMARY KEY CHECK(length(sha256) = 32),
    refs INTEGER NOT NULL CHECK(refs > 0),
    blob BLOB CHECK(blob IS NULL OR length(blob) = 32)
) STRICT, WITHOUT ROWID;
