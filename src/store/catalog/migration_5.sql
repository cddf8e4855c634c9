-- A start loads the blobs that are marked damaged: nobody is served their content.
CREATE INDEX blobs_damaged ON blobs(hash) WHERE damaged <> 0;
DELETE FROM meta WHERE key = 'damage';
