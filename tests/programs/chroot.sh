# A version bound into a chroot from which programs run, also after later commits; --bind and --rbind
# of the whole mount.
# Packages: util-linux
# Version: mount --version | cut -d "(" -f 1
cd "$AREA"
mkdir -p bin lib64 lib etc dev proc
for program in sh ls cat cp sleep; do
    cp "$(command -v $program)" bin/
    ldd "$(command -v $program)" | grep -o '/[^ ]*' | while read -r library; do
        mkdir -p ".$(dirname "$library")"
        cp -n "$library" ".$library"
    done
done
echo content >etc/file
mv "$AREA" "$MNT/tags/$REPO/"

place=$PLAIN/place
mkdir "$place" "$PLAIN/bind" "$PLAIN/rbind"
sleeper=
cleanup() {
    [ -z "$sleeper" ] || kill "$sleeper" 2>/dev/null || true
    umount -R "$place" 2>/dev/null || true
    umount "$PLAIN/bind" 2>/dev/null || true
    umount -R "$PLAIN/rbind" 2>/dev/null || true
}
trap cleanup EXIT
mount --bind "$MNT/versions/$REPO/1" "$place"
[ "$(chroot "$place" /bin/cat /etc/file)" = content ]
chroot "$place" /bin/sleep 300 &
sleeper=$!
chroot "$place" /bin/sh -c 'ls -l / /bin >/dev/null; ! (: >/etc/new)'
mkdir "$MNT/staging/$REPO/b@latest"
echo other >"$MNT/staging/$REPO/b@latest/etc/file"
mv "$MNT/staging/$REPO/b@latest" "$MNT/tags/$REPO/b"
[ "$(chroot "$place" /bin/cat /etc/file)" = content ]
"$CAIRN" delete "$REPO/1" --yes 2>/dev/null || "$CAIRN" delete "$REPO/1"
# What runs goes on running, and its program is readable through it (G16).
cmp "/proc/$sleeper/exe" "$(command -v sleep)"
kill $sleeper
wait $sleeper || true
sleeper=

# A plain bind shows what is below the other mount: an empty directory.
mount --bind "$MNT" "$PLAIN/bind"
[ -z "$(ls "$PLAIN/bind/versions")" ]
[ -d "$PLAIN/bind/staging/$REPO" ]
mount --rbind "$MNT" "$PLAIN/rbind"
[ "$(cat "$PLAIN/rbind/versions/$REPO/2/etc/file")" = other ]
