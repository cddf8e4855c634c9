ALTER TABLE repositories ADD COLUMN policy TEXT;
ALTER TABLE repositories ADD COLUMN quota_bytes INTEGER;
ALTER TABLE repositories ADD COLUMN quota_files INTEGER;

ALTER TABLE versions ADD COLUMN charge_base INTEGER;
ALTER TABLE versions ADD COLUMN charge_bytes INTEGER NOT NULL DEFAULT 0;
ALTER TABLE versions ADD COLUMN charge_files INTEGER NOT NULL DEFAULT 0;
ALTER TABLE versions ADD COLUMN deleted_s INTEGER;
CREATE INDEX versions_deleted ON versions(deleted_s) WHERE deleted_s IS NOT NULL;

ALTER TABLE nodes ADD COLUMN charged INTEGER NOT NULL DEFAULT 0;
UPDATE nodes SET charged = 1 WHERE kind <> 1;

ALTER TABLE areas ADD COLUMN changed_s INTEGER NOT NULL DEFAULT 0;
UPDATE areas SET changed_s = created_s;
