# -aHAXS in and out, --inplace and --append over sealed files, --link-dest, --delete, --fake-super.
# Packages: rsync attr
# Version: rsync --version
source=$PLAIN/source
mkdir -p "$source/sub/deep"
for number in $(seq 200); do seq "$number" 300 >"$source/sub/f$number"; done
head -c 5M /dev/urandom >"$source/large"
truncate -s 40M "$source/sparse"
printf data | dd of="$source/sparse" bs=1 seek=20M conv=notrunc status=none
ln "$source/large" "$source/sub/deep/link"
ln -s ../large "$source/sub/symlink"
mkfifo "$source/fifo"
setfattr -n user.note -v text "$source/large"
chmod 6751 "$source/sub/f1"
chown daemon:games "$source/sub/f2"
# rsync takes a file of the same size and second for unchanged, so what is changed below must have another second.
touch -d '2020-01-01 00:00:00.5' "$source/large"
touch -d '1969-12-31 23:00:00.123456789' "$source/sub/f3"
touch -d '2100-01-01 00:00:00.987654321' "$source/sub"
same() {
    local difference
    difference=$(rsync -aHAXn --checksum -i --delete "$1/" "$2/")
    [ -z "$difference" ] || { echo "$1 and $2 differ: $difference"; return 1; }
}
rsync -aHAXS "$source/" "$AREA/full/"
same "$source" "$AREA/full"
[ "$(du -sk --apparent-size "$AREA/full/sparse" | cut -f1)" -ge 40000 ]
[ "$(du -sk "$AREA/full/sparse" | cut -f1)" -lt 2000 ]
rsync -aHAXS "$AREA/full/" "$PLAIN/back/"
same "$source" "$PLAIN/back"

rsync -aHAX --link-dest="$AREA/full" "$source/" "$AREA/linked/"
[ "$AREA/full/sub/f9" -ef "$AREA/linked/sub/f9" ]
same "$source" "$AREA/linked"
rm -rf "$AREA/linked"

printf changed | dd of="$source/large" bs=1 seek=3M conv=notrunc status=none
echo more >>"$source/sub/f4"
rm "$source/sub/f5"
inode=$(stat -c %i "$AREA/full/large")
rsync -aHAX --inplace --no-whole-file --delete "$source/" "$AREA/full/"
[ "$(stat -c %i "$AREA/full/large")" = "$inode" ]
same "$source" "$AREA/full"
echo more >>"$source/sub/f6"
rsync -aHAX --append-verify "$source/" "$AREA/full/"
same "$source" "$AREA/full"
rsync -aHX --fake-super "$source/" "$AREA/fake/"

mv "$AREA" "$MNT/tags/$REPO/"
same "$source" "$MNT/versions/$REPO/1/full"
mkdir "$MNT/staging/$REPO/next@latest"
rsync -aHAX --delete --delay-updates "$PLAIN/back/" "$MNT/staging/$REPO/next@latest/full/"
same "$PLAIN/back" "$MNT/staging/$REPO/next@latest/full"
