"""Reading versions: walks, archives, searches, a large file, a build; warm and cold.

The same tree is on the native filesystem and in a version. Warm: the step just ran. Cold: pages,
names and inodes were dropped and the daemon was started anew. First read: the content is in memory, the mount
is new, and the kernel asks the daemon for each thing, as after a publish.
"""

import shutil
from functools import partial
from pathlib import Path

from corpus import MEBIBYTE, check_same, digest, make_file, make_tree
from steps import Row, contest, run, shell

WALKS = [
    ("find and stat", "find . -printf '%s %m %p\\n' | sort | sha256sum"),
    ("tar", "tar cf - --sort=name --mtime=@0 --owner=0 --group=0 . | wc -c"),
    ("grep -r", "{ grep -rlF 'not in any file of it' . || true; } | wc -l"),
]
# What is required of each walk, and the aim.
STATES: dict[str, list[tuple[float | None, float | None]]] = {
    "warm": [(1.1, 1.0), (1.2, 1.0), (1.2, 1.0)],
    "first read": [(None, None), (3.5, 1.5), (3.3, 1.5)],
    "cold": [(1.1, 0.8), (1.2, 0.7), (1.2, 0.7)],
}
SOURCES = 60
# What a read from the page cache costs where that has pages of 4 KiB, as FUSE's does: the filesystem
# below has larger ones.
SMALL_PAGES = "tmpfs of 4 KiB pages"
HEADERS = ["stdio", "stdlib", "string", "unistd", "errno", "math", "pthread", "signal", "time",
           "sys/stat", "sys/socket", "netinet/in", "dirent", "fcntl", "poll", "locale"]


class Places:
    """The same tree in several places; `store` is the one that cairn serves."""

    def __init__(self, world, store, tops, expected):
        self.world, self.store, self.tops, self.expected = world, store, tops, expected

    def contestants(self, action, state, verify):
        """`action` gets a directory and returns the output, which must be the same everywhere."""
        outputs: dict[str, dict[str, bytes]] = {}

        def contestant(name, top):
            def prepare(_):
                if state == "cold":
                    self.world.cold(self.store)
                elif state == "first read":
                    self.world.anew(self.store if name == "cairn" else None)
                    if name != "cairn":
                        action(top)
                else:
                    self.world.quiet(self.store)
                    action(top)
                result: list[dict[str, bytes]] = []

                def check():
                    check_same(outputs.setdefault("output", result[0]), result[0], f"output, {name}")
                    if verify == "cmp":
                        run(["cmp", self.tops["native"] / "large", top / "large"])
                    elif verify:
                        check_same(self.expected, digest(top), name)

                return lambda: result.append({"output": action(top)}), check

            return prepare

        return {name: contestant(name, top) for name, top in self.tops.items()}


def shell_in(words, top):
    """The output of a pipeline that is run in a directory."""
    return shell(words, cwd=top)


def walks(world, places, rounds, only):
    rows = []
    for state, limits in STATES.items():
        if state == "cold" and not world.can_drop:
            world.note("not root: the cold steps are left out")
            break
        for (name, words), (must, aim) in zip(WALKS, limits, strict=True):
            row = Row(name, state, must, aim)
            if only and only not in name:
                continue
            if state == "warm" and name == WALKS[0][0]:
                # A walk of names in the cache takes some milliseconds, as long as starting `find`.
                words = f"for _ in 1 2 3 4 5; do {{ {words}; }}; done"
            action = partial(shell_in, words)
            rows.append(contest(row, 2 * rounds + 1, places.contestants(action, state, True)))
    return rows


TOUCH = """
import mmap, os
file = os.open("large", os.O_RDONLY)
print(sum(mmap.mmap(file, 0, prot=mmap.PROT_READ)[::4096]))
"""


def sequential(world, places, size, rounds):
    rows = []
    ways = [
        # Required is throughput of .95 and 1: the inverse, as all here is time.
        ("read {} MiB in sequence", "dd if=large of=/dev/null bs=1M 2>&1 | grep -o '^[0-9]* bytes'", 1 / 0.95, 1.0),
        ("map {} MiB, touch each page", f"python3 -c '{TOUCH}'", None, None),
    ]
    for cold in (False, True):
        if cold and not world.can_drop:
            break
        for name, words, must, aim in ways:
            row = Row(name.format(size // MEBIBYTE), "cold" if cold else "warm", must, aim)
            action = partial(shell_in, words)
            rows.append(contest(row, rounds, places.contestants(action, row.state, "cmp"), 3072))
        # It has no disk to be cold on.
        small = places.tops.pop(SMALL_PAGES, None)
        if small:
            run(["umount", small])
    return rows


def toolchain(top):
    """A C compiler, its headers and sources that use them; `None` where there is none."""
    if not shutil.which("gcc"):
        return None
    base = Path(run(["gcc", "-print-libgcc-file-name"]).decode().strip()).parent
    if not (base / "cc1").exists() or not Path("/usr/include/stdio.h").exists():
        return None
    run(["cp", "-a", base, top / "compiler"])
    run(["cp", "-aL", "/usr/include", top / "include"])
    sources = top / "src"
    sources.mkdir()
    includes = "".join(f"#include <{header}.h>\n" for header in HEADERS)
    for number in range(SOURCES):
        (sources / f"unit{number}.c").write_text(
            f"{includes}int unit{number}(FILE *f) {{ return fprintf(f, \"%d\", {number}); }}\n"
        )
    return run(["gcc", "-print-multiarch"]).decode().strip()


def build(world, rounds):
    """Compiler, headers and sources from a version; objects go to the native filesystem."""
    source = world.fresh("build")
    multiarch = toolchain(source)
    if multiarch is None:
        world.note("no gcc with headers: the build is left out")
        return []
    store = world.store("build-store").init().mount()
    store.cairn("import", source, "build")
    output = world.fresh("objects")

    def action(top):
        words = (
            f"rm -rf '{output}'/*; cd '{top}/src'; for unit in *.c; do gcc -O1 -B '{top}/compiler/' -nostdinc "
            f"-isystem '{top}/compiler/include' -isystem '{top}/include/{multiarch}' -isystem '{top}/include' "
            f"-c $unit -o '{output}'/$unit.o; done; cat '{output}'/*.o | sha256sum"
        )
        return shell(words)

    rows = []
    tops = {"native": source, "cairn": store.version("build", 1)}
    places = Places(world, store, tops, None)
    for cold in (False, True):
        if cold and not world.can_drop:
            break
        row = Row(f"build of {SOURCES} C files", "cold" if cold else "warm", must=1.1, aim=1.02)
        rows.append(contest(row, 2 * rounds + 1, places.contestants(action, row.state, False)))
    store.unmount()
    return rows


def suite(world, options):
    files = 20_000 if options.full else 5_000
    source = world.path("tree/files")
    make_tree(source, files, 50, "read")
    store = world.store("store").init().mount()
    store.cairn("import", source, "files")
    native = world.path("native")
    run(["cp", "-a", source, native])
    tops = {"native": native, "cairn": store.version("files", 1)}
    for program in ("bindfs", "fuse-overlayfs"):
        if world.has(program):
            tops[program] = world.fresh(f"{program}.mnt")
            world.fuse_mount(program, native, tops[program])
    only = options.only
    rows = walks(world, Places(world, store, tops, digest(source)), options.rounds, only)
    if not only or only in "read in sequence":
        size = 1024 * MEBIBYTE
        large = world.fresh("native-large")
        make_file(large / "large", size, "read")
        store.cairn("import", large, "large")
        tops = {"native": large, "cairn": store.version("large", 1)}
        small = world.small_pages(size)
        if small:
            shutil.copy(large / "large", small)
            tops[SMALL_PAGES] = small
        places = Places(world, store, tops, None)
        rows += sequential(world, places, size, options.rounds)
    store.unmount()
    if not only or only in "build":
        rows += build(world, options.rounds)
    return rows
