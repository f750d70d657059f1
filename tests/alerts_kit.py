"""A real Prometheus that watches real gateways with our rules, at the speed of a test.

`overlay` makes of deploy/prometheus/tagway.rules.yaml the same rules with every duration shortened (SHORT): windows, offsets,
`for:` and the horizon of `predict_linear`. Nothing else of an expression changes, so what fires here is what would fire.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from tests.faults.process import free_port
from tests.needs import program

RULES = Path(__file__).parents[1] / "deploy" / "prometheus" / "tagway.rules.yaml"
SHORT = {
    "1m": "1s", "2m": "2s", "5m": "2s", "10m": "3s", "15m": "4s", "30m": "5s", "1h": "6s", "6h": "8s", "1d": "14s", "7d": "40s",
}  # fmt: skip
"""What stands for each duration of the rules; longer ones stay longer. `1d` is also how far a test may look back."""
SCRAPE, EVALUATE = "500ms", "500ms"
_DURATION = r"(\d+[smhdw])"


def overlay(text: str) -> dict[str, Any]:
    """The rule file with short durations. Raises KeyError for a duration that SHORT does not know."""
    document: dict[str, Any] = yaml.safe_load(text)
    for group in document["groups"]:
        group["interval"] = EVALUATE
        for rule in group["rules"]:
            rule["expr"] = shortened(rule["expr"])
            if "for" in rule:
                rule["for"] = SHORT[rule["for"]]
    return document


def shortened(expression: str) -> str:
    """One expression with short durations."""
    expression = re.sub(rf"\[{_DURATION}:{_DURATION}\]", lambda found: f"[{SHORT[found[1]]}:{SHORT[found[2]]}]", expression)
    expression = re.sub(rf"\[{_DURATION}\]", lambda found: f"[{SHORT[found[1]]}]", expression)
    expression = re.sub(rf"\boffset {_DURATION}", lambda found: f"offset {SHORT[found[1]]}", expression)
    return re.sub(r"(predict_linear\([^,]+), 86400\)", rf"\1, {SHORT['1d'].removesuffix('s')})", expression)


class Prometheus:
    """A running Prometheus; `base` is its address."""

    def __init__(self, base: str, http: aiohttp.ClientSession) -> None:
        self._base, self._http = base, http

    async def query(self, expression: str) -> list[dict[str, Any]]:
        """The instant vector of an expression. Raises AssertionError for one that Prometheus does not take."""
        async with self._http.get(f"{self._base}/api/v1/query", params={"query": expression}) as answer:
            found = await answer.json()
            assert found["status"] == "success", f"{expression}: {found}"
            return list(found["data"]["result"])

    async def fired(self) -> dict[str, set[str]]:
        """The alerts that ever fired, by the instance or, where an alert is about a site, the source it names."""
        names: defaultdict[str, set[str]] = defaultdict(set)
        for row in await self.query('count_over_time(ALERTS{alertstate="firing"}[10m])'):
            labels = row["metric"]
            names[labels.get("instance") or labels["source"]].add(labels["alertname"])
        return dict(names)

    async def ready(self) -> None:
        """Wait until it answers queries."""
        async with asyncio.timeout(30):
            while True:
                with contextlib.suppress(aiohttp.ClientError):
                    await self.query("up")
                    return
                await asyncio.sleep(0.1)


@contextlib.asynccontextmanager
async def watching(folder: Path, targets: Mapping[str, str]) -> AsyncIterator[Prometheus]:
    """A Prometheus that scrapes these (instance → address of its metrics) and evaluates the overlay."""
    files(folder, targets)
    async with prometheus_of(folder) as url, aiohttp.ClientSession() as http:
        running = Prometheus(url, http)
        await running.ready()
        yield running


@contextlib.asynccontextmanager
async def prometheus_of(folder: Path) -> AsyncIterator[str]:
    """Debian's Prometheus with the folder's prometheus.yml on a free port: its address, perhaps before it answers."""
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        program("prometheus", "prometheus"),
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        await asyncio.wait_for(process.wait(), 20)


def files(folder: Path, targets: Mapping[str, str]) -> None:
    """Its configuration and its rules."""
    folder.mkdir()
    (folder / "tagway.rules.yaml").write_text(yaml.safe_dump(overlay(RULES.read_text())))
    jobs = [{"targets": [address], "labels": {"instance": name}} for name, address in targets.items()]
    config = {
        "global": {"scrape_interval": SCRAPE, "scrape_timeout": SCRAPE, "evaluation_interval": EVALUATE},
        "rule_files": ["tagway.rules.yaml"],
        "scrape_configs": [{"job_name": "tagway", "static_configs": jobs}],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
