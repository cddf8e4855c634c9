-- How many rows of `names` belong to an area. A row that hides a name of the base leaves no other
-- trace: where damage takes it away, the count alone tells. Rows and count change in one transaction.
ALTER TABLE areas ADD COLUMN names INTEGER NOT NULL DEFAULT 0;
UPDATE areas SET names = (SELECT count(*) FROM names WHERE names.area = areas.id);
