"""The command line: builds, runs the suites asked for, writes the reports."""

import argparse
import json
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import report
import suite_commit
import suite_gc
import suite_memory
import suite_read
import suite_scale
import suite_write
from steps import Wrong
from world import World, describe_machine

ROOT = Path(__file__).resolve().parent.parent.parent
SUITES = {
    "read": suite_read.suite,
    "write": suite_write.suite,
    "commit": suite_commit.suite,
    "gc": suite_gc.suite,
    "scale": suite_scale.suite,
    "memory": suite_memory.suite,
}


def arguments(description):
    parser = argparse.ArgumentParser(
        prog="scripts/bench", description=description, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("suite", choices=[*SUITES, "all"])
    parser.add_argument("--full", action="store_true", help="sizes of the requirements; tens of minutes")
    parser.add_argument("--rounds", type=int, help="rounds per step (quick 5, full 7)")
    parser.add_argument("--blobs", type=int, help="gc: blobs in the pool (quick 200000, full 1000000)")
    parser.add_argument("--only", help="steps whose name contains this text")
    parser.add_argument("--peers", action="store_true", help="peers in the quick form, too")
    parser.add_argument("--dir", help="where to work: a directory of the filesystem to measure")
    parser.add_argument("--cairn", help="the binary to measure, instead of building it")
    parser.add_argument("--fill-store", help="the tool that fills stores (examples/fill_store.rs)")
    return parser.parse_args()


def target_directory():
    metadata = subprocess.run(
        ["cargo", "metadata", "--no-deps", "--format-version", "1", "--offline"],
        cwd=ROOT, check=True, capture_output=True,
    )
    return Path(json.loads(metadata.stdout)["target_directory"])


def build(options, target):
    if not options.cairn:
        print("building the release binary", file=sys.stderr)
        subprocess.run(["cargo", "build", "--release", "--locked", "--quiet"], cwd=ROOT, check=True)
        options.cairn = str(target / "release" / "cairn")
    if not options.fill_store:
        subprocess.run(
            ["cargo", "build", "--release", "--locked", "--quiet", "--example", "fill_store"],
            cwd=ROOT, check=True,
        )
        options.fill_store = str(target / "release" / "examples" / "fill_store")


def main(description):
    options = arguments(description)
    options.peers = options.peers or options.full
    options.rounds = options.rounds or (7 if options.full else 5)
    target = target_directory()
    build(options, target)
    output = target / "bench"
    output.mkdir(parents=True, exist_ok=True)
    place = options.dir or str(output)
    # Ended by a signal, the world is still cleaned up.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    failed = False
    for name in SUITES if options.suite == "all" else [options.suite]:
        with tempfile.TemporaryDirectory(prefix="work-", dir=place, ignore_cleanup_errors=True) as work:
            with World(Path(work), options) as world:
                machine = describe_machine(work)
                try:
                    rows = SUITES[name](world, options)
                except Wrong as wrong:
                    print(f"{name}: WRONG ANSWER: {wrong}", file=sys.stderr)
                    failed = True
                    continue
                report.write(output, name, machine, options, rows, world.notes)
    return 1 if failed else 0
