"""Collection: what it costs by itself and what others notice of it.

A pool is filled with blobs, 10,000 of which only one version names. That version is deleted and its
blobs are collected with protection 0, while a client creates, looks at and reads files as fast as it
can. The same client alone, before and after, is the baseline. Twice the pool must not cost more.
"""

import os
import random
import statistics
import subprocess
import sys
import time

from steps import Row, Wrong

OWNED = 10_000
IDLE_SECONDS = 2.0
OPERATIONS = ("create", "stat", "read")


class Client:
    """Creates a file in an area, looks at one of a version, and reads one, in turn. Each name is
    used once, so that the kernel has to ask."""

    def __init__(self, store, seed):
        self.area = store.area("latency", f"a{seed}")
        self.version = str(store.version("pool", 1))
        directories = sorted(name for name in os.listdir(self.version))
        source = random.Random(seed)
        self.paths = [
            f"{self.version}/{directory}/f{number:07}"
            for directory in source.sample(directories, min(200, len(directories)))
            for number in range(500)
        ]
        source.shuffle(self.paths)
        self.serial = 0

    def path(self):
        if not self.paths:
            raise Wrong("the pool is too small for this client")
        return self.paths.pop()

    def once(self, samples):
        clock = time.perf_counter_ns
        self.serial += 1
        name = f"{self.area}/f{self.serial}"
        began = clock()
        os.close(os.open(name, os.O_CREAT | os.O_WRONLY, 0o644))
        samples["create"].append(clock() - began)
        path = self.path()
        began = clock()
        size = os.stat(path).st_size
        samples["stat"].append(clock() - began)
        path = self.path()
        began = clock()
        file = os.open(path, os.O_RDONLY)
        data = os.read(file, 4096)
        os.close(file)
        samples["read"].append(clock() - began)
        if len(data) != size or not data.startswith(b"cairn bench"):
            raise Wrong(f"{path}: {data!r}")

    def loop(self, goes_on):
        samples: dict[str, list[int]] = {operation: [] for operation in OPERATIONS}
        while goes_on() and len(self.paths) > 2:
            self.once(samples)
        return samples


def percentile(samples, share):
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] / 1_000


def idle(client):
    deadline = time.monotonic() + IDLE_SECONDS
    return client.loop(lambda: time.monotonic() < deadline)


def collect(store, client, version):
    """Deletes the version and collects it; returns samples of the client, and seconds."""
    began = time.perf_counter()
    store.cairn("delete", f"pool/{version}")
    deleted = time.perf_counter() - began
    words = [store.world.cairn, "--store", store.path, "--json", "gc", "--wait", "--protect", "0"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE)
    samples = client.loop(lambda: process.poll() is None) if client else None
    output, _ = process.communicate()
    if process.returncode != 0:
        raise Wrong("cairn gc failed")
    return samples, deleted, time.perf_counter() - began, output


def check(store, blobs):
    found = store.cairn("status")["blob_count"]
    # Files that the client created are empty and have no blob.
    if found != blobs:
        raise Wrong(f"{found} blobs are left, not {blobs}")


def measure(world, blobs, rounds):
    """Fills a pool and collects from it, with a client and without, in turn."""
    store = world.store(f"pool{blobs}")
    print(f"  filling a pool of {blobs:,} blobs", file=sys.stderr)
    began = time.perf_counter()
    store.fill("pool", blobs, OWNED, rounds * 2)
    filled = time.perf_counter() - began
    world.sync()
    began = time.perf_counter()
    store.mount()
    mounted = time.perf_counter() - began
    store.settle()
    result: dict[str, list] = {"before": [], "during": [], "after": [], "alone": [], "busy": [], "delete": []}
    for number in range(rounds):
        for with_client in (False, True):
            version = 2 + 2 * number + with_client
            client = Client(store, f"{blobs}-{version}") if with_client else None
            world.quiet(store)
            if client:
                result["before"].append(idle(client))
            samples, deleted, seconds, _ = collect(store, client, version)
            result["delete"].append(deleted)
            result["busy" if client else "alone"].append(seconds)
            if client:
                result["during"].append(samples)
                store.settle()
                result["after"].append(idle(client))
            check(store, blobs - OWNED * (version - 1))
    world.remove(store)
    print(f"  filled in {filled:.0f} s, mounted in {mounted * 1000:.0f} ms", file=sys.stderr)
    return result


def latency_rows(result, blobs):
    rows = []
    for operation in OPERATIONS:
        for name, share in (("p50", 0.5), ("p99", 0.99)):
            limits = {"must": 2.0, "aim": 1.2} if name == "p99" else {}
            row = Row(f"{operation} {name}, {blobs:,} blobs", "names new", **limits)
            row.note = ", ".join(
                f"{phase} {statistics.median([percentile(s[operation], share) for s in result[phase]]):.0f} us"
                for phase in ("before", "during", "after")
            )
            for before, during, after in zip(result["before"], result["during"], result["after"], strict=True):
                alone = statistics.mean(percentile(part[operation], share) for part in (before, after))
                row.add("idle", alone / 1e6)
                row.add("cairn during collection", percentile(during[operation], share) / 1e6)
            rows.append(row)
    return rows


def suite(world, options):
    full = options.blobs or 1_000_000
    rounds = min(options.rounds, 3)
    least = OWNED * (rounds * 2 + 1)
    small = max(full // 10, least)
    full = max(full, 2 * small)
    results = {blobs: measure(world, blobs, rounds) for blobs in (small, full)}
    rows = latency_rows(results[full], full)
    for name, key in (("nobody else", "alone"), ("a busy client", "busy")):
        row = Row(f"collect {OWNED:,}: pool of {small:,}, then {full:,}; {name}", "warm")
        if key == "alone":
            row.must = 1.5
        row.samples = {f"{small:,}": results[small][key], f"cairn {full:,}": results[full][key]}
        rows.append(row)
    answer = Row("delete answers", "warm", unit="ms")
    answer.samples = {"cairn": [1000 * seconds for seconds in results[full]["delete"]]}
    rows.append(answer)
    world.note(
        f"two CPUs are shared by client and daemon where there are no more; delete and gc run as "
        f"commands; idle is the mean of {IDLE_SECONDS:.0f} s before and after"
    )
    return rows
