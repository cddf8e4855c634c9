"""Timed steps: contestants take turns, each answer is verified, ratios are taken round by round."""

import mmap
import statistics
import subprocess
import sys
import time


class Wrong(Exception):
    """A step that gave a wrong answer, however fast."""


def run(arguments, **options):
    """Runs a program that must succeed; its output is returned."""
    done = subprocess.run(arguments, capture_output=True, **options)
    if done.returncode != 0:
        words = " ".join(str(word) for word in arguments)
        raise Wrong(f"`{words}` failed: {done.stderr.decode(errors='replace').strip()[-500:]}")
    return done.stdout


def shell(text, **options):
    """Runs a pipeline that must succeed."""
    return run(["bash", "-c", "set -euo pipefail; " + text], **options)


def timed(action, *arguments, **options):
    """Seconds that the action took with these arguments."""
    began = time.perf_counter()
    action(*arguments, **options)
    return time.perf_counter() - began


def spread(samples):
    """Median and extremes."""
    return {"median": statistics.median(samples), "low": min(samples), "high": max(samples)}


class Row:
    """The measurements of one step: seconds by contestant, and ratios to the first of them."""

    def __init__(self, name, state, must=None, aim=None, unit="ratio", note=""):
        self.name, self.state, self.must, self.aim, self.unit, self.note = (
            name, state, must, aim, unit, note,
        )
        self.samples: dict[str, list[float]] = {}

    def add(self, contestant, value):
        self.samples.setdefault(contestant, []).append(value)

    def baseline(self):
        return next(iter(self.samples))

    def ratios(self, contestant):
        """Round by round, so that what disturbs both cancels out."""
        pairs = zip(self.samples[contestant], self.samples[self.baseline()], strict=True)
        return spread([mine / other for mine, other in pairs])

    def value(self, contestant):
        """What is compared with the limits."""
        if self.unit == "ratio":
            return self.ratios(contestant)
        return spread(self.samples[contestant])

    def as_json(self):
        contestants = {}
        for name, samples in self.samples.items():
            contestants[name] = {"samples": samples, **spread(samples)}
            if self.unit == "ratio":
                contestants[name]["ratio"] = self.ratios(name)
        return {
            "step": self.name, "state": self.state, "unit": self.unit, "must": self.must,
            "aim": self.aim, "note": self.note, "contestants": contestants,
        }


def touch_memory(mebibytes):
    """Uses as much free memory once and gives it back. A virtual machine may get a page from its host
    at the first use only, which takes five times as long as using it: whoever came first after a
    while would pay for that."""
    with mmap.mmap(-1, mebibytes << 20) as memory:
        for offset in range(0, len(memory), mmap.PAGESIZE):
            memory[offset] = 1


def contest(row, rounds, contestants, memory=1024):
    """Lets the contestants take turns. Each is a name and a function of the round that prepares
    (untimed) and returns two functions: the timed step, and the check of its answer. Every second
    round goes the other way round, so that nobody always comes first. No step takes more than
    `memory` mebibytes of free memory."""
    order = list(contestants.items())
    row.samples = {name: [] for name in contestants}
    began = time.monotonic()
    for number in range(rounds):
        for name, prepare in order if number % 2 == 0 else reversed(order):
            step, check = prepare(number)
            touch_memory(memory)
            row.add(name, timed(step))
            check()
    print(f"  {summary(row)} [{time.monotonic() - began:.0f} s]", file=sys.stderr)
    return row


def summary(row):
    parts = []
    for name in row.samples:
        value = row.value(name)
        middle = statistics.median(row.samples[name])
        seconds = f"{middle:.3f} s " if row.unit == "ratio" else ""
        parts.append(f"{name} {seconds}{value['median']:.2f} ({value['low']:.2f}-{value['high']:.2f})")
    return f"{row.name} [{row.state}]: " + ", ".join(parts)
