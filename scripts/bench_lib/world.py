"""The place of a run: directories of its own, a store, its daemon, and the state of caches."""

import json
import os
import platform
import select
import shutil
import signal
import subprocess
import time
from pathlib import Path

import wakeup
from steps import Wrong, run

DROP_CACHES = Path("/proc/sys/vm/drop_caches")
TICKS = os.sysconf("SC_CLK_TCK")


class Store:
    """A store and, while mounted, its daemon."""

    def __init__(self, world, name):
        self.world = world
        self.path = world.directory / name
        self.mnt = world.directory / f"{name}.mnt"
        self.mnt.mkdir()
        self.mounted = False

    def cairn(self, *words):
        """Runs a command of the store and returns its JSON answer."""
        text = run([self.world.cairn, "--store", self.path, "--json", *map(str, words)])
        return json.loads(text) if text.strip() else None

    def command(self, *words):
        """Runs a command of the store and returns what it prints."""
        return run([self.world.cairn, "--store", self.path, *map(str, words)])

    def init(self):
        run([self.world.cairn, "init", self.path])
        return self

    def fill(self, *words):
        """Fills the store with the library; it must not be mounted."""
        run([self.world.fill_store, self.path, *map(str, words)])
        return self

    def mount(self):
        run([self.world.cairn, "mount", self.path, self.mnt])
        self.mounted = True
        return self

    def unmount(self):
        if self.mounted:
            run([self.world.cairn, "unmount", self.mnt])
            self.mounted = False

    def kill(self):
        """Ends the daemon as a crash does, and waits until its guard has taken the dead mount away."""
        pid = self.pid()
        os.kill(pid, signal.SIGKILL)
        wait_for_end(pid)
        wait_for_no_mount(self.mnt)
        self.mounted = False

    def pid(self):
        return self.cairn("status")["daemon_pid"]

    def settle(self):
        """Waits until the daemon has nothing to do any more: no CPU time used for a while."""
        pid = self.pid()
        quiet = 0
        last = cpu_ticks(pid)
        deadline = time.monotonic() + 120
        while quiet < 4 and time.monotonic() < deadline:
            time.sleep(0.05)
            now = cpu_ticks(pid)
            quiet = quiet + 1 if now == last else 0
            last = now

    def memory(self):
        """Resident bytes of the daemon that are its own (not pages of mapped files)."""
        for line in Path(f"/proc/{self.pid()}/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) * 1024
        raise Wrong("the daemon's memory cannot be read")

    def area(self, repository, name):
        """A new area's directory."""
        directory = self.mnt / "staging" / repository
        directory.mkdir(exist_ok=True)
        path = directory / name
        path.mkdir()
        return path

    def version(self, repository, number):
        return self.mnt / "versions" / repository / str(number)


def wait_for_end(pid):
    """Waits until a process that is no child of this one has ended."""
    descriptor = os.pidfd_open(pid)
    try:
        select.select([descriptor], [], [])
    finally:
        os.close(descriptor)


def wait_for_no_mount(target, seconds=60):
    deadline = time.monotonic() + seconds
    while any(line.split()[1] == str(target) for line in Path("/proc/self/mounts").read_text().splitlines()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{target} is still mounted")
        time.sleep(0.01)


def cpu_ticks(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return int(fields[11]) + int(fields[12])


class World:
    """A directory for one suite; whatever is mounted in it is unmounted at the end."""

    def __init__(self, directory, options):
        self.directory = directory
        self.cairn = options.cairn
        self.fill_store = options.fill_store
        self.notes = []
        self.stores = []
        self.mounts = []
        self.can_drop = os.geteuid() == 0 and os.access(DROP_CACHES, os.W_OK)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        root = os.geteuid() == 0
        for mount in reversed(self.mounts):
            words = ["umount", "--lazy"] if root else ["fusermount3", "-u", "-z"]
            subprocess.run([*words, mount], capture_output=True)
        for store in self.stores:
            if store.mounted:
                done = subprocess.run([self.cairn, "unmount", store.mnt], capture_output=True)
                if done.returncode != 0:
                    subprocess.run([self.cairn, "unmount", "--lazy", store.mnt], capture_output=True)

    def store(self, name):
        store = Store(self, name)
        self.stores.append(store)
        return store

    def remove(self, store):
        """Unmounts a store and gives its space back."""
        store.unmount()
        shutil.rmtree(store.path)

    def path(self, name):
        """A path of this world, in a directory that exists."""
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def fresh(self, name):
        """A new directory."""
        path = self.path(name)
        path.mkdir()
        return path

    def note(self, text):
        if text not in self.notes:
            self.notes.append(text)

    def quiet(self, store=None):
        """Before a timed step: nothing dirty is left to write, and the daemon is idle."""
        if store:
            store.settle()
        self.sync()

    def sync(self):
        """Writes what is dirty on this filesystem, and not what others left on theirs."""
        run(["sync", "--file-system", self.directory])

    def anew(self, store=None):
        """As after a publish: content is in memory, as pages of the pool, and the kernel knows nothing of the
        mount, which is made anew."""
        if store:
            store.unmount()
            store.mount()
            for path in sorted((store.path / "pool").rglob("*")):
                if path.is_file():
                    path.read_bytes()
        self.sync()

    def cold(self, store=None):
        """Drops pages, names and inodes; cairn's daemon is started anew, so that it has nothing in
        memory either."""
        if store:
            store.unmount()
            store.mount()
        self.sync()
        DROP_CACHES.write_text("3\n")

    def fuse_mount(self, program, source, target):
        """Mounts a peer's filesystem for the rest of the suite."""
        if program == "bindfs":
            run(["bindfs", "--no-allow-other", source, target])
        else:
            upper, work = self.fresh(f"{target.name}.upper"), self.fresh(f"{target.name}.work")
            layers = f"lowerdir={source},upperdir={upper},workdir={work}"
            run(["fuse-overlayfs", "-o", layers, target])
        self.mounts.append(str(target))

    def small_pages(self, size):
        """A directory in memory whose files have pages of 4 KiB; `None` if it cannot be mounted."""
        if os.geteuid() != 0:
            return None
        path = self.fresh("small-pages")
        # A little more: its directories take some.
        run(["mount", "-t", "tmpfs", "-o", f"huge=never,size={size + (16 << 20)}", "tmpfs", path])
        self.mounts.append(str(path))
        return path

    def has(self, *programs):
        """Whether peers are installed; those missing are noted."""
        missing = [program for program in programs if not shutil.which(program)]
        for program in missing:
            self.note(f"{program} is not installed: left out")
        return not missing


def describe_machine():
    """What the figures were measured on."""
    cpu = "unknown CPU"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            cpu = line.split(":", 1)[1].strip()
            break
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "kernel": platform.release(), "cpu": cpu, "cpus": os.cpu_count(),
        "memory_gib": round(memory / (1 << 30)), "load_before": os.getloadavg()[0],
        **wakeup.measure(),
    }
