"""Content that is fetched when it is first read: what readers of a dead remote cost everybody else (L14), what a
first read takes beside `curl` of the same file, and what a reader gets from an origin that is wrong, and when (L5)."""

import errno
import os
import signal
import subprocess
import time

from corpus import MEBIBYTE, make_file
from origin import Origin
from steps import Row, Wrong, contest, run, summary

READERS = 500
SAMPLES = 400
SMALL_FILES, SMALL_BYTES = 200, 8192
LARGE_BYTES = 64 * MEBIBYTE
FAR = 0.02
# What is read, and what the names of its directories begin with.
KINDS = [
    (f"{SMALL_FILES} files of 8 KiB, a program each, against curl", "s"),
    (f"{SMALL_FILES} files of 8 KiB, one program, against curl over one connection", "o"),
    (f"one file of {LARGE_BYTES >> 20} MiB, against curl", "l"),
]


def percentile(values, part):
    return sorted(values)[min(len(values) - 1, int(len(values) * part))]


def lazy_store(world, name, origin):
    store = world.store(name).init().mount()
    store.cairn("remote", "add", "origin", "manifest", origin.url, "--policy", "on_demand")
    store.command("sync", "files", "origin")
    return store


class Neighbours:
    """Local work on a store, some of whose other content may be waited for."""

    def __init__(self, world, name, origin):
        self.store = lazy_store(world, name, origin)
        here = world.fresh(f"{name}.here")
        for number in range(SAMPLES * 16):
            (here / f"h{number:06}").write_bytes(b"%08d" % number * 1024)
        self.store.cairn("import", here, "here")
        self.here = self.store.version("here", 1)
        self.area = self.store.area("here", "work")
        self.next = 0
        self.readers: list[subprocess.Popen[bytes]] = []

    def park(self, round_number):
        """Starts readers who wait."""
        absent = self.store.version("files", 1)
        for number in range(READERS):
            path = absent / f"p{round_number:02}" / f"f{number:03}"
            self.readers.append(subprocess.Popen(["cat", path], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        deadline = time.monotonic() + 30
        while self.waiting() < READERS:
            if time.monotonic() > deadline:
                raise Wrong(f"{self.waiting()} of {READERS} readers wait")
            time.sleep(0.05)

    def waiting(self):
        return self.store.cairn("status")["waiting_read_count"]

    def leave(self):
        """Ends the readers; one in a read that cannot be killed ends with its answer."""
        for reader in self.readers:
            reader.send_signal(signal.SIGKILL)
        for reader in self.readers:
            reader.wait()
        self.readers.clear()

    def sample(self, action):
        """The 99th percentile, in seconds, of something done to names that nobody used before."""
        took = []
        for _ in range(SAMPLES):
            self.next += 1
            began = time.perf_counter()
            action(self, self.next)
            took.append(time.perf_counter() - began)
        return percentile(took, 0.99)


def look(neighbours, number):
    os.stat(neighbours.here / f"h{number:06}")


def read(neighbours, number):
    if (neighbours.here / f"h{number:06}").read_bytes() != b"%08d" % number * 1024:
        raise Wrong(f"h{number:06} has other content")


def create(neighbours, number):
    (neighbours.area / f"n{number:06}").write_bytes(b"%08d" % number * 1024)


ACTIONS = [("stat", look), ("read 8 KiB", read), ("create 8 KiB", create)]


def parked(world, rounds):
    """The 99th percentile of local work beside readers of a silent remote, and on a store without."""
    directory = world.fresh("parked")
    for round_number in range(rounds):
        (directory / f"p{round_number:02}").mkdir()
        for number in range(READERS):
            (directory / f"p{round_number:02}" / f"f{number:03}").write_bytes(os.urandom(1000))
    rows = [Row(f"p99 of {name} beside {READERS} readers who wait", "warm", 2.0, 1.1) for name, _ in ACTIONS]
    with Origin(directory) as origin:
        origin.list()
        idle, busy = Neighbours(world, "idle", origin), Neighbours(world, "busy", origin)
        origin.fault = "silent"
        for round_number in range(rounds):
            busy.park(round_number)
            for row, (_, action) in zip(rows, ACTIONS, strict=True):
                row.add("idle", idle.sample(action))
                row.add("cairn", busy.sample(action))
            if busy.waiting() < READERS:
                raise Wrong("some readers had their answer too soon")
            origin.ended.set()
            busy.leave()
            origin.ended.clear()
        idle.store.unmount()
        busy.store.unmount()
    for row in rows:
        print(f"  {summary(row)}")
    return rows


def against_curl(world, rounds):
    """First reads beside `curl` of the same files, near and 20 ms away."""
    if not world.has("curl"):
        return []
    directory = world.fresh("fetched")
    turns = 2 * rounds
    for turn in range(turns):
        for kind in "so":
            (directory / f"{kind}{turn:02}").mkdir()
            for number in range(SMALL_FILES):
                (directory / f"{kind}{turn:02}" / f"f{number:03}").write_bytes(os.urandom(SMALL_BYTES))
        (directory / f"l{turn:02}").mkdir()
        make_file(directory / f"l{turn:02}" / "f000", LARGE_BYTES, f"large {turn}")
    rows = []
    with Origin(directory) as origin:
        origin.list()
        store = lazy_store(world, "fetching", origin)
        got = world.path("got")
        for far in (False, True):
            for name, kind in KINDS:
                state, must, aim = ("20 ms away", 1.1, 1.0) if far else ("loopback", 1.3, 1.1)
                # One program for all asks over one connection and starts once: what is asked for is about one file.
                limits = (None, None) if kind == "o" else (must, aim)
                row = Row(f"first read of {name}", state, *limits)
                words = ["-n", "1"] if kind == "s" else []
                origin.delay = FAR if far else 0.0

                def paths(number, kind=kind, far=far):
                    group = f"{kind}{number + rounds * far:02}"
                    return sorted(f"{group}/{path.name}" for path in (directory / group).iterdir())

                def check(number, paths=paths):
                    run(["bash", "-c", f"cat {' '.join(paths(number))} | cmp - '{got}'"], cwd=directory)
                    got.unlink()

                def curl(number, paths=paths, check=check, words=words):
                    urls = [f"{origin.url}{path}" for path in paths(number)]
                    return lambda: into(got, [*words, "curl", "-sSf"], urls, directory), lambda: check(number)

                def cairn(number, paths=paths, check=check, words=words):
                    files = paths(number)
                    return lambda: into(got, [*words, "cat"], files, store.version("files", 1)), lambda: check(number)

                rows.append(contest(row, rounds, {"curl": curl, "cairn": cairn}))
        store.unmount()
    return rows


def into(path, words, arguments, directory):
    """Runs a program in a directory for all arguments, or for each by itself. All that it prints becomes the file."""
    lines = "".join(f"{argument}\n" for argument in arguments).encode()
    with open(path, "wb") as file:
        done = subprocess.run(["xargs", *words], cwd=directory, input=lines, stdout=file, stderr=subprocess.PIPE)
    if done.returncode != 0:
        raise Wrong(f"`{' '.join(words)}` failed: {done.stderr.decode(errors='replace')[-300:]}")


# What is wrong with the first origin, and whether a second one is good.
FAULTS = [
    ("corrupt", False), ("corrupt", True), ("cut", False), ("cut", True), ("missing", False), ("missing", True),
    ("silent", True), ("silent", False),
]


def faults(world):
    """What a reader gets from an origin that is wrong, and after how long."""
    rows = []
    for number, (fault, has_second) in enumerate(FAULTS):
        directory = world.fresh(f"fault{number}")
        (directory / "file").write_bytes(os.urandom(100_000))
        with Origin(directory) as first, Origin(directory) as second:
            first.list()
            store = lazy_store(world, f"faulty{number}", first)
            if has_second:
                store.cairn("remote", "add", "second", "manifest", second.url, "--policy", "on_demand")
                store.command("sync", "again", "second")
            first.fault = fault
            began = time.perf_counter()
            try:
                content = (store.version("files", 1) / "file").read_bytes()
                if content != (directory / "file").read_bytes():
                    raise Wrong(f"{fault}: a reader got other bytes")
                outcome = "its content"
            except OSError as error:
                outcome = errno.errorcode[error.errno or 0]
            took = time.perf_counter() - began
            if (outcome == "its content") != has_second:
                raise Wrong(f"{fault}: a reader got {outcome}")
            other = "and another good" if has_second else "and no other"
            row = Row(f"a reader of an origin that is {fault}, {other}", "absent", unit="s", note=outcome)
            row.add("cairn", took)
            print(f"  {summary(row)}: {outcome}")
            rows.append(row)
            first.ended.set()
            store.unmount()
    return rows


def suite(world, options):
    rows = []
    parts = [
        ("parked", lambda: parked(world, options.rounds)),
        ("curl", lambda: against_curl(world, options.rounds)),
        ("faults", lambda: faults(world)),
    ]
    for name, part in parts:
        if not options.only or options.only in name:
            rows += part()
    return rows
