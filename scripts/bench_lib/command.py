"""The command line: builds, runs the suites asked for, writes the reports."""

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import markdown
import place
import report
import suite_commit
import suite_gc
import suite_lazy
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
    "lazy": suite_lazy.suite,
    "scale": suite_scale.suite,
    "memory": suite_memory.suite,
}


def arguments(description):
    parser = argparse.ArgumentParser(
        prog="scripts/bench", description=description, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("suite", choices=[*SUITES, "all", "markdown"])
    parser.add_argument("--full", action="store_true", help="more files and rounds, much longer")
    parser.add_argument("--rounds", type=int, help="rounds per step (quick 3, full 7)")
    parser.add_argument("--blobs", type=int, help="gc: blobs in the pool (1000000)")
    parser.add_argument("--only", help="steps whose name contains this text")
    parser.add_argument("--place", help="where to work: a directory of the filesystem to measure")
    parser.add_argument("--image-size", type=int, help="GiB of the image (quick 12, full 24)")
    parser.add_argument("--cairn", help="the binary to measure, instead of building it")
    parser.add_argument("--fill-store", help="the tool that fills stores (examples/fill_store.rs)")
    parser.add_argument(
        "--readme", action="store_true", help="markdown: put the tables into README.md and docs/benchmarks.md"
    )
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
    options.rounds = options.rounds or (7 if options.full else 3)
    target = target_directory()
    output = target / "bench"
    if options.suite == "markdown":
        return markdown.main(output, ROOT if options.readme else None)
    build(options, target)
    output.mkdir(parents=True, exist_ok=True)
    for ended in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ended, end_cleanly)
    names = list(SUITES) if options.suite == "all" else [options.suite]
    with place.choose(options, output) as where:
        print(f"place: {where.description}", file=sys.stderr)
        took = {name: run_suite(name, where, output, options) for name in names}
    print("\n" + ", ".join(f"{name} {'FAILED' if s is None else f'{s:.0f} s'}" for name, s in took.items()))
    return 1 if None in took.values() else 0


def end_cleanly(number, _):
    """Unwinds, so that mounts and the place are cleaned up; nothing interrupts that."""
    for ended in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ended, signal.SIG_IGN)
    sys.exit(128 + number)


def run_suite(name, where, output, options):
    """Seconds that it took, or None if a step gave a wrong answer."""
    began = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="work-", dir=where.path, ignore_cleanup_errors=True) as work,
        World(Path(work), options) as world,
    ):
        machine = {**describe_machine(), "filesystem": where.description}
        print(f"{name}:", file=sys.stderr)
        try:
            rows = SUITES[name](world, options)
        except Wrong as wrong:
            print(f"{name}: WRONG ANSWER: {wrong}", file=sys.stderr)
            return None
        seconds = time.monotonic() - began
        report.write(output, name, machine, options, rows, world.notes, seconds)
    return seconds
