-- Trees may have pages of version 2 from here on. Nothing else changes; earlier releases, which
-- would take those pages for damage, refuse the store.
SELECT 1;
