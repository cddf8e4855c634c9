# A database with WAL (its index is a shared mapping) under two writers and a reader at once, a
# rollback journal, VACUUM, and the database in a published version.
# Packages: sqlite3
# Version: sqlite3 --version
cd "$AREA"
sqlite3 db 'PRAGMA journal_mode = wal; PRAGMA wal_autocheckpoint = 50;
    CREATE TABLE t (id INTEGER PRIMARY KEY, who TEXT, value TEXT); CREATE INDEX i ON t (value);'
writer() {
    for round in $(seq 60); do
        printf '.timeout 60000\nBEGIN IMMEDIATE;\nINSERT INTO t (who, value)
            WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 50)
            SELECT %s, hex(randomblob(40)) FROM n;\nCOMMIT;\n' "'$1-$round'"
    done | sqlite3 -bail db
}
writer one &
one=$!
writer two &
two=$!
last=0
while kill -0 $one 2>/dev/null || kill -0 $two 2>/dev/null; do
    # Whole transactions only, and never fewer than before.
    count=$(sqlite3 -cmd '.timeout 60000' db 'SELECT count(*) FROM t')
    [ $((count % 50)) -eq 0 ] && [ "$count" -ge "$last" ]
    last=$count
done
wait $one
wait $two
[ "$(sqlite3 db 'SELECT count(*) FROM t; PRAGMA integrity_check;')" = $'6000\nok' ]
sqlite3 db 'PRAGMA journal_mode = delete; UPDATE t SET value = value || id; VACUUM;'
[ "$(sqlite3 db 'PRAGMA integrity_check')" = ok ]
sqlite3 db .dump | sqlite3 copy
[ "$(sqlite3 copy 'SELECT count(*) FROM t; PRAGMA integrity_check;')" = $'6000\nok' ]
for mode in truncate persist memory off; do
    sqlite3 db "PRAGMA journal_mode = $mode; DELETE FROM t WHERE id % 7 = 0; PRAGMA integrity_check;"
done
mv "$AREA" "$MNT/tags/$REPO/"
[ "$(sqlite3 "file:$MNT/versions/$REPO/1/copy?mode=ro" 'SELECT count(*) FROM t')" = 6000 ]

# An area over the version: pages of a sealed database are changed in place, under WAL again.
next=$MNT/staging/$REPO/next@latest
mkdir "$next"
sqlite3 "$next/copy" "PRAGMA journal_mode = wal; UPDATE t SET value = 'x' WHERE id % 500 = 0; PRAGMA wal_checkpoint;
    INSERT INTO t (who) VALUES ('after');"
[ "$(sqlite3 "$next/copy" "SELECT count(*) FROM t WHERE value = 'x' OR who = 'after'; PRAGMA integrity_check;")" = $'13\nok' ]
mv "$next" "$MNT/tags/$REPO/"
# Left in WAL mode: from a read-only filesystem it is opened as immutable.
[ "$(sqlite3 "file:$MNT/versions/$REPO/2/copy?immutable=1" 'SELECT count(*) FROM t')" = 6001 ]
[ "$(sqlite3 "file:$MNT/versions/$REPO/1/copy?mode=ro" "SELECT count(*) FROM t WHERE value = 'x'")" = 0 ]
