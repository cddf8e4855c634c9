"""What people use for snapshots, each with the same four verbs: save, open, delete, end.

Compression and encryption are off where they can be; what cannot be turned off is noted. `open`
returns a directory with the version's files, ready to be read. `delete` gives the space back.
"""

import json
import os
import subprocess
import time

from steps import Wrong, run


class Copies:
    """`cp -a` for each version: the native filesystem, the baseline."""

    def __init__(self, world, name):
        self.top = world.fresh(f"peers-{name}")

    def path(self, number):
        return self.top / str(number)

    def save(self, source, number):
        run(["cp", "-a", source, self.path(number)])

    def open(self, number):
        return self.path(number)

    def delete(self, number):
        run(["rm", "-rf", self.path(number)])

    def end(self):
        pass


class Links(Copies):
    """`cp -al` of the last version, then rsync over it."""

    def save(self, source, number):
        if number > 1:
            run(["cp", "-al", self.path(number - 1), self.path(number)])
        run(["rsync", "-a", "--delete", f"{source}/", f"{self.path(number)}/"])


class LinkDest(Copies):
    """`rsync --link-dest`."""

    def save(self, source, number):
        words = ["rsync", "-a", "--delete"]
        if number > 1:
            words.append(f"--link-dest={self.path(number - 1)}")
        run([*words, f"{source}/", f"{self.path(number)}/"])


class Cairn:
    """rsync into a staging area that starts from the last version, then `mv`."""

    def __init__(self, world, name):
        self.store = world.store(f"peers-{name}").init().mount()
        self.world = world

    def save(self, source, number):
        area = self.store.area("life", f"v{number}@latest")
        run(["rsync", "-a", "--delete", f"{source}/", f"{area}/"])
        os.rename(area, self.store.mnt / "tags" / "life" / area.name)

    def open(self, number):
        return self.store.version("life", number)

    def delete(self, number):
        self.store.cairn("delete", f"life/{number}")
        self.store.cairn("gc", "--wait", "--protect", "0")

    def end(self):
        self.world.remove(self.store)


class CairnImport(Cairn):
    """`cairn import --mirror`: without going through the filesystem."""

    def save(self, source, number):
        self.store.cairn("import", "--mirror", source, "life")


class Ostree:
    """ostree, bare repository; it does not sync here, cairn does."""

    def __init__(self, world, name):
        self.repo = world.path(f"peers-{name}/repo")
        self.out = world.fresh(f"peers-{name}/out")
        run(["ostree", f"--repo={self.repo}", "init", "--mode=bare"])
        run(["ostree", f"--repo={self.repo}", "config", "set", "core.fsync", "false"])

    def save(self, source, number):
        run(["ostree", f"--repo={self.repo}", "commit", "-b", f"v{number}", "--no-bindings", source])

    def open(self, number):
        path = self.out / str(number)
        if not path.exists():
            run(["ostree", f"--repo={self.repo}", "checkout", "-H", f"v{number}", path])
        return path

    def delete(self, number):
        run(["rm", "-rf", self.out / str(number)])
        run(["ostree", f"--repo={self.repo}", "refs", "--delete", f"v{number}"])
        run(["ostree", f"--repo={self.repo}", "prune", "--refs-only"])

    def end(self):
        pass


class Mounted:
    """A backup program whose versions are read through a mount of one of them at a time."""

    def __init__(self, world, name):
        self.world = world
        self.repo = world.path(f"peers-{name}/repo")
        self.mnt = world.fresh(f"peers-{name}/mnt")
        self.shown = None

    def open(self, number):
        if self.shown != number:
            self.end()
            self.world.mounts.append(str(self.mnt))
            path = self.mount(number)
            deadline = time.monotonic() + 60
            while not path.is_dir():
                if time.monotonic() > deadline:
                    raise Wrong(f"{path} does not appear")
                time.sleep(0.005)
            self.shown, self.top = number, path
        return self.top

    def end(self):
        if self.shown is not None:
            run(["fusermount3", "-u", self.mnt])
            self.ended()
            self.shown = None

    def mount(self, number):
        """Mounts a version; returns where its files appear."""
        raise NotImplementedError

    def ended(self):
        pass


class Restic(Mounted):
    """restic, compression off; encryption cannot be turned off."""

    def __init__(self, world, name):
        super().__init__(world, name)
        self.cache = world.fresh(f"peers-{name}/cache")
        self.environment = {**os.environ, "RESTIC_PASSWORD": "bench"}
        self.restic("init")

    def words(self, *words):
        return ["restic", "-q", "--cache-dir", self.cache, "-r", self.repo, *words]

    def restic(self, *words, **options):
        return run(self.words(*words), env=self.environment, **options)

    def save(self, source, number):
        self.restic("backup", "--compression", "off", "--tag", f"v{number}", ".", cwd=source)

    def snapshot(self, number):
        return json.loads(self.restic("snapshots", "--tag", f"v{number}", "--json"))[0]

    def mount(self, number):
        words = self.words("mount", self.mnt)
        self.process = subprocess.Popen(
            words, env=self.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        return self.mnt / "ids" / self.snapshot(number)["short_id"]

    def ended(self):
        self.process.wait()

    def delete(self, number):
        self.end()
        self.restic("forget", "--prune", self.snapshot(number)["id"])


class Borg(Mounted):
    """borg, encryption and compression off."""

    def __init__(self, world, name):
        super().__init__(world, name)
        self.environment = {
            **os.environ, "BORG_BASE_DIR": str(world.fresh(f"peers-{name}/base")),
            "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes",
        }
        self.borg("init", "--encryption=none", self.repo)

    def borg(self, *words, **options):
        return run(["borg", *words], env=self.environment, **options)

    def save(self, source, number):
        # A mount holds the repository's lock.
        self.end()
        self.borg("create", "--compression=none", f"{self.repo}::v{number}", ".", cwd=source)

    def mount(self, number):
        self.borg("mount", f"{self.repo}::v{number}", self.mnt)
        return self.mnt

    def delete(self, number):
        self.end()
        self.borg("delete", f"{self.repo}::v{number}")
        self.borg("compact", "--threshold", "0", self.repo)


def borg_mounts(world):
    """Whether borg can mount: it may be installed without what that takes. Noted where it is not."""
    tried = subprocess.run(["borg", "mount", "/nowhere::none", "/nowhere"], capture_output=True, text=True)
    if "no FUSE support" not in tried.stdout + tried.stderr:
        return True
    world.note("borg cannot mount (python3-pyfuse3 is not installed): left out")
    return False


def available(world):
    """The users that can take part; the first is the baseline."""
    users = {"cp -a": Copies, "cairn rsync+mv": Cairn, "cairn import": CairnImport}
    users["rsync --link-dest"] = LinkDest
    users["cp -al + rsync"] = Links
    others = {"ostree": Ostree, "restic": Restic, "borg": Borg}
    users |= {
        program: user
        for program, user in others.items()
        if world.has(program) and (program != "borg" or borg_mounts(world))
    }
    world.note(
        "no compression; restic encrypts (it cannot be turned off); ostree runs without fsync; "
        "cairn syncs each commit"
    )
    return users
