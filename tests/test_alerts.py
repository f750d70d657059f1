"""Every alert against a real Prometheus and real traffic: it fires in its fault, and nothing else does.

A fleet of gateways, each a node with a fault of its own and one that is well, gets hits; Prometheus scrapes them all and
evaluates our rules (tests/alerts_kit.py). A day is 14 seconds here: first all send for so long that yesterday is known, then
the faults begin. The queries of the Grafana dashboard are asked of the same Prometheus.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import re
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
import yaml

from gateway.app import Tagway
from gateway.config.load import load
from gateway.lab import start_lab
from gateway.manifest import Version
from tests import alerts_kit
from tests.alerts_kit import Prometheus, watching
from tests.faults.inject import SteppingClock, no_room, small_disk
from tests.gateway_kit import DENIED, GRANTED, Running, lab_files, purchase, running, write_files
from tests.needs import missing
from tests.vendor import Play, Seen, Vendor

ROOT = Path(__file__).parents[1]
DAY = int(alerts_kit.SHORT["1d"].removesuffix("s"))
HOUR = int(alerts_kit.SHORT["1h"].removesuffix("s"))
FLEET: dict[str, set[str]] = {
    "well": set(),
    "down": {"TagwayDown", "TagwayNoTraffic"},
    "full": {"TagwayDiskSpace", "TagwayQueueFull", "TagwayAvailability"},
    "dripping": {"TagwayLatency"},
    "vendor_refuses": {"TagwayDeliverySuccess", "TagwayDeadLetters"},
    "vendor_fails": {"TagwayQueueOldestAge"},
    "vendor_gone_for_days": {"TagwayQueueOldestAge", "TagwayQueueNearVendorLimit"},
    "dead_token": {"TagwayLanePaused"},
    "silent": {"TagwayNoTraffic"},
    "flooded": {"TagwayTrafficUnusual"},
    "banner_broke": {"TagwayConsentRateJump"},
    "bad_memory": {"TagwayCorruptRows"},
    "token_ends": {"TagwayTokenExpiry"},
    "api_ends": {"TagwayApiSunset"},
}
"""The nodes, and which alerts each must raise."""
STANDING = {"full": {"TagwayDiskSpace"}, "bad_memory": {"TagwayCorruptRows"}, "token_ends": {"TagwayTokenExpiry"}}
STANDING["api_ends"] = {"TagwayApiSunset"}
"""What is so from the start."""
HOOK = "type: webhook\nsettings:\n  url: {url}\n  secret: tagway-lab-webhook-secret\n"


@dataclass
class Node:
    """A gateway of the fleet with its traffic: `pace` events a second, all with the same consent."""

    name: str
    up: Running
    clock: SteppingClock
    pace: float = 10.0
    consent: dict[str, str] = field(default_factory=lambda: GRANTED)
    numbers: Any = field(default_factory=itertools.count)

    async def send(self) -> None:
        """Hits four times a second until it is cancelled; what is refused is not sent again."""
        due = time.monotonic()
        while True:
            count = max(1, round(self.pace / 4)) if self.pace else 0
            events = [purchase(f"{self.name}-{next(self.numbers)}", consent=self.consent) for _ in range(count)]
            if events:
                async with self.up.client.post(f"{self.up.url}/v1/events?k=wk_{self.name}", json=events):
                    pass
            due += 0.25
            await asyncio.sleep(max(0.0, due - time.monotonic()))


class Fleet:
    """All nodes, the vendor that they send to, and what happens to each."""

    def __init__(self, folder: Path, vendor: Vendor) -> None:
        self.folder, self.vendor = folder, vendor
        self.nodes: dict[str, Node] = {}
        self.moods: dict[str, Play] = {}
        self._own: dict[str, AsyncExitStack] = {}
        self._senders: dict[str, asyncio.Task[None]] = {}
        vendor.always(self._answer)

    def _answer(self, seen: Seen) -> Play:
        return self.moods.get(seen.path.strip("/"), Play(200))

    async def add(self, stack: AsyncExitStack, name: str, files: dict[str, str] | None = None, more: str = "") -> None:
        """Start a node; by default its only destination is the vendor, under the node's name."""
        clock, pace = SteppingClock(), 30.0 if name == "banner_broke" else 10.0
        sources = f"  {name}:\n    write_keys: [wk_{name}]\n"
        files = files or {"hook": HOOK.format(url=self.vendor.url(f"/{name}")) + more}
        made = running(self.folder / name, files, sources=sources, clock=clock)
        self._own[name] = await stack.enter_async_context(AsyncExitStack())
        self.nodes[name] = Node(name, await self._own[name].enter_async_context(made), clock, pace)

    async def stop(self, name: str) -> None:
        """Stop a node, as the end of the test would."""
        await self.nodes[name].up.idle()
        await self._own[name].aclose()

    def begin(self) -> None:
        """Let all of them get hits."""
        for name, node in self.nodes.items():
            self._senders[name] = asyncio.create_task(node.send())

    async def end(self, *names: str) -> None:
        """No more hits for these, or for all."""
        tasks = [self._senders.pop(name) for name in names or tuple(self._senders)]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@contextlib.asynccontextmanager
async def fleet(folder: Path) -> AsyncIterator[Fleet]:
    async with AsyncExitStack() as stack:
        lab = await start_lab("127.0.0.1", 0)
        stack.push_async_callback(lab.close)
        vendor = await Vendor().start()
        stack.push_async_callback(vendor.stop)
        if not stack.enter_context(small_disk(folder / "full" / "data", 50)):
            missing("a file system of its own cannot be mounted here")
        await bad_rows(folder / "bad_memory", vendor)
        made = Fleet(folder, vendor)
        in_days = datetime.now(UTC).date() + timedelta(days=3)
        for name in FLEET:
            if name == "well":
                await made.add(stack, name, lab_files(lab))
            else:
                await made.add(stack, name, more=f"token_expires: {in_days}\n" if name == "token_ends" else "")
        made.nodes["bad_memory"].up.balanced = False
        api_ends(made.nodes["api_ends"].up.app, in_days)
        stack.push_async_callback(made.end)
        made.begin()
        yield made


async def bad_rows(folder: Path, vendor: Vendor) -> None:
    """Three events that wait, one of which was altered on disk while the gateway was stopped."""
    sources = "  bad_memory:\n    write_keys: [wk_bad_memory]\n"
    hung = HOOK.format(url=vendor.url("/never"))
    vendor.always(Play(500))
    app = Tagway(load(write_files(folder, {"hook": hung}, sources)), drain=0.0)
    await app.start()
    url = f"http://{app.addresses['public']}/v1/events?k=wk_bad_memory"
    async with aiohttp.ClientSession() as http, http.post(url, json=[purchase(f"old-{n}") for n in range(3)]) as answer:
        assert answer.status == 200
    await app.stop()
    connection = sqlite3.connect(folder / "data" / "tagway.db")
    with connection:
        connection.execute("update log set body = cast(replace(body, 'old-1', 'old-9') as blob)")
    connection.close()


def api_ends(app: Tagway, day: Any) -> None:
    """As after a reload with a manifest whose API version ends on this day: no vendor of ours has announced an end."""
    manifest = app.prepared["hook"].manifest.model_copy(update={"version": Version(api="v1", ends=day)})
    app.meter.attach(app.store, app.config, {"hook": SimpleNamespace(manifest=manifest)})  # type: ignore[dict-item]


async def drip(url: str, key: str) -> None:
    """A hit every tenth of a second whose body comes 0.7 s after its head."""
    host, port = url.removeprefix("http://").split(":")

    async def one(number: int) -> None:
        body = json.dumps(purchase(f"drip-{number}")).encode()
        reader, writer = await asyncio.open_connection(host, int(port))
        try:
            writer.write(f"POST /v1/events?k={key} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode())
            await asyncio.sleep(0.7)
            writer.write(body)
            await reader.readline()
        finally:
            writer.close()

    async with asyncio.TaskGroup() as group:
        for number in itertools.count():
            group.create_task(one(number))
            await asyncio.sleep(0.1)


async def break_all(made: Fleet, stack: AsyncExitStack) -> None:
    """Every fault begins."""
    nodes = made.nodes
    await made.end("down", "silent", "dripping")
    nodes["flooded"].pace = 100.0
    nodes["banner_broke"].consent = DENIED
    made.moods |= {"vendor_refuses": Play(400), "dead_token": Play(401), "vendor_fails": Play(500)}
    made.moods["vendor_gone_for_days"] = Play(500)
    stack.enter_context(no_room(made.folder / "full" / "data"))
    dripping = asyncio.create_task(drip(nodes["dripping"].up.url, "wk_dripping"))
    stack.push_async_callback(_cancelled, dripping)
    await asyncio.sleep(1)
    nodes["vendor_fails"].clock.step_wall(1000)
    nodes["vendor_gone_for_days"].clock.step_wall(2.1 * 86400)
    await made.stop("down")


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def odd_hits(node: Node) -> None:
    """What a site sends beside good events: a repeat, a body that is no JSON, a value that cannot be used, no consent."""
    post, url = node.up.client.post, f"{node.up.url}/v1/events?k=wk_{node.name}"
    while True:
        for body in (
            json.dumps(purchase("well-again")),
            "{",
            json.dumps(purchase(f"odd-{time.monotonic_ns()}", device={**purchase()["device"], "screen_width": "wide"})),
            json.dumps(purchase(f"odd-{time.monotonic_ns()}", consent=DENIED)),
        ):
            async with post(url, data=body):
                pass
        await asyncio.sleep(0.5)


async def until(condition: Callable[[], Awaitable[bool]], seconds: float) -> None:
    """Wait for it, or for so long."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while not await condition():
                await asyncio.sleep(0.5)


def dashboard() -> list[tuple[str, str, set[str]]]:
    """(panel, query, labels that its legend names) of every target, for all nodes."""
    found = []
    for panel in json.loads((ROOT / "deploy" / "grafana" / "tagway.json").read_text())["panels"]:
        for target in panel.get("targets", ()):
            legend = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
            found.append((panel["title"], target["expr"].replace("$instance", ".*"), legend))
    return found


async def empty_panels(prometheus: Prometheus) -> list[str]:
    """The panels that show nothing, or not what their legend names."""
    found = []
    for title, query, legend in dashboard():
        rows = await prometheus.query(query)
        if not rows or not all(legend <= row["metric"].keys() for row in rows):
            found.append(f"{title}: {query} gave {rows[:3]}")
        if any(row["value"][1] in ("NaN", "+Inf", "-Inf") for row in rows) and "histogram_quantile" not in query:
            found.append(f"{title}: {query} gave no number")
    return found


@pytest.mark.slow
async def test_each_alert_fires_in_its_fault_and_every_panel_shows_something(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        made = await stack.enter_async_context(fleet(tmp_path))
        targets = {name: node.up.app.addresses["metrics"] for name, node in made.nodes.items()}
        prometheus = await stack.enter_async_context(watching(tmp_path / "prometheus", targets))
        stack.push_async_callback(_cancelled, asyncio.create_task(odd_hits(made.nodes["well"])))
        await asyncio.sleep(DAY + HOUR + 2)
        assert await prometheus.fired() == STANDING
        await break_all(made, stack)
        expected = {name: alerts for name, alerts in FLEET.items() if alerts}

        async def all_fired() -> bool:
            fired = await prometheus.fired()
            return all(alerts <= fired.get(name, set()) for name, alerts in expected.items())

        await until(all_fired, 25)
        await asyncio.sleep(2)
        assert await prometheus.fired() == expected
        assert await empty_panels(prometheus) == []
        await made.end()


def test_the_fleet_has_a_fault_for_every_alert() -> None:
    rules = [rule for group in yaml.safe_load(alerts_kit.RULES.read_text())["groups"] for rule in group["rules"]]
    assert {rule["alert"] for rule in rules if "alert" in rule} == set.union(*FLEET.values())


def test_the_overlay_changes_durations_and_nothing_else() -> None:
    text = alerts_kit.RULES.read_text()
    ours, made = yaml.safe_load(text), alerts_kit.overlay(text)
    for group, short in zip(ours["groups"], made["groups"], strict=True):
        for rule, one in zip(group["rules"], short["rules"], strict=True):
            assert _without_durations(rule["expr"]) == _without_durations(one["expr"])
            assert {**one, "expr": "", "for": ""} == {**rule, "expr": "", "for": ""}
            assert ("for" in rule) is ("for" in one)
    lengths = [int(short.removesuffix("s")) for short in alerts_kit.SHORT.values()]
    assert lengths == sorted(lengths)
    assert alerts_kit.shortened("rate(a5m[5m]) > 300 unless b offset 1d") == "rate(a5m[2s]) > 300 unless b offset 14s"
    assert "offset 1d" not in json.dumps(made)


def _without_durations(expression: str) -> str:
    expression = re.sub(r"\[\w+(:\w+)?\]|\boffset \w+", "[]", expression)
    return re.sub(r"(predict_linear\([^,]+), \d+\)", r"\1, N)", expression)
