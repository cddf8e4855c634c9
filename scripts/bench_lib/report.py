"""What a run leaves: a table on the terminal, a JSON file and an SVG chart."""

import html
import json
import statistics
import textwrap
import time

import wakeup

BAR = 14
WIDTH = 980


def verdict(row, value):
    """How a median compares with what is required."""
    if row.must is None:
        return ""
    if row.aim is not None and value["median"] <= row.aim:
        return "aim"
    return "must" if value["median"] <= row.must else "MISSED"


def number(value):
    if value is None:
        return "-"
    return f"{value:.3g}" if value < 1000 else f"{value:,.0f}"


def duration(seconds):
    return f"{seconds:.3f} s" if seconds >= 1 else f"{seconds * 1000:.3g} ms"


def line(row, contestant):
    value = row.value(contestant)
    middle = statistics.median(row.samples[contestant])
    is_cairn = contestant.startswith("cairn")
    return [
        row.name, row.state, contestant,
        duration(middle) if row.unit == "ratio" else "",
        f"{number(value['median'])}{'' if row.unit == 'ratio' else ' ' + row.unit}",
        f"{number(value['low'])}-{number(value['high'])}",
        number(row.must) if is_cairn else "", number(row.aim) if is_cairn else "",
        verdict(row, value) if is_cairn else "",
    ]


def table(rows):
    head = ["step", "caches", "who", "median", "ratio/value", "spread", "must", "aim", "reached"]
    lines = [head]
    for row in rows:
        lines += [line(row, contestant) for contestant in row.samples]
    widths = [max(len(cells[column]) for cells in lines) for column in range(len(head))]
    text = []
    for cells in lines:
        padded = [cell.ljust(width) for cell, width in zip(cells, widths, strict=True)]
        text.append("  ".join(padded).rstrip())
    text.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(text)


def heading(name, machine, options, seconds):
    form = "full" if options.full else "quick"
    return (
        f"scripts/bench {name} ({form} form, {options.rounds} rounds, {seconds:.0f} s): "
        f"{machine['cpus']} CPUs ({machine['cpu']}), {machine['memory_gib']} GiB, "
        f"Linux {machine['kernel']}, load before {machine['load_before']:.1f}; "
        f"{wakeup.words(machine)}"
    )


def bars(rows):
    """One bar per contestant that has a ratio, with its spread."""
    for row in rows:
        if row.unit != "ratio":
            continue
        for contestant in list(row.samples)[1:]:
            yield f"{row.name}, {row.state}: {contestant}", row, row.value(contestant)


# A character of the chart's text takes about this much, bold or not.
CHARACTER = 7.0
LINE = 17


def legend(top):
    """What the colours and lines of the chart mean, in one line."""
    entries = [
        ("cairn", '<rect x="{x}" y="{y}" width="16" height="10" fill="#3b6ea5"/>'),
        ("others", '<rect x="{x}" y="{y}" width="16" height="10" fill="#b0b0b0"/>'),
        ("lowest to highest", '<line x1="{x}" x2="{end}" y1="{middle}" y2="{middle}" stroke="black"/>'),
        (
            "must: cairn may take so long at most",
            '<line x1="{half}" x2="{half}" y1="{y}" y2="{bottom}" stroke="#c03030" stroke-width="2"/>',
        ),
        (
            "1.0: as long as the first, which is native",
            '<line x1="{half}" x2="{half}" y1="{y}" y2="{bottom}" stroke="#808080" stroke-dasharray="3"/>',
        ),
    ]
    out, x = [], 8.0
    for words, sign in entries:
        places = {"x": x, "end": x + 16, "half": x + 8, "y": top, "middle": top + 5, "bottom": top + 10}
        out.append(sign.format(**places))
        out.append(f'<text x="{x + 21}" y="{top + 10}">{html.escape(words)}</text>')
        x += 21 + len(words) * CHARACTER + 16
    return out


def chart(title, rows):
    """Time relative to the first contestant: shorter is faster, the line is 1."""
    found = list(bars(rows))
    left = 16 + max(len(label) for label, _, _ in found) * CHARACTER
    longest = max([value["high"] for _, _, value in found] + [row.must or 0 for _, row, _ in found] + [1])
    scale = (WIDTH - left - 70) / longest
    lines = textwrap.wrap(title, int((WIDTH - 16) / CHARACTER), break_on_hyphens=False)
    first = 14 + len(lines) * LINE + LINE
    height = first + 10 + len(found) * (BAR + 8)
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
        'font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    for index, words in enumerate(lines):
        out.append(f'<text x="8" y="{18 + index * LINE}" font-weight="bold">{html.escape(words)}</text>')
    out += legend(first - LINE)
    for index, (label, row, value) in enumerate(found):
        top = first + 6 + index * (BAR + 8)
        middle = top + BAR / 2
        colour = "#3b6ea5" if ": cairn" in label else "#b0b0b0"
        low, high = left + value["low"] * scale, left + value["high"] * scale
        out += [
            f'<text x="{left - 8}" y="{top + 11}" text-anchor="end">{html.escape(label)}</text>',
            f'<rect x="{left}" y="{top}" width="{value["median"] * scale:.1f}" height="{BAR}" fill="{colour}"/>',
            f'<line x1="{low:.1f}" x2="{high:.1f}" y1="{middle}" y2="{middle}" stroke="black"/>',
            f'<text x="{high + 6:.1f}" y="{top + 11}">{value["median"]:.2f}</text>',
        ]
        if row.must and ": cairn" in label:
            x = left + row.must * scale
            out.append(
                f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{top - 2}" y2="{top + BAR + 2}" '
                'stroke="#c03030" stroke-width="2"/>'
            )
    x = left + scale
    out.append(
        f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{first + 2}" y2="{height - 6}" stroke="#808080" '
        'stroke-dasharray="3"/>'
    )
    out.append("</svg>")
    return "\n".join(out) + "\n"


def write(output, name, machine, options, rows, notes, seconds):
    title = heading(name, machine, options, seconds)
    print(f"\n{title}\nplace: {machine['filesystem']}\n")
    print(table(rows))
    for note in notes:
        print(f"note: {note}")
    for row in rows:
        if row.note:
            print(f"note: {row.name}: {row.note}")
    result = {
        "suite": name, "form": "full" if options.full else "quick", "rounds": options.rounds,
        "seconds": round(seconds), "machine": machine, "finished": int(time.time()), "notes": notes,
        "steps": [row.as_json() for row in rows],
    }
    (output / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n")
    if any(True for _ in bars(rows)):
        (output / f"{name}.svg").write_text(chart(title, rows))
    print(f"\n{output / name}.json, .svg")
