"""What the demo's page shows, as one JSON value: the gateway's process, each vendor's inbox and switch, the last orders.

    board.watch()  →  the whole value at once, and again whenever it changed; a page that reconnects has missed nothing.

The lab is in this process and is read directly; the gateway is asked on its admin listener, twice a second and only while
somebody watches.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import orjson

from gateway.config.models import Gateway
from gateway.demo.child import GatewayProcess
from gateway.demo.ports import HOST, Ports
from gateway.demo.verdicts import TITLES, Facts, Verdict, counted, is_purchase, verdict
from gateway.explain import Decision, story_of_event
from gateway.lab import Entry, Lab
from gateway.plans import prepare

EVERY = 0.25
ASK_EVERY = 0.5
KEPT_ORDERS = 50
SHOWN_ORDERS = 8
SHOWN_ENTRIES = 8
TIMEOUT = aiohttp.ClientTimeout(total=2)

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Order:
    """An order of the shop, and what the gateway said of its event so far."""

    number: str
    event: str
    total: float
    consent: str
    stored: Mapping[str, Any] | None = None
    decisions: Mapping[str, Decision] = field(default_factory=dict)
    tries: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def mine(self, entry: Entry) -> bool:
        """Whether an entry of an inbox is this order; Google Analytics is told the order number instead of an event id."""
        return is_purchase(entry) and entry.id in (self.event, self.number)


class Board:
    """Gathers and hands out. `first` is how many seconds after `began` the first event was delivered."""

    def __init__(self, config: Gateway, ports: Ports, lab: Lab, gateway: GatewayProcess, began: float) -> None:
        self._ports, self._lab, self._gateway, self._began = ports, lab, gateway, began
        self._ready = prepare(config)
        self._orders: OrderedDict[str, Order] = OrderedDict()
        self._watchers: set[asyncio.Queue[bytes]] = set()
        self._last = b""
        self._lanes: Mapping[str, Any] = {}
        self._books: Mapping[str, Any] = {}
        self._answers = False
        self._asked = 0.0
        self.first: float | None = None
        self.delivered = asyncio.Event()

    def add_order(self, order: Order) -> None:
        """Follow an order; the oldest is forgotten."""
        self._orders[order.number] = order
        while len(self._orders) > KEPT_ORDERS:
            self._orders.popitem(last=False)

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        async with aiohttp.ClientSession(timeout=TIMEOUT) as client:
            while True:
                try:
                    await self._look(client)
                except Exception:  # boundary: the page may miss a look, the demo must not end of it
                    log.exception("the demo's page could not be brought up to date")
                await asyncio.sleep(EVERY)

    async def watch(self) -> AsyncGenerator[bytes, None]:
        """The value as JSON, now and after each change."""
        changes: asyncio.Queue[bytes] = asyncio.Queue(1)
        self._watchers.add(changes)
        try:
            yield orjson.dumps(self.snapshot())
            while True:
                yield await changes.get()
        finally:
            self._watchers.discard(changes)

    def snapshot(self) -> dict[str, Any]:
        """See the module."""
        return {
            "gateway": {
                "pid": self._gateway.pid,
                "up": self._answers,
                "kills": self._gateway.kills,
                "restarts": self._gateway.restarts,
                "back_in": None if self._gateway.back_in is None else round(self._gateway.back_in),
            },
            "ports": {"gateway": self._ports.gateway, "admin": self._ports.admin},
            "first": self.first,
            "balanced": self._books.get("balanced"),
            "vendors": [self._vendor(name) for name in TITLES],
            "orders": [self._order(order) for order in list(self._orders.values())[: -SHOWN_ORDERS - 1 : -1]],
        }

    async def _look(self, client: aiohttp.ClientSession) -> None:
        if self.first is None and any(counted(self._lab.inbox(name)) for name in TITLES):
            self.first = round(time.monotonic() - self._began, 1)
            self.delivered.set()
        if not self._watchers:
            return
        if time.monotonic() - self._asked >= ASK_EVERY or bool(self._gateway.pid) != self._answers:
            self._asked = time.monotonic()
            await self._ask(client)
        value = orjson.dumps(self.snapshot())
        if value != self._last:
            self._last = value
            for watcher in self._watchers:
                with contextlib.suppress(asyncio.QueueEmpty):
                    watcher.get_nowait()
                watcher.put_nowait(value)

    async def _ask(self, client: aiohttp.ClientSession) -> None:
        """Bring the gateway's side up to date; while it is down the last answers stay."""
        if not self._gateway.pid:
            self._answers = False
            return
        try:
            lanes, books = await self._get(client, "/lanes"), await self._get(client, "/ledger")
            for order in list(self._orders.values())[-SHOWN_ORDERS:]:
                await self._follow(client, order)
        except (aiohttp.ClientError, TimeoutError, orjson.JSONDecodeError):
            self._answers = False
            return
        self._lanes = {lane["destination"]: lane for lane in lanes["lanes"]}
        self._books = {**books, "rows": {row["destination"]: row for row in books["destinations"]}}
        self._answers = True

    async def _follow(self, client: aiohttp.ClientSession, order: Order) -> None:
        if order.stored is not None and all(self._settled(order, name) for name in TITLES):
            return
        found = await self._get(client, f"/events/{order.event}")
        if not found["events"]:
            return
        order.stored = found["events"][0]["event"]
        story = story_of_event(self._ready, order.stored, time.time())
        order.decisions = {decision.destination: decision for decision in story.decisions}
        tries: dict[str, list[str]] = {}
        for one in found["firings"]:
            tries.setdefault(one["destination"], []).append(_answer(one))
        order.tries = tries

    def _settled(self, order: Order, name: str) -> bool:
        return self._verdict(order, name).state in ("got", "no")

    def _verdict(self, order: Order, name: str) -> Verdict:
        tries = order.tries.get(name, ())
        facts = Facts(
            entries=[entry for entry in self._lab.inbox(name) if order.mine(entry)],
            mode=self._lab.mode(name),
            consent=None if order.stored is None else order.stored.get("consent", {}),
            decision=order.decisions.get(name),
            tries=len(tries),
            answer=tries[0] if tries else "",
            gateway_up=self._answers,
        )
        return verdict(TITLES[name], self._ready[name].need.requires, facts)

    def _order(self, order: Order) -> dict[str, Any]:
        verdicts = {name: self._verdict(order, name) for name in TITLES}
        return {
            "order": order.number,
            "total": order.total,
            "consent": order.consent,
            "vendors": {name: {"state": one.state, "words": one.words, "detail": one.detail} for name, one in verdicts.items()},
        }

    def _vendor(self, name: str) -> dict[str, Any]:
        entries = self._lab.inbox(name)
        taken = counted(entries)
        lane = self._lanes.get(name, {})
        return {
            "name": name,
            "title": TITLES[name],
            "mode": self._lab.mode(name),
            "events": len(taken),
            "purchases": sum(map(is_purchase, taken)),
            "state": lane.get("state", "running"),
            "queued": lane.get("queued", 0),
            "row": self._books.get("rows", {}).get(name),
            "inbox": [_shown(entry) for entry in entries[: -SHOWN_ENTRIES - 1 : -1]],
        }

    async def _get(self, client: aiohttp.ClientSession, path: str) -> Any:
        async with client.get(f"http://{HOST}:{self._ports.admin}{path}") as answer:
            return orjson.loads(await answer.read())


def _answer(firing: Mapping[str, Any]) -> str:
    """What a vendor said to a request, in few words: some say 200 and mean no."""
    if firing["error"]:
        return f"the last one: {firing['error']}"
    said = "" if firing["status"] >= 400 else f", {firing['answer'][:120]}"
    return f"the last one: answered {firing['status']}{said}"


def _shown(entry: Entry) -> dict[str, Any]:
    return {
        "at": entry.at,
        "name": entry.name,
        "id": entry.id,
        "accepted": entry.accepted,
        "reason": entry.reason,
        "duplicate": entry.duplicate,
        "payload": entry.payload,
    }
