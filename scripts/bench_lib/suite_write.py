"""Writing into staging: small files by the usual programs, a large file, imports without a mount.

Every round has content of its own, so that cairn never finds it in the store already (but where
the step says so). Sources are in the page cache; nothing dirty waits when a step begins.
"""

import os
import shutil
import sys
import time

from corpus import MEBIBYTE, check_same, digest, make_file, make_tree, stamp
from steps import Row, Wrong, contest, run, shell

STATE = "source warm"


class Trees:
    """One corpus per round, shared by the contestants, with its archive and its digest."""

    def __init__(self, world, name, files):
        self.world, self.name, self.files = world, name, files
        self.made = {}

    def of(self, number):
        if number not in self.made:
            path = self.world.path(f"corpus/{self.name}{number}")
            make_tree(path, self.files, 25 if self.files <= 5_000 else 50, f"{self.name}{number}")
            run(["tar", "cf", f"{path}.tar", "-C", path, "."])
            self.made[number] = (path, digest(path))
        return self.made[number]

    def drop(self):
        shutil.rmtree(self.world.path("corpus"))
        self.made = {}


def small_files(world, store, trees, row, arguments, rounds, peers, times):
    """Runs a program that fills a directory from a corpus, on each filesystem."""

    def into(directory_of, used):
        def prepare(number):
            source, expected = trees.of(number)
            target = directory_of(f"{row.name.split()[0]}{number}{trees.name}")
            world.quiet(used)
            words = [str(word).format(source=source, target=target) for word in arguments]

            def check():
                expected_now = digest(source, times=True) if times else expected
                check_same(expected_now, digest(target, times=times), row.name)

            return lambda: run(words), check

        return prepare

    def staging(name):
        return store.area("bench", name)

    contestants = {
        "native": into(lambda name: world.fresh(f"native/{name}"), None),
        "cairn": into(staging, store),
    }
    for peer, mount in peers.items():
        def beside(name, mount=mount):
            path = mount / name
            path.mkdir()
            return path
        contestants[peer] = into(beside, None)
    contest(row, rounds, contestants)
    trees.drop()
    return row


def large_file(world, store, rounds, size):
    """A copy until its content is hashed and known: on the native filesystem there is no hash."""
    source = world.path("large")
    make_file(source, size, "large")
    mebibytes = size // MEBIBYTE
    closed = Row(f"cp {mebibytes} MiB, until cp ends", STATE)
    sealed = Row(f"cp {mebibytes} MiB, until hashed", STATE, must=2.2, aim=1.4)
    serial = [0]

    def native(number):
        target = world.path(f"native/large{number}")
        world.quiet(store)

        def check():
            run(["cmp", source, target])
            os.unlink(target)

        return lambda: run(["cp", source, target]), check

    def cairn_with(wait):
        def prepare(number):
            serial[0] += 1
            stamp(source, serial[0])
            target = store.area("bench", f"large{serial[0]}") / "file"
            world.quiet(store)

            def step():
                run(["cp", source, target])
                if wait:
                    wait_until_hashed(target)

            def check():
                run(["cmp", source, target])
                os.unlink(target)
                store.settle()
                # Its space, before the next round takes as much.
                store.cairn("gc", "--wait", "--protect", "0")

            return step, check

        return prepare

    contest(closed, rounds, {"native": native, "cairn": cairn_with(False)}, 2048)
    contest(sealed, rounds, {"native": native, "cairn": cairn_with(True)}, 2048)
    os.unlink(source)
    return [closed, sealed]


def wait_until_hashed(path):
    while True:
        try:
            return os.getxattr(path, "user.cairn.hash")
        except OSError:
            time.sleep(0.002)


# Seconds after which a change is old enough to be remembered (`stat_cache`'s SETTLED_SECONDS and one more).
SETTLED = 3.1

IMPORTS = [
    # What is imported, and the limits against `cp -r` of the same tree.
    ("new content", 1.2, 0.6),
    ("known content", 0.3, 0.3),
    ("unchanged since the last import", None, None),
]


def native(world, store, trees, words, check=digest):
    """A program that makes `{target}` of a corpus; with `synced`, until it is on disk as well."""

    def into(synced):
        def prepare(number):
            source, expected = trees.of(number)
            target = world.path(f"native/{trees.name}{number}{synced}")
            text = words.format(source=source, target=target)
            text += f" && sync --file-system {world.directory}" if synced else ""
            world.quiet(store)

            def verify():
                check_same(expected, check(target), text)

            return lambda: shell(text), verify

        return prepare

    return {"native": into(""), "native, synced": into("synced")}


def imports(world, store, rounds, files):
    """`cairn import` beside `cp -r` of the same tree: new, known to another repository, unchanged.

    An import is on disk when it ends; `cp -r` is not, so what it takes with a sync stands beside it.
    """
    rows = []
    for what, must, aim in IMPORTS:
        row = Row(f"import of {files:,} files, {what}, against cp -r", STATE, must, aim)
        label = what.split()[0]
        trees = Trees(world, f"import-{label}", files)

        def cairn(number, trees=trees, label=label):
            source, expected = trees.of(number)
            repository = f"{label}{number}"
            words = ["import", "--mirror", source, repository]
            # Where the command remembers what it read.
            os.environ["XDG_CACHE_HOME"] = str(world.path(f"cache/{label}{number}"))
            if label == "unchanged":
                time.sleep(SETTLED)
                store.cairn(*words)
            if label == "known":
                store.cairn("import", source, f"{label}-first{number}")
                os.environ["XDG_CACHE_HOME"] = str(world.path(f"cache/{label}-again{number}"))
            world.quiet(store)

            def check():
                check_same(expected, digest(store.version(repository, 1)), "import")

            return lambda: store.cairn(*words), check

        beside = native(world, store, trees, "cp -r {source} {target}")
        rows.append(contest(row, rounds, {**beside, "cairn": cairn}))
        trees.drop()
    return rows


def archives(world, store, rounds, files):
    """Tar archives in and out, and a directory out, beside tar and cp."""
    trees = Trees(world, "import-tar", files)

    def tar_in(number):
        source, expected = trees.of(number)
        repository = f"tar{number}"
        words = ["import", "--mirror", f"{source}.tar", repository]
        world.quiet(store)

        def check():
            check_same(expected, digest(store.version(repository, 1)), "import of an archive")

        return lambda: store.cairn(*words), check

    def out(ending, check):
        def prepare(number):
            _, expected = trees.of(number)
            target = world.path(f"exports/{number}{ending}")
            world.quiet(store)

            def verify():
                check_same(expected, check(target), "export")

            return lambda: store.cairn("export", f"tar{number}/1", target), verify

        return prepare

    def unpacked(archive):
        target = world.fresh(f"unpacked/{archive.name}")
        run(["tar", "xf", archive, "-C", target])
        return digest(target)

    into = native(world, store, trees, "mkdir {target} && tar xf {source}.tar -C {target}")
    beside = native(world, store, trees, "cp -r {source} {target}-copy", lambda path: digest(f"{path}-copy"))
    packed = native(
        world, store, trees, "tar cf {target}.tar -C {source} .",
        lambda path: unpacked(path.with_name(path.name + ".tar")),
    )
    packed = {"native": packed["native"]}
    plain = {"native": beside["native"]}
    rows = [
        contest(Row(f"{what} of {files:,} files, against {other}", STATE), rounds, {**others, "cairn": ours})
        for what, other, others, ours in (
            ("import of a tar", "tar x", into, tar_in),
            ("export", "cp -r", plain, out("", digest)),
            ("export to a tar", "tar c", packed, out(".tar", unpacked)),
        )
    ]
    trees.drop()
    return rows


def fuse_peers(world):
    """FUSE filesystems that do nothing but pass on: what FUSE alone costs."""
    peers = {}
    for program in ("bindfs", "fuse-overlayfs"):
        if world.has(program):
            target = world.fresh(f"{program}.mnt")
            world.fuse_mount(program, world.fresh(f"{program}.source"), target)
            peers[program] = target
    return peers


def programs(world, options, steps):
    files = 20_000 if options.full else 5_000
    store = world.store("store").init().mount()
    world.fresh("native")
    peers = fuse_peers(world)
    rows = []
    for name, must, aim, arguments, times in steps:
        row = Row(f"{name} of {files:,} files", STATE, must, aim)
        if options.only and options.only not in row.name:
            continue
        trees = Trees(world, name.split()[0], files)
        rows.append(small_files(world, store, trees, row, arguments, options.rounds, peers, times))
    if not options.only or options.only in "cp large":
        rows += large_file(world, store, options.rounds, 512 * MEBIBYTE)
    if not options.only or options.only in "import":
        rows += imports(world, store, options.rounds, files)
    if not options.only or options.only in "tar export":
        rows += archives(world, store, options.rounds, files)
    for program, change in ATTRIBUTES:
        # Only root gives files away.
        allowed = program == "chmod -R" or os.geteuid() == 0
        if allowed and (not options.only or options.only in program):
            rows.append(attributes(world, store, program, change, options.rounds, files))
    return rows


# What changes the attributes of all files of a tree, never to what they are already: the program, the
# change that a round makes, and what `find` is told to find the files that lack it.
ATTRIBUTES = [
    ("chmod -R", lambda number: ("o+r", "! -perm -o=r") if number % 2 else ("o-r", "-perm -o=r")),
    ("chown -R", lambda number: (str(1000 + number), f"! -uid {1000 + number}")),
]


def attributes(world, store, program, change, rounds, files):
    """Changes an attribute of all files of a tree that is hashed and that somebody has looked at."""
    row = Row(f"{program} of {files:,} files", "attributes warm")
    source = world.path("attributes")
    make_tree(source, files, 50, program)
    places = {"native": world.fresh("native/attributes"), "cairn": store.area("bench", program[:5])}
    for place in places.values():
        run(["cp", "-r", f"{source}/.", place])

    def within(place):
        def prepare(number):
            world.quiet(store)
            run(["du", "-a", place])
            wanted, lacking = change(number)

            def check():
                if run(["find", place, "-type", "f", *lacking.split()]):
                    raise Wrong(f"{row.name}: files of {place} were left out")

            return lambda: run([*program.split(), wanted, place]), check

        return prepare

    contest(row, rounds, {name: within(place) for name, place in places.items()})
    for path in (source, *places.values()):
        shutil.rmtree(path)
    return row


# Gives each path from the root on, as most programs do that are not tools for files.
COPYTREE = "import shutil, sys; shutil.copytree(sys.argv[1], sys.argv[2], dirs_exist_ok=True)"

PROGRAMS = [
    ("cp -r", 4.5, 1.8, ["cp", "-r", "{source}/.", "{target}/"], False),
    ("rsync -a", 6, 2.7, ["rsync", "-a", "{source}/", "{target}/"], True),
    ("tar x", 5.5, 1.8, ["tar", "xf", "{source}.tar", "-C", "{target}"], False),
    ("copytree", None, None, [sys.executable, "-c", COPYTREE, "{source}", "{target}"], False),
]


def suite(world, options):
    world.note("staging steps end when the program ends; hashing may go on (but for `until hashed`)")
    return programs(world, options, PROGRAMS)
