"""Runs cases through the real gateway: its own front door, store and lanes, with a recorder where the vendor would be.

One source and one destination per case, both named after it; one gateway per distinct clock of the cases. A case is done
when nothing of it is queued any more, so each of its events has its outcome in the ledger.
"""

from __future__ import annotations

import asyncio
import base64
from collections import defaultdict
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from aiohttp import web

from gateway.app import Tagway
from gateway.clock import Clock, FrozenClock, parse_instant
from gateway.config.load import load
from tests.conformance import convert
from tests.conformance.cases import Case
from tests.conformance.compare import Result, Sent, compare

SECRET = "TOKEN"
DONE_WITHIN = 60.0
_ANSWERS = {
    "meta": b'{"events_received":1,"messages":[],"fbtrace_id":"A"}',
    "tiktok": b'{"code":0,"message":"OK","request_id":"1","data":{}}',
    "ga4": b"",
    "webhook": b"{}",
}


class Recorder:
    """Stands for every vendor: keeps what arrives by the case's prefix, and answers as the vendor does."""

    def __init__(self, destination: str) -> None:
        self.sent: dict[str, list[Sent]] = defaultdict(list)
        self._answer = _ANSWERS[destination]
        self._runner: web.AppRunner | None = None
        self.url = ""

    async def __aenter__(self) -> Recorder:
        app = web.Application()
        app.router.add_route("*", "/{case}{rest:.*}", self._keep)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    async def _keep(self, request: web.Request) -> web.Response:
        case, _, rest = request.path.lstrip("/").partition("/")
        if not rest.startswith("debug/"):  # GA4's validation endpoint records nothing
            headers = {name.lower(): value for name, value in request.headers.items()}
            body = await request.read()
            self.sent[case].append(Sent(request.method, f"/{rest}" if rest else "", dict(request.query), headers, body))
        return web.Response(body=self._answer, content_type="application/json")


async def run(cases: list[Case], folder: Path) -> list[Result]:
    """Run the cases of one destination and compare. Raises AssertionError when the gateway does not take or settle them."""
    results: list[Result] = []
    groups: dict[str | None, list[Case]] = defaultdict(list)
    for case in cases:
        groups[case.clock].append(case)
    for number, (clock, group) in enumerate(groups.items()):
        async with Recorder(group[0].destination) as recorder:
            place = folder / str(number)
            environment = _write(group, recorder.url, place)
            await _deliver(group, place, environment, FrozenClock(parse_instant(clock)) if clock else Clock())
            results.extend(compare(case, recorder.sent[case.slug]) for case in group)
    return results


def _write(cases: list[Case], recorder: str, folder: Path) -> dict[str, str]:
    """The configuration of a group; returns the environment that it refers to."""
    (folder / "destinations").mkdir(parents=True)
    loopback = "127.0.0.1:0"
    gateway: dict[str, Any] = {
        "listen": loopback,
        "admin": {"listen": loopback},
        "metrics": {"listen": loopback},
        "queue": {"path": "data"},
        "sources": {case.slug: convert.source(case) for case in cases},
        "destinations": "destinations/",
    }
    (folder / "gateway.yaml").write_text(_dump(gateway))
    for case in cases:
        (folder / "destinations" / f"{case.slug}.yaml").write_text(_dump(convert.destination(case, recorder)))
    return {"CASE_SECRET": SECRET} | {convert.key_name(case): f"sk_{case.slug}" for case in cases}


class _Dumper(yaml.SafeDumper):
    """Without anchors: our loader takes none."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _dump(tree: Any) -> str:
    return yaml.dump(tree, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=10_000)


async def _deliver(cases: list[Case], folder: Path, environment: dict[str, str], clock: Clock) -> None:
    gateway = Tagway(load(folder / "gateway.yaml", environment), clock=clock, drain=0)
    await gateway.start()
    try:
        async with aiohttp.ClientSession(f"http://{gateway.addresses['public']}") as session:
            for case in cases:
                await _post(session, case)
        deadline = asyncio.get_running_loop().time() + DONE_WITHIN
        while queued := [case.id for case in cases if gateway.store.depth(case.slug).queued]:
            assert asyncio.get_running_loop().time() < deadline, f"not settled: {queued}"
            await asyncio.sleep(0.02)
    finally:
        await gateway.stop()


async def _post(session: aiohttp.ClientSession, case: Case) -> None:
    route = "/v1/events" if case.walker else "/v1/batch"
    key = base64.b64encode(f"sk_{case.slug}:".encode()).decode()
    async with session.post(route, json=convert.body(case), headers={"Authorization": f"Basic {key}"}) as answer:
        assert answer.status == 200 or case.rejected is not None, f"{case.id}: HTTP {answer.status} {await answer.text()}"
