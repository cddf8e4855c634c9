"""Memory of the daemon: after the mount, a walk, writing, a commit, each at a size and at its double; and
after many rounds of the same work, which must not add up.

What counts is memory of its own (RssAnon): pages of mapped files go when others need them.
"""

import sys
import time

from corpus import make_tree
from steps import Row, run, shell

MEBIBYTE = 1 << 20


def measure(world, files, staged):
    store = world.store(f"memory{files}")
    store.fill("version", "tree", files, 1_000)
    store.mount()
    store.settle()
    found = {"after mount": store.memory()}
    shell(f"find {store.version('tree', 1)} -printf '%s\\n' > /dev/null")
    store.settle()
    found["after find of all files"] = store.memory()
    source = world.path(f"staged{files}")
    make_tree(source, staged, 50, f"memory{files}", largest=2_000)
    target = store.area("bench", "a")
    run(["cp", "-r", f"{source}/.", f"{target}/"])
    store.settle()
    found["after cp -r into staging"] = store.memory()
    store.cairn("commit", "bench/a")
    store.settle()
    found["after its commit"] = store.memory()
    world.remove(store)
    return found


def soak(world, files, rounds):
    """A CI job's rounds: an area over latest, all files written, committed, walked; three versions kept."""
    store = world.store("rounds")
    store.mount()
    source = world.path("rounds-source")
    make_tree(source, files, 50, "rounds", largest=2_000)
    store.cairn("create", "soak")
    store.cairn("policy", "soak", "--keep-unreleased", "3")
    found = []
    for number in range(rounds):
        area = f"v{number}@latest"
        run(["cp", "-r", f"{source}/.", f"{store.area('soak', area)}/"])
        store.cairn("commit", f"soak/{area}")
        shell(f"find {store.mnt}/versions/soak/ -type f > /dev/null")
        store.cairn("gc", "--full", "--protect", "0", "--wait")
        # Names are let go of, and memory is given back, a second or two after things are quiet.
        store.settle()
        time.sleep(3)
        found.append(store.memory())
        print(f"  round {number}: {found[-1] / MEBIBYTE:.1f} MiB", file=sys.stderr)
    world.remove(store)
    return found


def soak_row(world, options):
    files, rounds, first = 20_000, 20 if options.full else 10, 3
    found = soak(world, files, rounds)
    row = Row(f"daemon after {rounds} rounds", f"{files:,} files", unit="MiB")
    row.samples = {
        f"after {first}": [found[first - 1] / MEBIBYTE],
        f"cairn after {rounds}": [found[-1] / MEBIBYTE],
    }
    row.note = f"growth: {found[-1] / found[first - 1]:.2f}"
    return row


def suite(world, options):
    full = 1_000_000
    staged = full // (20 if options.full else 100)
    half = measure(world, full // 2, staged // 2)
    whole = measure(world, full, staged)
    rows = []
    for step, size in whole.items():
        limits = {"must": 500, "aim": 150} if step == "after find of all files" else {}
        row = Row(f"daemon {step}", f"{full:,} files", unit="MiB", **limits)
        row.samples = {
            f"at {full // 2:,}": [half[step] / MEBIBYTE],
            f"cairn at {full:,}": [size / MEBIBYTE],
        }
        row.note = f"doubling the size: {size / half[step]:.2f}"
        rows.append(row)
        print(f"  {step}: {half[step] / MEBIBYTE:.1f} -> {size / MEBIBYTE:.1f} MiB", file=sys.stderr)
    rows.append(soak_row(world, options))
    world.note(f"the staged tree has {staged:,} files at the full size")
    return rows
