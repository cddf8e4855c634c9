"""Trees to work on, made from a seed, and the digest by which two trees are compared."""

import hashlib
import os
import random
import stat
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


def digest(top, times=False):
    """What a tree holds: by relative path, type, mode, size, content (and time of files)."""
    found = {}
    top = os.fspath(top)
    for directory, names, files in os.walk(top):
        for name in names + files:
            path = os.path.join(directory, name)
            status = os.lstat(path)
            kind = stat.S_IFMT(status.st_mode)
            entry = [kind, stat.S_IMODE(status.st_mode)]
            if kind == stat.S_IFREG:
                entry += [status.st_size, file_digest(path)]
                if times:
                    entry.append(status.st_mtime_ns)
            elif kind == stat.S_IFLNK:
                entry.append(os.readlink(path))
            found[os.path.relpath(path, top)] = entry
    return found


def check_same(expected, found, who):
    """Fails with the first path that differs."""
    if expected == found:
        return
    for path in sorted(expected.keys() | found.keys()):
        if expected.get(path) != found.get(path):
            raise Wrong(f"{who}: {path}: expected {expected.get(path)}, found {found.get(path)}")
