"""The tables of README.md and docs/benchmarks.md, made from the JSON files of the last runs.

The README has the steps of SUMMARY. The page has all: rows with a limit come first, then the life of a
snapshot beside its peers, then growth.
"""

import datetime
import json
import sys

import wakeup

SUITES = ["read", "write", "commit", "gc", "lazy", "memory", "scale"]
# The steps that the README shows: how their names begin, and the caches.
SUMMARY = [
    ("find and stat", "warm"),
    ("tar", "cold"),
    ("build of", "warm"),
    ("cp -r of", "source warm"),
    ("open an area", "warm"),
    ("commit 1,000", "warm"),
]
BEGIN = "<!-- made by scripts/bench markdown --readme -->"
END = "<!-- end of what scripts/bench made -->"

# What is shown beside cairn: what only passes on, and what has pages as small.
FLOORS = ("bindfs", "fuse-overlayfs", "tmpfs of 4 KiB pages")


def load(output):
    """Results of the suites that were run, in their order."""
    paths = [output / f"{name}.json" for name in SUITES]
    return {path.stem: json.loads(path.read_text()) for path in paths if path.exists()}


def number(value):
    return f"{value:.2f}" if value < 10 else f"{value:.3g}" if value < 1000 else f"{value:,.0f}"


def times(seconds):
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.3g} ms" if seconds > 0.001 else "0"


def measured(step, name):
    """The median and the spread of one contestant, in the step's unit."""
    found = step["contestants"][name]
    value = found["ratio"] if step["unit"] == "ratio" else found
    unit = "" if step["unit"] == "ratio" else f" {step['unit']}"
    return value["median"], f"{number(value['median'])}{unit} ({number(value['low'])}-{number(value['high'])})"


def verdict(step, value):
    if step["aim"] is not None and value <= step["aim"]:
        return "aim met"
    return "must met" if value <= step["must"] else "**missed**"


def contestant(step):
    return next((name for name in reversed(step["contestants"]) if name.startswith("cairn")), None)


def is_summary(step):
    return any(step["step"].startswith(name) and step["state"] == state for name, state in SUMMARY)


def limits(results, chosen=lambda step: True):
    lines = ["| step | caches | cairn (spread) | must | aim | |", "|---|---|---|---|---|---|"]
    for result in results.values():
        for step in result["steps"]:
            if step["must"] is None or not chosen(step):
                continue
            value, text = measured(step, contestant(step))
            others = [
                f"{name} {measured(step, name)[1].split(' ')[0]}"
                for name in step["contestants"] if name in FLOORS
            ]
            name = step["step"] + (f" ({', '.join(others)})" if others else "")
            aim = number(step["aim"]) if step["aim"] is not None else ""
            lines.append(
                f"| {name} | {step['state']} | {text} | {number(step['must'])} | {aim} | {verdict(step, value)} |"
            )
    return lines


def peers(results):
    """Steps that somebody takes who is not the native filesystem: seconds of each."""
    steps = [
        step for result in results.values() for step in result["steps"] if "cp -a" in step["contestants"]
    ]
    if not steps:
        return []
    names = list(steps[0]["contestants"])
    lines = ["", f"| | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for step in steps:
        scale = 1000 if step["unit"] == "ms" else 1
        cells = [times(step["contestants"][name]["median"] / scale) for name in names]
        lines.append(f"| {step['step']} | {' | '.join(cells)} |")
    return lines


def faults(results):
    """What readers got from origins that were wrong, and after how long."""
    steps = [step for result in results.values() for step in result["steps"] if step["state"] == "absent"]
    if not steps:
        return []
    lines = ["", "| | what it got | after |", "|---|---|---|"]
    return lines + [
        f"| {step['step']} | {step['note']} | {times(step['contestants']['cairn']['median'])} |" for step in steps
    ]


def growth(results):
    """Figures by subject: at full size, and what they grew over half of it."""
    if "scale" not in results:
        return []
    subjects: list[str] = []
    figures: dict[str, dict[str, str]] = {}
    for step in results["scale"]["steps"]:
        subject, figure = step["step"].split(": ", 1)
        small, large = (found["median"] for found in step["contestants"].values())
        ratio = f" ({large / small:.2f})" if small else ""
        figure = figure.removesuffix(f" ({step['unit']})")
        figures.setdefault(figure, {})[subject] = f"{number(large)} {step['unit']}{ratio}"
        if subject not in subjects:
            subjects.append(subject)
    lines = ["", f"| and the growth from half of it | {' | '.join(subjects)} |"]
    lines.append("|---" * (len(subjects) + 1) + "|")
    for figure, cells in figures.items():
        lines.append(f"| {figure} | {' | '.join(cells.get(subject, '') for subject in subjects)} |")
    return lines


def origin(results):
    """Where and when the results were measured."""
    machine = next(iter(results.values()))["machine"]
    finished = max(result["finished"] for result in results.values())
    day = datetime.datetime.fromtimestamp(finished, datetime.UTC).date()
    forms = ", ".join(f"{name} {result['form']}" for name, result in results.items())
    return (
        f"`scripts/bench all` of {day} ({forms}): {machine['cpus']} CPUs ({machine['cpu']}), "
        f"{machine['memory_gib']} GiB, Linux {machine['kernel']}; {machine['filesystem'].split(' (')[0]}; "
        f"{wakeup.words(machine)}."
    )


def replace(page, lines):
    """Puts lines between the marks of a page."""
    before, rest = page.read_text().split(BEGIN)
    after = rest.split(END)[1]
    text = "\n".join(lines)
    page.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}")


def main(output, root):
    """Prints all tables, or puts them into the pages below `root`."""
    results = load(output)
    if not results:
        sys.exit(f"nothing was measured yet: {output} has no results")
    everything = [origin(results), "", *limits(results), *peers(results), *faults(results), *growth(results)]
    if root is None:
        print("\n".join(everything))
        return 0
    replace(root / "docs" / "benchmarks.md", everything)
    replace(root / "README.md", limits(results, is_summary))
    return 0
