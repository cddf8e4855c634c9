"""Trees to work on, made from a seed, and the digest by which two trees are compared."""

import hashlib
import os
import random
import stat
import subprocess
from pathlib import Path

from steps import Wrong

MEBIBYTE = 1 << 20


def make_tree(top, files, per_directory, seed, largest=15_000):
    """Files of 1,000 to `largest` random bytes; another seed gives other content everywhere."""
    source = random.Random(seed)
    top = Path(top)
    for start in range(0, files, per_directory):
        directory = top / f"d{start // per_directory:05}"
        directory.mkdir(parents=True)
        for number in range(start, min(files, start + per_directory)):
            data = source.randbytes(source.randint(1_000, largest))
            (directory / f"f{number:07}").write_bytes(data)


def change_tree(top, every, seed):
    """Rewrites each `every`th file with other content; returns how many."""
    source = random.Random(seed)
    changed = 0
    for number, path in enumerate(sorted(Path(top).rglob("f*"))):
        if number % every == 0:
            path.write_bytes(source.randbytes(source.randint(1_000, 15_000)))
            changed += 1
    return changed


def make_file(path, size, seed):
    """A file of random bytes."""
    source = random.Random(seed)
    with open(path, "wb") as file:
        for _ in range(size // MEBIBYTE):
            file.write(source.randbytes(MEBIBYTE))


def stamp(path, number):
    """Makes a large file's content new without writing it again."""
    with open(path, "r+b") as file:
        file.write(number.to_bytes(8, "little"))


def file_digest(path):
    with open(path, "rb", buffering=0) as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()


class Tree:
    """What a tree holds, as the hash of its archive: types, modes, sizes, contents, targets of links,
    and times where they are asked for."""

    def __init__(self, top, times):
        self.top, self.times = os.fspath(top), times
        words = ["tar", "c", "--format=gnu", "--sort=name", "--owner=0", "--group=0", "--numeric-owner"]
        words += [] if times else ["--mtime=@0"]
        names = sorted(os.listdir(top))
        with subprocess.Popen([*words, "-C", self.top, "--", *names], stdout=subprocess.PIPE) as archive:
            assert archive.stdout is not None
            digest_of_all = hashlib.blake2b()
            while block := archive.stdout.read(MEBIBYTE):
                digest_of_all.update(block)
            self.sum = digest_of_all.hexdigest()
        if archive.returncode != 0:
            raise Wrong(f"{top} cannot be read")

    def __eq__(self, other):
        return self.sum == other.sum

    def entries(self):
        """The same by path, to tell where trees differ."""
        found = {}
        for directory, names, files in os.walk(self.top):
            for name in names + files:
                path = os.path.join(directory, name)
                status = os.lstat(path)
                entry = [oct(status.st_mode)]
                if stat.S_ISREG(status.st_mode):
                    entry += [str(status.st_size), file_digest(path)]
                elif stat.S_ISLNK(status.st_mode):
                    entry.append(os.readlink(path))
                found[os.path.relpath(path, self.top)] = [*entry, status.st_mtime_ns if self.times else 0]
        return found


def digest(top, times=False):
    """Reads a tree, for `check_same`."""
    return Tree(top, times)


def check_same(expected, found, who):
    """Fails with the first difference."""
    if expected == found:
        return
    if isinstance(expected, Tree):
        expected, found = expected.entries(), found.entries()
    if isinstance(expected, dict):
        for path in sorted(expected.keys() | found.keys()):
            if expected.get(path) != found.get(path):
                raise Wrong(f"{who}: {path}: expected {expected.get(path)}, found {found.get(path)}")
    raise Wrong(f"{who}: expected {expected!r:.200}, found {found!r:.200}")
