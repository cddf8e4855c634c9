"""Costs must follow what changes, not how much there is: each figure at a size and at its double."""

import os
import sys

from corpus import check_same
from steps import Row, Wrong, shell, timed


def best(action, times=3):
    """The least of a few: growth is asked for, not noise."""
    return min(timed(action) for _ in range(times))


class Figures:
    """Values by name; a time in seconds, or MiB."""

    def __init__(self):
        self.found = {}

    def time(self, name, action, times=3):
        self.found[name] = best(action, times) * 1000

    def memory(self, store):
        store.settle()
        self.found["daemon's memory (MiB)"] = store.memory() / (1 << 20)


def mount_figures(figures, world, store):
    """A start after a clean end, and after the daemon was killed; the second is left running."""
    def again(end):
        end()
        return timed(store.mount)

    figures.found["mount (ms)"] = min(again(store.unmount) for _ in range(3)) * 1000
    store.settle()
    killed = min(again(store.kill) for _ in range(3))
    figures.found["mount after a kill (ms)"] = killed * 1000
    store.settle()


def change(figures, store, path, name):
    """Three times: opens an area on the newest version, adds 100 files, commits. Then compares the
    newest two, and deletes and collects the new ones."""
    versions = store.mnt / "versions" / name
    tags = store.mnt / "tags" / name
    opened, committed, deleted, collected = [], [], [], []
    for number in range(3):
        area = store.mnt / "staging" / name / f"s{number}@latest"
        opened.append(timed(area.mkdir))
        for file in range(100):
            (area / path / f"new{file}").write_bytes(b"new %d in %d" % (file, number))
        store.settle()
        committed.append(timed(os.rename, area, tags / area.name))
    store.settle()
    latest = int(os.readlink(tags / "latest").split("/")[-1])
    check_same(b"new 7 in 2", (versions / str(latest) / path / "new7").read_bytes(), name)
    figures.time("status (ms)", lambda: store.cairn("status"))
    figures.time("describe the newest version (ms)", lambda: store.cairn("show", f"{name}/{latest}"))
    compare = ["diff", f"{name}/{latest - 1}", f"{name}/{latest}"]
    figures.time("diff with the version before (ms)", lambda: store.command(*compare))
    for version in (latest, latest - 1, latest - 2):
        deleted.append(timed(store.cairn, "delete", f"{name}/{version}", "--force"))
        collected.append(timed(store.cairn, "gc", "--wait", "--protect", "0"))
    if (versions / str(latest)).exists():
        raise Wrong(f"{name}/{latest} is still there")
    figures.found["open an area (ms)"] = min(opened) * 1000
    figures.found["commit 100 new files (ms)"] = min(committed) * 1000
    figures.found["delete it (ms)"] = min(deleted) * 1000
    figures.found["collect it (ms)"] = min(collected) * 1000


def files(world, size):
    figures = Figures()
    store = world.store(f"files{size}").fill("version", "tree", size, 1_000)
    mount_figures(figures, world, store)
    version = store.version("tree", 1)
    looks = iter(range(7, 100))
    figures.time("look up one file (ms)", lambda: os.stat(version / f"d{next(looks):06}" / "f0000007"))
    figures.time("list a directory of 1,000 (ms)", lambda: os.listdir(version / "d000003"), 1)
    change(figures, store, "d000002", "tree")
    figures.memory(store)
    world.remove(store)
    return figures


def names(world, size):
    figures = Figures()
    store = world.store(f"names{size}").fill("version", "wide", size, size)
    mount_figures(figures, world, store)
    version = store.version("wide", 1)
    looks = iter(range(777, size, size // 10))
    figures.time("look up one name (ms)", lambda: os.stat(version / f"f{next(looks):07}"))
    cold = []
    for _ in range(3):
        store.unmount()
        store.mount()
        store.settle()
        cold.append(timed(lambda: os.stat(version / f"f{next(looks):07}")))
    figures.found["look up the first name after a start (ms)"] = min(cold) * 1000

    def listing():
        count = int(shell(f"find {version} -name 'f*' | wc -l"))
        if count != size:
            raise Wrong(f"{count} names listed, not {size}")

    figures.time("find all names, per 1,000 (ms)", listing, 1)
    figures.found["find all names, per 1,000 (ms)"] /= size / 1000
    change(figures, store, ".", "wide")
    figures.memory(store)
    world.remove(store)
    return figures


def versions(world, size):
    figures = Figures()
    store = world.store(f"versions{size}").fill("versions", "many", size)
    mount_figures(figures, world, store)
    listed = store.mnt / "versions" / "many"

    def listing():
        check_same({"count": size}, {"count": len(os.listdir(listed))}, "versions listed")

    figures.time("list versions, per 1,000 (ms)", listing, 1)
    figures.found["list versions, per 1,000 (ms)"] /= size / 1000
    looks = iter(range(77, size, size // 10))
    figures.time("look into one (ms)", lambda: os.stat(listed / str(next(looks)) / "f0000007"))

    def described():
        check_same({"count": size}, {"count": len(store.cairn("versions", "many"))}, "described")

    figures.time("cairn versions, per 1,000 (ms)", described, 1)
    figures.found["cairn versions, per 1,000 (ms)"] /= size / 1000
    change(figures, store, ".", "many")
    figures.memory(store)
    world.remove(store)
    return figures


def repositories(world, size):
    figures = Figures()
    store = world.store(f"repositories{size}").fill("repositories", size)
    mount_figures(figures, world, store)
    change(figures, store, ".", "r7")

    def listing():
        count = len(os.listdir(store.mnt / "versions"))
        check_same({"count": size}, {"count": count}, "repositories listed")

    figures.time("list repositories, per 1,000 (ms)", listing, 1)
    figures.found["list repositories, per 1,000 (ms)"] /= size / 1000
    figures.time("make a repository (ms)", lambda: (store.mnt / "staging" / "one-more").mkdir(), 1)
    figures.memory(store)
    world.remove(store)
    return figures


def areas(world, size):
    figures = Figures()
    store = world.store(f"areas{size}").fill("version", "base", 10_000, 1_000)
    store.mount()
    for number in range(size):
        area = store.mnt / "staging" / "base" / f"a{number}@latest"
        area.mkdir()
        for file in range(50):
            (area / f"new{file}").write_bytes(b"%d" % file)
    store.settle()
    mount_figures(figures, world, store)
    change(figures, store, ".", "base")
    figures.memory(store)
    for number in range(size):
        name = f"base/a{number}@latest"
        path = store.mnt / "staging" / name
        check_same({"new": b"7"}, {"new": (path / "new7").read_bytes()}, name)
    world.remove(store)
    return figures


def nodes(world, size):
    """Few areas with many files in all, which a start does not read."""
    figures = Figures()
    store = world.store(f"nodes{size}").fill("version", "base", 1_000, 1_000)
    store.mount()
    names = [f"n{number}" for number in range(4)]
    for name in names:
        area = store.area("base", name)
        for file in range(size // len(names)):
            os.close(os.open(area / f"f{file}", os.O_CREAT | os.O_WRONLY))
    store.settle()
    mount_figures(figures, world, store)
    change(figures, store, ".", "base")
    figures.memory(store)
    for name in names:
        count = len(os.listdir(store.mnt / "staging" / "base" / name))
        check_same({"count": size // len(names)}, {"count": count}, name)
    world.remove(store)
    return figures


def blobs(world, size):
    """A pool, of which 10,000 blobs go with one version."""
    figures = Figures()
    store = world.store(f"blobs{size}").fill("pool", size, 10_000, 2)
    world.sync()
    mount_figures(figures, world, store)
    figures.time("status (ms)", lambda: store.cairn("status"))
    for version in (2, 3):
        store.cairn("delete", f"pool/{version}")
        seconds = timed(store.cairn, "gc", "--wait", "--protect", "0")
        name = "collect 10,000 (ms)"
        figures.found[name] = min(seconds * 1000, figures.found.get(name, seconds * 1000))
        found = store.cairn("status")["blob_count"]
        check_same({"blobs": size - 10_000 * (version - 1)}, {"blobs": found}, "blobs left")
    figures.memory(store)
    world.remove(store)
    return figures


SUBJECTS = [
    ("files in a version", files, 1_000_000),
    ("names in a directory", names, 1_000_000),
    ("versions", versions, 10_000),
    ("repositories", repositories, 1_000),
    ("areas at once", areas, 100),
    ("files in open areas", nodes, 20_000),
    ("blobs in the pool", blobs, 200_000),
]
# Twice the size may cost this much more. Less than a few milliseconds or MiB more is noise.
GROWTH_MAX = 1.3
NOISE = {"ms": 3.0, "MiB": 8.0}


def grows(small, large, unit):
    return large > small * GROWTH_MAX and large - small > NOISE[unit]


def suite(world, options):
    rows = []
    for subject, measure, size in SUBJECTS:
        if options.only and options.only not in subject:
            continue
        half, whole = measure(world, size // 2), measure(world, size)
        for name in whole.found:
            small, large = half.found[name], whole.found[name]
            row = Row(f"{size:,} {subject}: {name}", "warm", unit=name.rsplit("(", 1)[1].rstrip(")"))
            row.samples = {f"at {size // 2:,}": [small], f"cairn at {size:,}": [large]}
            growth = large / small if small else 0
            row.note = f"doubling the size: {growth:.2f}{' GROWS' if grows(small, large, row.unit) else ''}"
            rows.append(row)
            print(f"  {row.name}: {small:.2f} -> {large:.2f}, {row.note}", file=sys.stderr)
    return rows
