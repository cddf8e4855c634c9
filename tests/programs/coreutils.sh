# find -newer, -inum, -links and -xdev, du, df, ls, stat, install, shred, split, sort, flock, mktemp, and the names
# that file managers make.
# Packages: util-linux
# Version: find --version
cd "$AREA"
mkdir a a/b
echo 1 >a/old
touch reference
echo 2 >a/b/new
touch -d '2001-01-01' a/old
[ "$(find . -type f -newer reference)" = ./a/b/new ]
[ "$(find . -newermt '2001-01-02' ! -newermt '2001-01-03' | wc -l)" -eq 0 ]
[ "$(find . -type f ! -newermt '2001-01-02')" = ./a/old ]
ln a/old a/twin
[ "$(find . -samefile a/old | wc -l)" -eq 2 ]
[ "$(find . -links 2 -type f | wc -l)" -eq 2 ]
[ "$(find "$MNT" -xdev -path "$MNT/versions/*" | wc -l)" -eq 0 ]

head -c 3000000 /dev/urandom >big
ln big big2
[ "$(du -s --apparent-size -B1 big | cut -f1)" -eq 3000000 ]
[ "$(du -sk . | cut -f1)" -lt 3100 ]
[ "$(du -skl . | cut -f1)" -gt 5800 ]
df --output=target . | tail -n 1 | grep -xF "$MNT" >/dev/null
[ "$(df --output=avail -k . | tail -n 1)" -gt 0 ]
[ "$(df --output=fstype . | tail -n 1)" = fuse.cairn ] || [ "$(df --output=fstype . | tail -n 1)" = fuse ]
[ "$(stat -f -c %l .)" -eq 255 ]

ls -laR --full-time . >/dev/null
install -m 755 -o daemon -g games big installed
[ "$(stat -c '%a %U %G' installed)" = '755 daemon games' ]
split -b 100k big part.
cat part.* | cmp - big
shred -u part.aa
sort -R -T . big -o sorted
cp big target
exec 9>lock
flock 9 true
exec 9>&-
temporary=$(mktemp -p . -d)
rmdir "$temporary"
mkfifo pipe
(echo through >pipe) &
[ "$(cat pipe)" = through ]
ln -sfn a symlink && ln -sfn b symlink
[ "$(readlink symlink)" = b ]
head -c 10M /dev/zero | tee copy1 copy2 | sha256sum >/dev/null
cmp copy1 copy2
mkdir -p .Trash-1000/files .Trash-1000/info .thumbnails/normal .DS_Store.d
mv copy1 .Trash-1000/files/
printf '[Trash Info]\nPath=copy1\n' >.Trash-1000/info/copy1.trashinfo
rm -rf .Trash-1000
chmod -R a-w a
chmod -R u+w a
rm -r a

mv "$AREA" "$MNT/tags/$REPO/"
[ "$(du -sk "$MNT/versions/$REPO/1" | cut -f1)" -gt 3000 ]
[ "$(find "$MNT/versions/$REPO/1" -samefile "$MNT/versions/$REPO/1/big" | wc -l)" -eq 2 ]
touch -d '2001-01-01' "$PLAIN/older"
[ -n "$(find "$MNT/versions/$REPO/1" -type f -newer "$PLAIN/older")" ]
