# inotify in staging tells of what other processes of this machine do.
# Packages: inotify-tools
# Version: inotifywait --help
mkdir "$AREA/watched"
inotifywait -m -r -o "$PLAIN/events" --format '%e %w%f' "$AREA/watched" 2>"$PLAIN/ready" &
watcher=$!
trap 'kill $watcher 2>/dev/null || true' EXIT
until grep -q 'Watches established' "$PLAIN/ready"; do sleep 0.05; done
cd "$AREA/watched"
echo one >file
echo two >>file
chmod 600 file
mv file renamed
ln renamed link
mkdir directory
rm renamed
cat link >/dev/null
rmdir directory
rm link
for event in 'CREATE .*/file' 'MODIFY .*/file' 'CLOSE_WRITE,CLOSE .*/file' 'ATTRIB .*/file' \
    'MOVED_FROM .*/file' 'MOVED_TO .*/renamed' 'CREATE .*/link' 'CREATE,ISDIR .*/directory' \
    'DELETE .*/renamed' 'OPEN .*/link' 'DELETE,ISDIR .*/directory' 'DELETE .*/link'; do
    for _ in $(seq 100); do
        ! grep -qE "^$event$" "$PLAIN/events" || break
        sleep 0.05
    done
    grep -qE "^$event$" "$PLAIN/events" || { echo "no event $event in:"; cat "$PLAIN/events"; exit 1; }
done
