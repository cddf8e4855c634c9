"""Making versions: the life of a snapshot with cairn and with what people use instead, and what a
commit into a large version costs."""

import os
import sys

from corpus import change_tree, check_same, digest, make_tree
from peers import available
from steps import Row, shell, timed


def life(world, options):
    """First version, second with 1 % of the files changed, the second ready to read, and the first
    deleted with its space back: each user's own way, in turn, in directories of their own."""
    files = 20_000 if options.full else 5_000
    steps = {
        "first": Row(f"first version of {files:,} files in", "source warm"),
        "second": Row("second version, 1 % changed", "source warm"),
        "ready": Row("second version ready to read", "warm", unit="ms"),
        "read": Row("second version read whole (tar)", "as it was left"),
        "delete": Row("first version deleted, space back", "warm"),
    }
    users = available(world)
    for number in range(min(options.rounds, 3)):
        source = world.path(f"life{number}")
        make_tree(source, files, 50, f"life{number}")
        first = digest(source)
        alive = {name: user(world, f"{name.replace(' ', '-')}-{number}") for name, user in users.items()}
        turns = list(alive.items())
        if number % 2:
            turns.reverse()
        for name, user in turns:
            world.sync()
            steps["first"].add(name, timed(user.save, source, 1))
        for name, user in turns:
            check_same(first, digest(user.open(1)), name)
        change_tree(source, 100, f"change{number}")
        second = digest(source)
        for name, user in turns:
            world.sync()
            steps["second"].add(name, timed(user.save, source, 2))
        for name, user in turns:
            steps["ready"].add(name, 1000 * timed(user.open, 2))
            steps["read"].add(name, timed(shell, "tar cf - . | wc -c", cwd=user.open(2)))
            check_same(second, digest(user.open(2)), name)
        for name, user in turns:
            world.sync()
            steps["delete"].add(name, timed(user.delete, 1))
            check_same(second, digest(user.open(2)), name)
            user.end()
        print(f"  life, round {number + 1}: done", file=sys.stderr)
    for row in steps.values():
        row.samples = {name: row.samples[name] for name in users}
    return list(steps.values())


def changed(world, options):
    """Opens an area over a large version, changes 1,000 files, commits by a rename."""
    files = 1_000_000
    store = world.store("large").fill("version", "tree", files, 1_000).mount()
    area = Row(f"open an area on {files:,} files", "warm", must=10, aim=1, unit="ms")
    commit = Row(f"commit 1,000 changed of {files:,} (mv)", "warm", must=1000, aim=100, unit="ms")
    settled = Row("the same, at once after the last write", "warm", must=1000, aim=100, unit="ms")
    delete = Row(f"delete a version of {files:,} files (answer)", "warm", must=10, aim=1, unit="ms")
    tags = store.mnt / "tags" / "tree"
    # One that takes the daemon's first look at the tree, not counted.
    for number in range(-1, options.rounds):
        wait = number % 2 == 0
        name = f"c{number}@latest"
        path = store.mnt / "staging" / "tree" / name
        world.quiet(store)
        opened = timed(path.mkdir)
        written = {}
        for index in range(1_000):
            file = path / f"d{index * (files // 1_000_000 or 1) % (files // 1_000):06}" / f"f{index:07}"
            text = f"changed {number} {index}\n"
            file.write_text(text)
            written[str(file.relative_to(path))] = text
        if wait:
            world.quiet(store)
        seconds = timed(os.rename, path, tags / name)
        version = store.mnt / "versions" / "tree" / os.readlink(tags / "latest").split("/")[-1]
        for file, text in written.items():
            check_same(text, (version / file).read_text(), file)
        if number < 0:
            continue
        area.add("cairn", opened * 1000)
        (commit if wait else settled).add("cairn", seconds * 1000)
    versions = store.cairn("versions", "tree")
    for version in versions[1:-1]:
        number = version["number"]
        delete.add("cairn", 1000 * timed(store.cairn, "delete", f"tree/{number}", "--force"))
    delete.note = "includes the start of the command, about 3 ms"
    world.remove(store)
    return [area, commit, settled, delete]


def suite(world, options):
    rows = []
    if not options.only or options.only in "large":
        rows += changed(world, options)
    if not options.only or options.only in "life":
        rows += life(world, options)
    return rows
