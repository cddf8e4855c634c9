# overlayfs with a version as its lower layer; staging is refused as upper layer, clearly.
# Packages: util-linux
# Version: uname -sr
cd "$AREA"
mkdir -p d/sub
seq 1000 >d/file
echo old >d/sub/other
ln d/file d/link
mv "$AREA" "$MNT/tags/$REPO/"
merged=$PLAIN/merged
# The plain directory may be on an overlay itself (a container): the upper layer is memory then.
mkdir -p "$merged" "$PLAIN/memory"
mount -t tmpfs tmpfs "$PLAIN/memory"
mkdir "$PLAIN/memory/upper" "$PLAIN/memory/work"
cleanup() {
    umount "$merged" 2>/dev/null || true
    umount "$PLAIN/memory" 2>/dev/null || true
}
trap cleanup EXIT
mount -t overlay overlay -o "lowerdir=$MNT/versions/$REPO/1,upperdir=$PLAIN/memory/upper,workdir=$PLAIN/memory/work" "$merged"
cmp "$merged/d/file" "$MNT/versions/$REPO/1/d/file"
echo appended >>"$merged/d/file"
[ "$(tail -n 1 "$merged/d/file")" = appended ]
rm -r "$merged/d/sub"
mkdir "$merged/d/sub"
[ -z "$(ls -A "$merged/d/sub")" ]
mv "$merged/d/file" "$merged/moved"
chmod 600 "$merged/d/link"
find "$merged" -type f -exec cat {} + >/dev/null
[ "$(cat "$MNT/versions/$REPO/1/d/sub/other")" = old ]
[ "$(stat -c %a "$MNT/versions/$REPO/1/d/link")" != 600 ]
umount "$merged"

mkdir -p "$MNT/staging/$REPO/up/upper" "$MNT/staging/$REPO/up/work"
if mount -t overlay overlay -o "lowerdir=$MNT/versions/$REPO/1,upperdir=$MNT/staging/$REPO/up/upper,workdir=$MNT/staging/$REPO/up/work" "$merged" 2>/dev/null; then
    echo "staging is an upper layer: say so in tests/programs/README.md"
    exit 1
fi
