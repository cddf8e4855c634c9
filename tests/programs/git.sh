# Clone, commit, rebase, gc and fsck in staging; clone and fsck from a published version.
# Packages: git
# Version: git --version
export HOME=$PLAIN GIT_CONFIG_NOSYSTEM=1
git config --global user.name tester
git config --global user.email tester@example.org
git config --global init.defaultBranch main
git config --global --add safe.directory '*'

git init -q "$AREA/origin"
cd "$AREA/origin"
for number in $(seq 30); do
    mkdir -p "dir$((number % 5))"
    seq "$number" 2000 >"dir$((number % 5))/file$number"
    git add -A
    git commit -qm "change $number"
done
git clone -q "$AREA/origin" "$AREA/clone"            # hardlinks the objects
git clone -q --no-hardlinks "$AREA/origin" "$PLAIN/clone"
cd "$AREA/clone"
git checkout -qb topic HEAD~10
for number in 1 2 3; do
    echo "$number" >"topic$number"
    git add -A
    git commit -qm "topic $number"
done
git rebase -q main
git worktree add -q "$AREA/worktree" HEAD~5
git stash list
git gc -q --aggressive --prune=now
git repack -qad
git fsck --full --strict
[ -z "$(git status --porcelain)" ]
[ "$(git rev-list --count HEAD)" -eq 33 ]
git -C "$PLAIN/clone" fetch -q "$AREA/clone" topic
git worktree remove "$AREA/worktree"

mv "$AREA" "$MNT/tags/$REPO/"
cd "$MNT/versions/$REPO/1/clone"
GIT_OPTIONAL_LOCKS=0 git status --porcelain
git fsck --full
git clone -q "$MNT/versions/$REPO/1/clone" "$PLAIN/from-version"
[ "$(git -C "$PLAIN/from-version" rev-list --count HEAD)" -eq 33 ]

# The same repository goes on in an area over the version.
next=$MNT/staging/$REPO/next@latest
mkdir "$next"
cd "$next/clone"
[ -z "$(git status --porcelain)" ]
echo more >more
git rm -q topic1
git add -A
git commit -qm more
git gc -q --prune=now
git fsck --full --strict
mv "$next" "$MNT/tags/$REPO/"
cd /
git -C "$MNT/versions/$REPO/2/clone" fsck --full
[ "$(git -C "$MNT/versions/$REPO/2/clone" rev-list --count HEAD)" -eq 34 ]
[ "$(git -C "$MNT/versions/$REPO/1/clone" rev-list --count HEAD)" -eq 33 ]
