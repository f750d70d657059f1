"""The peers' table in docs/bench.md: written by a run that measured peers, left as it is by any other, with its date."""

from __future__ import annotations

import re
from collections.abc import Mapping

from tests.load.report import PAGE, Figure

START, END = "<!-- peers -->", "<!-- end of peers -->"
OURS = "end to end, three vendors"
NAMES = {OURS: "**Tagway**", "end to end, aiohttp out": "Tagway, aiohttp out"}
HEAD = "| program | CPU an event | x of a bare 204 | x of ours | mapping alone | beside |\n|---|---|---|---|---|---|"


def table(found: Mapping[str, Figure], mapping: Mapping[str, float]) -> str:
    """Markdown: what an event costs each program, how much more than ours, and what mapping alone costs (`mapping`, in µs)."""
    ours = found[OURS].value
    lines = [
        f"| {NAMES.get(name, name)} | {figure.value:,.0f} µs | {figure.ratio:.1f} | {figure.value / ours:.1f} "
        f"| {f'{mapping[name]:,.0f} µs' if name in mapping else ''} | {figure.words} |"
        for name, figure in found.items()
    ]
    return "\n".join([HEAD, *lines])


def rewrite(found: Mapping[str, Figure], mapping: Mapping[str, float], words: str) -> None:
    """Put the table into docs/bench.md."""
    before, _, rest = PAGE.read_text().partition(START)
    PAGE.write_text(f"{before}{START}\n{words}\n\n{table(found, mapping)}\n{END}{rest.partition(END)[2]}")


def shown() -> tuple[dict[str, float], str]:
    """What docs/bench.md holds now: times a bare 204 by program, and the day on which that was measured."""
    block = PAGE.read_text().partition(START)[2].partition(END)[0]
    rows = [[cell.strip() for cell in line.split("|")] for line in block.splitlines() if line.count("|") == 7]
    ratios = {row[1].strip("*"): float(row[3]) for row in rows if re.fullmatch(r"[\d.]+", row[3])}
    dates = re.findall(r"\d{4}-\d{2}-\d{2}", block)
    return ratios, dates[0] if dates else ""
