"""The figures of a benchmark as tables and a picture: against their bars, and against the last run in docs/bench.md."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from typing import Any, NamedTuple

from tests.faults.process import ROOT

PAGE, PICTURE = ROOT / "docs" / "bench.md", ROOT / "docs" / "bench.png"
START, END = "<!-- figures -->", "<!-- end of figures -->"
COLUMNS = 7
WORSE = 1.10
"""A figure this many times the last one is told."""


class Figure(NamedTuple):
    """A value with its unit; `base` is the CPU of a bare 204 in the same run, 0 where it means nothing."""

    value: float
    unit: str
    base: float = 0.0
    words: str = ""

    @property
    def ratio(self) -> float:
        """Times a bare 204; the value itself where that is not how it is told."""
        return self.value / self.base if self.base else self.value


BARS: dict[str, tuple[float, str]] = {
    "ingest, one event": (4, "x"),
    "ingest, batch of 50": (40, "µs"),
    "end to end, three vendors": (10, "x"),
    "end to end, aiohttp out": (14, "x"),
    "latency p99, durable": (20, "ms"),
    "latency p99, written": (5, "ms"),
    "memory at rest": (120, "MB"),
    "memory under load": (140, "MB"),
    "stage decode": (5, "µs"),
    "stage normalise": (14, "µs"),
    "stage enrich": (2, "µs"),
    "stage consent": (5, "µs"),
    "stage dumps": (1.5, "µs"),
    "stage load": (5, "µs"),
    "stage mapping meta": (20, "µs"),
    "stage mapping ga4": (20, "µs"),
    "stage mapping tiktok": (20, "µs"),
    "stage request meta": (2, "µs"),
    "stage request ga4": (2, "µs"),
    "stage request tiktok": (2, "µs"),
    "stage store append": (30, "µs"),
    "stage store take": (6, "µs"),
    "stage store settle": (30, "µs"),
}
"""What a figure may be: times a bare 204 (`x`), or in its own unit."""
BESIDE: dict[str, tuple[str, float]] = {"ingest, two receivers": ("ingest, one event", 1.15)}
"""What a figure may be in times another one of the same run."""


def measured(name: str, figure: Figure) -> float:
    """The figure in the unit of its bar."""
    return figure.ratio if BARS.get(name, (0, ""))[1] == "x" else figure.value


def table(found: Mapping[str, Figure], last: Mapping[str, float]) -> str:
    """Markdown: each figure, as a multiple of a bare 204, its bar, and what the last run said."""
    lines = ["| what | measured | x of a bare 204 | bar | last | change | beside |", "|---|---|---|---|---|---|---|"]
    for name, figure in found.items():
        ratio = f"{figure.ratio:.2f}" if figure.base else ""
        bar, unit = BARS.get(name, (0, ""))
        old = last.get(name)
        before, change = (f"{old:.2f}", f"{(comparable(figure) / old - 1) * 100:+.0f} %") if old else ("", "")
        limit = f"≤ {bar:g} {unit}" if bar else ""
        if name in BESIDE:
            limit = f"≤ {BESIDE[name][1]:g} of {BESIDE[name][0]}"
        lines.append(
            f"| {name} | {figure.value:.1f} {figure.unit} | {ratio} | {limit} | {before} | {change} | {figure.words} |"
        )
    return "\n".join(lines)


def comparable(figure: Figure) -> float:
    """What is compared between runs: ratios where there are any, as microseconds depend on the day."""
    return figure.ratio


def verdicts(found: Mapping[str, Figure], last: Mapping[str, float]) -> list[str]:
    """A sentence for every bar that is missed and every figure that is over 10 % worse than the last."""
    said = []
    for name, figure in found.items():
        bar, unit = BARS.get(name, (0, ""))
        value = measured(name, figure)
        if bar and value > bar:
            said.append(f"MISSED  {name}: {value:.2f} {unit}, the bar is {bar:g} {unit}")
        other, most = BESIDE.get(name, ("", 0.0))
        if other in found and value > found[other].value * most:
            said.append(f"MISSED  {name}: {value / found[other].value:.2f} times {other}, the bar is {most:g}")
        old = last.get(name)
        if old and comparable(figure) > old * WORSE:
            said.append(f"WORSE   {name}: {comparable(figure) / old:.2f} times the last run")
    return said or ["every bar is met and nothing is more than 10 % worse than the last run"]


def last_figures() -> dict[str, float]:
    """The figures that docs/bench.md holds now, as they are compared."""
    return {name: comparable(figure) for name, figure in held().items()}


def held() -> dict[str, Figure]:
    """The figures that docs/bench.md holds now, as exact as it says them."""
    if not PAGE.exists():
        return {}
    found = {}
    for line in PAGE.read_text().splitlines():
        row = [cell.strip() for cell in line.split("|")]
        value, _, unit = row[2].partition(" ") if len(row) == COLUMNS + 2 else ("", "", "")
        if _number(value):
            found[row[1]] = Figure(float(value), unit, float(value) / float(row[3]) if _number(row[3]) else 0.0)
    return found


def _number(text: str) -> bool:
    return text.replace(".", "", 1).isdigit()


def rewrite(found: Mapping[str, Figure], words: str) -> None:
    """Put the tables of this run into docs/bench.md; its figures are what the next run is compared with."""
    last = last_figures()
    before, _, rest = PAGE.read_text().partition(START)
    missed = "\n".join(f"- {line}" for line in verdicts(found, last))
    text = f"{words}\n\n{table(found, last)}\n\n{missed}"
    PAGE.write_text(f"{before}{START}\n{text}\n{END}{rest.partition(END)[2]}")


def plot(peers: Mapping[str, float], day: str) -> None:
    """docs/bench.png from docs/bench.md: each bar's figure as a share of its bar; below, what an event costs other programs in
    times a bare 204 (`peers`, measured on `day`). Needs matplotlib; says so where it is missing.
    """
    if importlib.util.find_spec("matplotlib") is None:
        print("no plot: pip install matplotlib")
        return
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    found = held()
    names = [name for name in found if name in BARS][::-1]
    heights = [len(names), len(peers)] if peers else [len(names)]
    figure, rows = pyplot.subplots(
        len(heights), figsize=(8, 0.28 * sum(heights) + 1.2), height_ratios=heights, layout="constrained", squeeze=False
    )
    shares = [measured(name, found[name]) / BARS[name][0] * 100 for name in names]
    labels = [f" {measured(name, found[name]):.3g} {BARS[name][1]}" for name in names]
    colours = ["#2f7d4f" if share <= 100 else "#b3261e" for share in shares]
    _bars(rows[0, 0], names, shares, colours, labels, "percent of the bar (less is better)")
    rows[0, 0].axvline(100, color="#333333", linewidth=1)
    if peers:
        programs, ratios = list(peers)[::-1], list(peers.values())[::-1]
        colours = ["#2f7d4f" if "Tagway" in name else "#8a8a8a" for name in programs]
        words = f"CPU of an event, in times a bare aiohttp 204 ({day}; less is better)"
        _bars(rows[1, 0], programs, ratios, colours, [f" {ratio:.3g} x" for ratio in ratios], words)
    figure.savefig(PICTURE, dpi=110)


def _bars(axes: Any, names: list[str], lengths: list[float], colours: list[str], labels: list[str], words: str) -> None:
    """Horizontal bars with a label at the end of each; `words` stand below."""
    axes.barh(names, lengths, color=colours)
    for place, (length, label) in enumerate(zip(lengths, labels, strict=True)):
        axes.annotate(label, (length, place), va="center", fontsize=8)
    axes.set_xlabel(words)
    axes.margins(x=0.15)
