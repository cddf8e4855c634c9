INSERT INTO meta(key, value) SELECT 'totals',
    (SELECT count(*) || ' ' || ifnull(sum(size / 1048576), 0) || ' '
         || ifnull(sum(size % 1048576), 0) || ' ' || ifnull(sum(damaged <> 0), 0) FROM blobs)
    || ' ' || (SELECT count(*) FROM trees);
