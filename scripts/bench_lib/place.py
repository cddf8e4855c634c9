"""Where a run works: by default one fresh ext4 filesystem with a journal, in an image made for it.

A used disk is no place to compare: after a mass delete on a filesystem that discards, or one whose
free space lies in pieces, the same step took up to twenty times as long, and so did its ratios swing.
The image is written whole beforehand, is mounted without discard, and is used with direct I/O, so
that its pages are cached once. Its file has no name any more and its loop device detaches itself with
the last unmount, so that nothing stays behind whatever ends the run.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from steps import run

GIBIBYTE = 1 << 30
MKFS = [
    "-q", "-F", "-t", "ext4", "-b", "4096", "-i", "8192", "-J", "size=256",
    "-E", "nodiscard,lazy_itable_init=0,lazy_journal_init=0",
]
MOUNT = "nodiscard,data=ordered"
TOOLS = ["mkfs.ext4", "losetup", "mount", "umount"]


class Directory:
    """A directory of a filesystem that is there already."""

    def __init__(self, path, why):
        self.path = Path(path)
        self.description = f"directory on {self.filesystem()} ({why})"

    def filesystem(self):
        words = ["findmnt", "-n", "-o", "FSTYPE,OPTIONS", "-T", str(self.path)]
        found = subprocess.run(words, capture_output=True, text=True)
        return " ".join(found.stdout.split()) or "a filesystem"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


class Image:
    """The filesystem made for this run; `directory` takes its image, which has no name there."""

    def __init__(self, directory, gibibytes):
        self.directory, self.gibibytes = directory, gibibytes
        self.path: Path | None = None
        self.device: str | None = None
        self.file = ""
        self.description = (
            f"fresh ext4 image of {gibibytes} GiB (mkfs.ext4 {' '.join(MKFS)}; mount -o {MOUNT}; "
            "loop device with direct I/O; written whole beforehand)"
        )

    def __enter__(self):
        print(f"making an ext4 image of {self.gibibytes} GiB", file=sys.stderr)
        try:
            self.attach()
        except BaseException:
            self.__exit__()
            raise
        return self

    def attach(self):
        handle, name = tempfile.mkstemp(prefix="image-", dir=self.directory)
        os.close(handle)
        self.file = name
        try:
            if shutil.disk_usage(self.directory).free < (self.gibibytes + 2) * GIBIBYTE:
                sys.exit(f"{self.directory} has no room for {self.gibibytes} GiB: use --place or --image-size")
            run(["dd", "if=/dev/zero", f"of={name}", "bs=4M", f"count={self.gibibytes * 256}", "oflag=direct"])
            run(["mkfs.ext4", *MKFS, name])
            found = run(["losetup", "--find", "--show", "--direct-io=on", name])
            self.device = found.decode().strip()
        finally:
            os.unlink(name)
        path = Path(tempfile.mkdtemp(prefix="place-", dir=self.directory))
        self.path = path
        run(["mount", "-o", MOUNT, self.device, path])
        # Still in use, so it goes with the last unmount.
        run(["losetup", "--detach", self.device])

    def __exit__(self, *_):
        if self.path:
            if os.path.ismount(self.path):
                unmount(self.path)
            self.path.rmdir()
        if self.device and self.is_attached(self.device):
            subprocess.run(["losetup", "--detach", self.device], capture_output=True)
            if self.is_attached(self.device):
                print(f"{self.device} is still attached to the image of this run", file=sys.stderr)

    def is_attached(self, device):
        backing = Path(f"/sys/block/{Path(device).name}/loop/backing_file")
        try:
            return self.file in backing.read_text()
        except FileNotFoundError:
            return False


def unmount(path):
    for _ in range(50):
        if subprocess.run(["umount", path], capture_output=True).returncode == 0:
            return
        time.sleep(0.1)
    print(f"{path} is busy: it goes with its last user", file=sys.stderr)
    subprocess.run(["umount", "--lazy", path], capture_output=True)


def choose(options, directory):
    """The place that the options ask for; without root it can only be a directory."""
    if options.place:
        return Directory(options.place, "--place")
    if os.geteuid() != 0:
        return Directory(directory, "not root: no image; ratios depend on this disk's past")
    missing = [tool for tool in TOOLS if not shutil.which(tool)]
    if missing:
        return Directory(directory, f"{', '.join(missing)} missing: no image")
    return Image(directory, options.image_size or (24 if options.full else 12))
