# tar (sparse, incremental, xattrs), cpio in each direction, cp --sparse and --reflink=auto.
# Packages: cpio attr
# Version: tar --version
mkdir -p "$PLAIN/in/d"
seq 100000 >"$PLAIN/in/d/numbers"
truncate -s 4M "$PLAIN/in/sparse"
printf x | dd of="$PLAIN/in/sparse" bs=1 seek=2M conv=notrunc status=none
ln "$PLAIN/in/d/numbers" "$PLAIN/in/link"
ln -s d "$PLAIN/in/symlink"
mkfifo "$PLAIN/in/fifo"
setfattr -n user.note -v text "$PLAIN/in/d/numbers"
chown -R daemon:games "$PLAIN/in/d"
touch -d '2039-01-01 00:00:00.123456789' "$PLAIN/in/d/numbers"
shape() { (cd "$1" && find . -printf '%P %y %m %u %g %n %l %s %T@\n' | grep -v '^ ' | sed 's/ 4096 / /' | sort && find . -type f -exec sha256sum {} + | sort -k2); }
files() { shape "$1" | grep -v ' d '; }

tar -C "$PLAIN/in" --format=pax --sparse --xattrs -cf "$PLAIN/in.tar" .
mkdir "$AREA/tar"
tar -C "$AREA/tar" --xattrs --numeric-owner -xf "$PLAIN/in.tar"
[ "$(files "$PLAIN/in")" = "$(files "$AREA/tar")" ]
[ "$(getfattr --absolute-names --only-values -n user.note "$AREA/tar/d/numbers")" = text ]
[ "$(tar -C "$AREA/tar" --sparse -cf - . | wc -c)" -lt 2000000 ]
tar -C "$AREA/tar" --listed-incremental="$PLAIN/snapshot" -cf "$PLAIN/level0.tar" .
echo new >"$AREA/tar/new"
tar -C "$AREA/tar" --listed-incremental="$PLAIN/snapshot" -cf "$PLAIN/level1.tar" .
tar -tf "$PLAIN/level1.tar" | grep new >/dev/null
[ "$(tar -tf "$PLAIN/level1.tar" | grep -c sparse)" -eq 0 ]
rm "$AREA/tar/new"

(cd "$PLAIN/in" && find . -depth -print0 | cpio -0 --quiet -o -H newc) >"$PLAIN/in.cpio"
mkdir "$AREA/cpio" "$AREA/passed"
(cd "$AREA/cpio" && cpio --quiet -idm --no-absolute-filenames) <"$PLAIN/in.cpio"
cmp "$PLAIN/in/d/numbers" "$AREA/cpio/d/numbers"
[ "$AREA/cpio/d/numbers" -ef "$AREA/cpio/link" ]
(cd "$PLAIN/in" && find . -depth -print0 | cpio -0 --quiet -pdml "$AREA/passed" 2>/dev/null) || true
cmp "$PLAIN/in/d/numbers" "$AREA/passed/d/numbers"

for how in --sparse=always --sparse=auto --reflink=auto; do
    cp -a "$how" "$AREA/tar" "$AREA/copy"
    [ "$(files "$PLAIN/in")" = "$(files "$AREA/copy")" ]
    [ "$(du -k "$AREA/copy/sparse" | cut -f1)" -lt 2000 ]
    rm -r "$AREA/copy"
done
! cp --reflink=always "$AREA/tar/d/numbers" "$AREA/clone" 2>/dev/null

mv "$AREA" "$MNT/tags/$REPO/"
version=$MNT/versions/$REPO/1
[ "$(files "$PLAIN/in")" = "$(files "$version/tar")" ]
[ "$(tar -C "$version/tar" --sparse -cf - . | wc -c)" -lt 2000000 ]
cp -a --sparse=auto "$version/tar" "$PLAIN/out"
[ "$(files "$PLAIN/in")" = "$(files "$PLAIN/out")" ]
[ "$(du -k "$PLAIN/out/sparse" | cut -f1)" -lt 2000 ]
