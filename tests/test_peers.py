"""Other programs in the benchmark: what the sink counted decides, the page keeps their rows, and each does the work of ours."""

from __future__ import annotations

import asyncio
import hashlib
import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.client_kit import node_modules
from tests.faults.process import free_port
from tests.load import report
from tests.load.count import VENDORS, Miscounted, settle
from tests.load.driver import CONSENT, purchase
from tests.load.gateways import LOAD_CORE, Pinned, get_json, load
from tests.load.peers import page, programs
from tests.load.peers.programs import HERE, PEERS, Peer, available
from tests.load.report import PAGE, Figure
from tests.load.sink import body_of
from tests.vendor import Play, Vendor

ALL = dict.fromkeys(VENDORS, 5)


@pytest.mark.parametrize(
    ("looks", "told"),
    [
        ([ALL], ""),
        ([{}, {"meta": 5}, ALL], ""),
        ([{**ALL, "ga4": 4}], "'ga4': 4"),
        ([{**ALL, "ga4": 6}], "'ga4': 6"),
        ([ALL, {**ALL, "meta": 6}], "'meta': 6"),
        ([{"meta": 5, "ga4": 5}], "'tiktok': 0"),
        ([{}], "'meta': 0"),
    ],
    ids=["all", "all at last", "one short", "one more", "one twice, late", "a vendor left out", "nothing"],
)
def test_a_run_counts_only_when_the_sink_has_exactly_what_was_sent(looks: list[dict[str, int]], told: str) -> None:
    before = {"meta": 7, "ga4": 7}
    seen = [{vendor: n + before.get(vendor, 0) for vendor, n in look.items()} for look in looks]

    def counts() -> dict[str, int]:
        return {**before, **(seen.pop(0) if len(seen) > 1 else seen[0])}

    if not told:
        settle("a case", counts, before, 5, lambda: True, patience=5, pause=0)
        return
    with pytest.raises(Miscounted, match=told):
        settle("a case", counts, before, 5, lambda: True, patience=0.05, pause=0)


@pytest.fixture
def sink() -> Iterator[int]:
    """The port of the benchmark's sink."""
    port = free_port()
    server = Pinned(LOAD_CORE, "tests.load.sink", str(port))
    try:
        server.wait(f"http://127.0.0.1:{port}/count")
        yield port
    finally:
        server.end()


def test_an_event_that_nobody_sent_is_in_the_count_of_the_sink(sink: int) -> None:
    url = f"http://127.0.0.1:{sink}"
    bodies = {"meta": {"data": [1, 2]}, "tiktok": {"data": [1, 2]}, "ga4": {"events": [1, 2, 3]}}
    for vendor, body in bodies.items():
        urllib.request.urlopen(f"{url}/{vendor}/x", json.dumps(body).encode(), timeout=5).close()
    with pytest.raises(Miscounted, match="'ga4': 3"):
        settle("a case", lambda: get_json(f"{url}/count"), {}, 2, lambda: True, patience=0.2, pause=0.01)


@pytest.mark.parametrize(
    ("head", "rest", "read"),
    [
        (b"post / http/1.1\r\ncontent-length: 2", b"abPOST", (b"ab", b"POST")),
        (b"post / http/1.1\r\ncontent-length: 2", b"a", None),
        (b"get / http/1.1", b"", (b"", b"")),
        (
            b"post / http/1.1\r\ntransfer-encoding: chunked",
            b"3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\nGET",
            (b"abc0123456789", b"GET"),
        ),
        (b"post / http/1.1\r\ntransfer-encoding: chunked", b"3\r\nabc\r\n0\r\n", None),
        (b"post / http/1.1\r\ntransfer-encoding: chunked", b"3\r\nab", None),
        (b"post / http/1.1\r\ntransfer-encoding: chunked", b"3", None),
    ],
)
def test_the_sink_reads_bodies_of_either_framing(head: bytes, rest: bytes, read: tuple[bytes, bytes] | None) -> None:
    assert body_of(head, rest) == read


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A docs/bench.md to write to, with one row of ours."""
    path = tmp_path / "bench.md"
    path.write_text(PAGE.read_text())
    for module in (report, page):
        monkeypatch.setattr(module, "PAGE", path)
    return path


BESIDE = {"bare aiohttp 204": Figure(30, "µs", 30), page.OURS: Figure(300, "µs", 30), "other 1.2.3": Figure(1500, "µs", 30)}


def test_a_run_without_peers_keeps_the_rows_of_the_last_run_with_them_and_its_date(copy: Path) -> None:
    page.rewrite(BESIDE, {page.OURS: 60.4}, "measured on 2026-01-02")
    report.rewrite({page.OURS: Figure(280, "µs", 30)}, "measured on 2026-03-04")
    assert page.shown() == ({"bare aiohttp 204": 1.0, "Tagway": 10.0, "other 1.2.3": 50.0}, "2026-01-02")
    assert "| **Tagway** | 300 µs | 10.0 | 1.0 | 60 µs |" in copy.read_text()
    assert "| other 1.2.3 | 1,500 µs | 50.0 | 5.0 |  |" in copy.read_text()
    assert report.last_figures() == {page.OURS: pytest.approx(280 / 30, abs=0.01)}


def test_a_run_of_peers_alone_leaves_the_table_of_ours_as_it_is(copy: Path) -> None:
    before = report.held()
    page.rewrite(BESIDE, {page.OURS: 60.4}, "measured on 2026-01-02")
    page.rewrite(BESIDE, {page.OURS: 60.4}, "measured on 2026-01-03")
    assert report.held() == before
    assert page.shown()[1] == "2026-01-03"
    assert copy.read_text().count("other 1.2.3") == 1


@pytest.mark.parametrize(
    ("there", "line"),
    [((), "node and npm missing"), (("node",), "npm missing"), (("node", "npm"), "npm could not install")],
)
def test_a_peer_that_cannot_be_run_is_told_and_left_out(
    there: tuple[str, ...], line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refused(folder: Path) -> Path:
        raise AssertionError("npm error code E404")

    monkeypatch.setattr(programs.shutil, "which", lambda name: name if name in there else None)
    monkeypatch.setattr(programs, "node_modules", refused)
    found, lines = available()
    assert found == []
    assert [line in told for told in lines] == [True] * len(PEERS)
    assert all("LEFT OUT" in told for told in lines)


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


MAIL, FIRST, PHONES = sha256("jane.doe+0@example.com"), sha256("jane"), {sha256("+4915112345678"), sha256("4915112345678")}


def one(value: Any) -> Any:
    """The value, or the only one of a list."""
    return value[0] if isinstance(value, list) else value


def check_meta(body: dict[str, Any]) -> None:
    (event,) = body["data"]
    user, order = event["user_data"], event["custom_data"]
    assert (event["event_name"], one(user["em"]), one(user["fn"])) == ("Purchase", MAIL, FIRST)
    assert one(user["ph"]) in PHONES
    assert (order["value"], order["currency"], order["order_id"]) == (129.9, "EUR", "o-0")
    assert [(item["id"], item["quantity"], item["item_price"]) for item in order["contents"]] == ITEMS


def check_ga4(body: dict[str, Any]) -> None:
    (event,) = body["events"]
    order = event["params"]
    assert (body["client_id"], body["user_id"], event["name"]) == ("0.1795500000", "cust-0", "purchase")
    assert (order["value"], order["currency"], order["transaction_id"]) == (129.9, "EUR", "o-0")
    assert (order["page_title"], order["tax"], order["shipping"]) == ("Thank you", 20.74, 4.9)
    assert [(item["item_id"], item["quantity"], item["price"]) for item in order["items"]] == ITEMS


def check_tiktok(body: dict[str, Any]) -> None:
    (event,) = body["data"]
    user, order = event["user"], event["properties"]
    assert (one(user["email"]), one(user["first_name"])) == (MAIL, FIRST)
    assert one(user["phone"]) in PHONES
    assert (order["value"], order["currency"], order["order_id"]) == (129.9, "EUR", "o-0")
    assert [(item["content_id"], item["quantity"], item["price"]) for item in order["contents"]] == ITEMS


ITEMS = [(f"sku-{n}", 1, 41.67) for n in range(3)]
CHECKS = {"meta": check_meta, "ga4": check_ga4, "tiktok": check_tiktok}


@pytest.mark.slow
@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.folder)
async def test_a_peer_maps_the_whole_order_for_each_vendor(peer: Peer, vendor: Vendor) -> None:
    vendor.always(Play(200))
    url = f"http://127.0.0.1:{(port := free_port())}/"
    server = peer.start(await node_modules(HERE / peer.folder), port, vendor.port)
    try:
        await asyncio.to_thread(server.wait, url)
        hit = json.dumps(purchase(0)).encode()
        answer = await asyncio.to_thread(urllib.request.urlopen, url, hit, 10)
        answer.close()
    finally:
        server.end()
    assert answer.status == 204
    assert sorted(seen.path.split("/")[1] for seen in vendor.seen) == sorted(CHECKS)
    for seen in vendor.seen:
        CHECKS[seen.path.split("/")[1]](seen.json())


def counted_load(peer: Peer, url: str, sink: int, requests: int, patience: float = 5) -> None:
    """As the benchmark does it: load, then the count of the sink."""
    load(url, requests, 4)
    settle(peer.name, lambda: get_json(f"http://127.0.0.1:{sink}/count"), {}, requests, lambda: True, patience)


@pytest.mark.slow
@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.folder)
def test_what_a_peer_sends_under_load_is_what_the_sink_counts(peer: Peer, sink: int) -> None:
    modules = asyncio.run(node_modules(HERE / peer.folder))
    url = f"http://127.0.0.1:{(port := free_port())}/"
    server = peer.start(modules, port, sink)
    try:
        server.wait(url)
        counted_load(peer, url, sink, 64)
        assert server.cpu() > 0
    finally:
        server.end()


@pytest.mark.slow
@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.folder)
def test_mapping_alone_makes_three_requests_an_event_and_sends_none(peer: Peer) -> None:
    assert peer.mapping(asyncio.run(node_modules(HERE / peer.folder)), warm=5, counted=20) > 0


@pytest.mark.slow
@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.folder)
def test_a_peer_that_makes_no_request_has_no_figure(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    nobody = dict.fromkeys(CONSENT, "denied")
    monkeypatch.setattr(programs, "purchase", lambda number: {**purchase(number), "consent": nobody, "ids": {}})
    with pytest.raises(SystemExit, match=peer.row):
        peer.mapping(asyncio.run(node_modules(HERE / peer.folder)), warm=1, counted=1)


@pytest.mark.slow
@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.folder)
def test_a_peer_whose_requests_reach_nobody_ends_the_run(peer: Peer, sink: int) -> None:
    """Segment's answers say so; walkerOS's API destination takes a refused connection for done, only the sink tells."""
    modules = asyncio.run(node_modules(HERE / peer.folder))
    url = f"http://127.0.0.1:{(port := free_port())}/"
    server = peer.start(modules, port, free_port())
    try:
        server.wait(url)
        with pytest.raises(SystemExit, match=r"answers other than 2xx|the sink counted"):
            counted_load(peer, url, sink, 4, patience=0.2)
    finally:
        server.end()


@pytest.mark.parametrize(("cost", "missed"), [(115.0, False), (116.0, True)])
def test_receivers_are_held_to_what_one_process_costs_in_the_same_run(cost: float, missed: bool) -> None:
    found = {"ingest, one event": Figure(100.0, "µs", 40.0), "ingest, two receivers": Figure(cost, "µs", 40.0)}
    said = report.verdicts(found, {})
    assert any(line.startswith("MISSED  ingest, two receivers: 1.16 times ingest, one event") for line in said) is missed
    assert "≤ 1.15 of ingest, one event" in report.table(found, {})
