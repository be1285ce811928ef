"""Draws the plots of docs/performance.md from the JSON that benchmarks wrote.

    benches/plot.py benches/results docs/img

reads `peers.json` of benches/peers/run, and `pinned.json` and `growth.json` of
`longhaul-benches pinned --json` and `growth --json`; what is not there is left out.
SVG with nothing but Python's own library: the files are small and can be compared.
"""

import json
import statistics
import sys
from html import escape
from pathlib import Path

INK, MUTED, OURS, OTHERS = "#57606a", "#8b949e", "#1f6feb", "#a5b4c8"
WIDTH, LABELS, BAR = 720, 170, 22
FONT = 'font-family="system-ui, sans-serif" font-size="12"'


def text(x, y, words, anchor="start", colour=INK, weight="normal"):
    return (f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}" fill="{colour}" '
            f'font-weight="{weight}">{escape(words)}</text>')


def document(height, title, body):
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" {FONT}>',
        f"<title>{escape(title)}</title>", text(0, 14, title, weight="bold"), *body, "</svg>\n"])


def bars(title, rows):
    """`rows`: name and the values of all runs; the bar is the median, the line its spread."""
    most = max(max(values) for _, values in rows)
    scale = (WIDTH - LABELS - 120) / most
    body = []
    for number, (name, values) in enumerate(rows):
        top = 28 + number * (BAR + 8)
        middle, least, largest = statistics.median(values), min(values), max(values)
        colour = OURS if name == "longhaul" else OTHERS
        body.append(text(LABELS - 8, top + 15, name, "end"))
        body.append(f'<rect x="{LABELS}" y="{top}" width="{middle * scale:.1f}" height="{BAR}" fill="{colour}"/>')
        body.append(f'<path d="M{LABELS + least * scale:.1f} {top + BAR / 2}H{LABELS + largest * scale:.1f}" '
                    f'stroke="{INK}" stroke-width="2"/>')
        body.append(text(LABELS + largest * scale + 8, top + 15, f"{middle:,.0f}"))
    return document(36 + len(rows) * (BAR + 8), title, body)


def line(title, values, unit, every):
    """One value a part of the time; the scale begins at zero."""
    height, left, bottom = 220, 60, 190
    scale = (bottom - 40) / (max(values) * 1.1)
    step = (WIDTH - left - 20) / max(len(values) - 1, 1)
    points = [(left + number * step, bottom - value * scale) for number, value in enumerate(values)]
    body = [f'<path d="M{left} {bottom}H{WIDTH - 20}" stroke="{MUTED}"/>',
            f'<polyline fill="none" stroke="{OURS}" stroke-width="2" points="'
            + " ".join(f"{x:.1f},{y:.1f}" for x, y in points) + '"/>']
    for share in (0.5, 1.0):
        y = bottom - max(values) * share * scale
        body.append(f'<path d="M{left} {y:.1f}H{WIDTH - 20}" stroke="{MUTED}" stroke-dasharray="2 4"/>')
        body.append(text(left - 6, y + 4, f"{max(values) * share:,.0f}", "end", MUTED))
    for number, (x, _) in enumerate(points):
        body.append(text(x, bottom + 16, every(number), "middle", MUTED))
    body.append(text(left, 32, unit, "start", MUTED))
    return document(height, title, body)


def of_peers(raw):
    names = {"drain": "Drain of stored tasks, tasks/s",
             "single": "Stored one by one by 16 producers, each durable, tasks/s"}
    for workload, title in names.items():
        contenders = raw["figures"].get(workload, {})
        rows = [(name, [run["tasks_per_second"] for run in runs])
                for name, runs in contenders.items() if name != "bare table"]
        if rows:
            yield f"perf-{workload}.svg", bars(title, sorted(rows, key=lambda row: -statistics.median(row[1])))
    drained = raw["figures"].get("drain", {})
    rows = [(name, [run["wal_bytes_per_task"] for run in runs])
            for name, runs in drained.items() if all("wal_bytes_per_task" in run for run in runs)]
    if rows:
        title = "WAL of one task from its INSERT to its end, bytes"
        yield "perf-wal.svg", bars(title, sorted(rows, key=lambda row: statistics.median(row[1])))


def of_pinned(raw):
    run = raw["runs"][0]
    parts = [value for name, value in run.items() if name.startswith("part_")]
    minutes = raw["parameters"]["minutes"] / len(parts)
    yield "perf-pinned.svg", line(
        f"A steady load under an old snapshot, {raw['parameters']['minutes']:g} minutes", parts,
        f"tasks/s in each {minutes:g} min", lambda number: f"{(number + 1) * minutes:g}")


def of_growth(raw):
    rows = [("none", "empty_tasks_per_second"), (f"{raw['parameters']['history']:,}", "tasks_per_second")]
    yield "perf-growth.svg", bars("Drain beside so many ended tasks in the table, tasks/s",
                                  [(name, [run[figure] for run in raw["runs"]]) for name, figure in rows])


def main():
    results, images = Path(sys.argv[1]), Path(sys.argv[2])
    for source, draw in (("peers.json", of_peers), ("pinned.json", of_pinned), ("growth.json", of_growth)):
        if (results / source).exists():
            for name, svg in draw(json.loads((results / source).read_text())):
                (images / name).write_text(svg)
                print(images / name)


main()
