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
    def again():
        store.unmount()
        figures.mounts.append(timed(store.mount))

    figures.mounts = []
    for _ in range(3):
        again()
    figures.found["mount (ms)"] = min(figures.mounts) * 1000
    store.settle()


def change(figures, store, path, name):
    """Opens an area on the newest version, adds 100 files, commits, compares, deletes."""
    serial = iter(range(100))
    versions = store.mnt / "versions" / name
    base = store.mnt / "staging" / name

    def area():
        return base / f"s{next(serial)}@latest"

    areas = [area() for _ in range(3)]
    todo = iter(areas)
    figures.time("open an area (ms)", lambda: next(todo).mkdir())
    for place in areas:
        directory = place / path
        for number in range(100):
            (directory / f"new{number}").write_bytes(b"new %d in %s" % (number, bytes(place)))
    store.settle()
    tags = store.mnt / "tags" / name
    first = timed(lambda: os.rename(areas[0], tags / areas[0].name))
    figures.found["commit 100 new files (ms)"] = first * 1000
    for place in areas[1:]:
        store.cairn("discard", f"{name}/{place.name}")
    latest = int(os.readlink(tags / "latest").split("/")[-1])
    check_same(b"new 7 in " + bytes(areas[0]), (versions / str(latest) / path / "new7").read_bytes(), name)
    compare = ["diff", f"{name}/{latest - 1}", f"{name}/{latest}"]
    figures.time("diff with the version before (ms)", lambda: store.command(*compare))
    deleted = timed(lambda: store.cairn("delete", f"{name}/{latest}", "--force"))
    figures.found["delete it (ms)"] = deleted * 1000
    figures.found["collect it (ms)"] = timed(lambda: store.cairn("gc", "--wait", "--protect", "0")) * 1000


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
    change(figures, store, ".", "many")
    figures.memory(store)
    world.remove(store)
    return figures


def repositories(world, size):
    figures = Figures()
    store = world.store(f"repositories{size}").fill("repositories", size)
    mount_figures(figures, world, store)
    change(figures, store, ".", "r7")
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


SUBJECTS = [
    ("files in a version", files, 1_000_000),
    ("names in a directory", names, 1_000_000),
    ("versions", versions, 10_000),
    ("repositories", repositories, 1_000),
    ("areas at once", areas, 100),
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
