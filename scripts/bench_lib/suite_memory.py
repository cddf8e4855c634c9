"""Memory of the daemon: after the mount, a walk, writing, a commit, each at a size and at its double.

What counts is memory of its own (RssAnon): pages of mapped files go when others need them.
"""

import sys

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
    world.note(f"the staged tree has {staged:,} files at the full size")
    return rows
