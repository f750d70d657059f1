"""The demo's parts: ports, the files it writes, the child process, the guard of its routes, and the words of its verdicts."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gateway.config.load import load
from gateway.demo import child
from gateway.demo.configuration import write_config
from gateway.demo.ports import HOST, OPTIONS, USUAL, Ports, choose, moved
from gateway.demo.running import Demo, demo
from gateway.demo.shop import FILES, STATIC
from gateway.demo.verdicts import Facts, Verdict, verdict
from gateway.errors import GatewayError
from gateway.lab import Entry
from tests.demo_kit import DemoProcess, demo_process, until
from tests.faults.process import free_port


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody listens on."""
    with socket.socket() as held:
        held.bind((HOST, 0))
        held.listen()
        yield int(held.getsockname()[1])


def free_ports() -> Ports:
    return Ports(*(free_port() for _ in range(5)))


# ports


def test_a_usual_port_that_is_taken_is_replaced_by_the_next_free_one(taken: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.demo.ports.USUAL", Ports(shop=taken, gateway=taken))
    ports = choose({})
    assert taken < ports.shop < ports.gateway
    assert len(moved(ports)) >= 2


def test_a_wanted_port_that_is_taken_is_an_error_that_names_the_option(taken: int) -> None:
    for name, option in OPTIONS.items():
        with pytest.raises(GatewayError, match=f"port {taken} is taken; give another one with {option}"):
            choose({name: taken})


def test_two_listeners_on_one_port_are_refused() -> None:
    port = free_port()
    with pytest.raises(GatewayError, match="cannot share a port"):
        choose({"shop": port, "lab": port})


def test_the_usual_ports_are_not_mentioned() -> None:
    assert moved(USUAL) == []


# configuration


@pytest.mark.parametrize(
    "ports",
    [USUAL, Ports(8091, 8081, 9091, 9465, 9101), Ports(shop=8080, gateway=8090, admin=9100, metrics=9090, lab=9464)],
    ids=["usual", "others", "the usual ones among themselves"],
)
def test_the_written_files_name_the_ports_and_the_store_of_this_demo(tmp_path: Path, ports: Ports) -> None:
    config = load(write_config(tmp_path, ports))
    assert config.listen == f"{HOST}:{ports.gateway}"
    assert config.admin.listen == f"{HOST}:{ports.admin}"
    assert config.metrics.listen == f"{HOST}:{ports.metrics}"
    assert sorted(config.sources["shop"].origins) == [f"http://{HOST}:{ports.shop}", f"http://localhost:{ports.shop}"]
    assert Path(config.queue.path) == tmp_path / "store"
    assert {one.endpoint or one.settings["url"] for one in config.destinations.values()} == {
        f"http://{HOST}:{ports.lab}/{name}" for name in ("meta", "ga4", "tiktok", "webhook")
    }


def test_writing_again_leaves_other_files_of_the_folder_alone(tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "mine.yaml").write_text("kept")
    write_config(tmp_path, USUAL)
    write_config(tmp_path, USUAL)
    assert (tmp_path / "config" / "mine.yaml").read_text() == "kept"


# log lines


@pytest.mark.parametrize(
    ("line", "verbose", "text"),
    [
        (b'{"level":"info","message":"gateway started","time":"t","logger":"l"}\n', False, ""),
        (b'{"level":"info","message":"gateway started","time":"t"}\n', True, "gateway info: gateway started"),
        (
            b'{"level":"warning","message":"Lane paused","destination":"meta","time":"t"}\n',
            False,
            "gateway warning: Lane paused (destination: meta)",
        ),
        (b"Traceback (most recent call last):\n", False, "gateway: Traceback (most recent call last):"),
        (b"[1]\n", False, "gateway: [1]"),
        (b"\n", False, ""),
    ],
)
def test_only_log_lines_that_somebody_needs_reach_the_terminal(line: bytes, verbose: bool, text: str) -> None:
    assert child.readable(line, verbose=verbose) == text


async def test_a_line_longer_than_the_buffer_is_read_in_parts() -> None:
    stream = asyncio.StreamReader(limit=16)
    stream.feed_data(b"x" * 40 + b"\nshort\n")
    stream.feed_eof()
    read = b""
    while part := await child._line(stream):
        read += part
    assert read == b"x" * 40 + b"\nshort\n"


# verdicts


def entry(*, accepted: bool = True, duplicate: bool = False, reason: str = "") -> Entry:
    return Entry(0.0, "meta", "Purchase", "e-1", accepted, reason, {}, duplicate)


DENIED = {"state": "skipped", "reason": "consent", "detail": "ad_user_data is denied (event)"}
UNKNOWN = {"state": "skipped", "reason": "consent", "detail": "analytics_storage is unknown: no signal on the hit"}
GPC = {"state": "skipped", "reason": "consent", "detail": "sale opt-out (GPC)"}
BOT = {"state": "skipped", "reason": "bot", "sentence": "The visitor looks like a bot.", "detail": "score 90"}
DEAD = {"state": "dead", "reason": "auth", "sentence": "Given up.", "detail": "401"}
RETRYING = {"state": "retrying", "answers": [{}, {}]}
KEPT = "it is kept on disk"


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (Facts([entry()], None, None), Verdict("got", "once")),
        (
            Facts([entry(), entry(duplicate=True)], "500", None),
            Verdict("got", "once", "sent again with the same id, Meta counts it once"),
        ),
        (Facts([entry(accepted=False, reason="too old")], None, DENIED), Verdict("refused", "too old")),
        (Facts([entry(accepted=False, reason="too old"), entry()], None, None), Verdict("got", "once")),
        (Facts([], None, None), Verdict("kept", "the shop sends it now")),
        (Facts([], None, None, gateway_up=False), Verdict("kept", "the gateway is down, the shop keeps it")),
        (Facts([], None, DENIED), Verdict("no", "the visitor said no to ads", DENIED["detail"])),
        (Facts([], None, UNKNOWN), Verdict("no", "the visitor has not answered, and that is a no", UNKNOWN["detail"])),
        (Facts([], None, GPC), Verdict("no", "the visitor opted out", GPC["detail"])),
        (Facts([], None, BOT), Verdict("no", "The visitor looks like a bot.", "score 90")),
        (Facts([], None, DEAD), Verdict("refused", "Given up.", "401")),
        (Facts([], None, {"state": "queued"}), Verdict("waiting", "on its way")),
        (Facts([], None, {"state": "delivered"}), Verdict("waiting", "on its way")),
        (Facts([], "hang", {"state": "queued"}), Verdict("waiting", "Meta is down (it does not answer)", KEPT)),
        (Facts([], "401", RETRYING), Verdict("waiting", "Meta does not accept our token", f"2 tries so far, {KEPT}")),
        (
            Facts([], None, RETRYING),
            Verdict("waiting", "Meta is up again, the next try brings it", f"2 tries so far, {KEPT}"),
        ),
    ],
)
def test_a_verdict_says_what_became_of_an_order(facts: Facts, expected: Verdict) -> None:
    assert verdict("Meta", facts) == expected


def test_a_repeat_that_the_vendor_counts_is_not_hidden() -> None:
    assert verdict("Google Analytics", Facts([entry(), entry()], None, None)).words == "2 times"


# routes and the child process


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Demo]:
    async with demo(tmp_path, free_ports(), lambda _line: None) as one:
        yield one


@pytest.fixture
async def client(running: Demo) -> AsyncIterator[aiohttp.ClientSession]:
    own = f"http://{HOST}:{running.ports.shop}"
    async with aiohttp.ClientSession(own, headers={"Origin": own}) as session:
        yield session


@pytest.mark.slow
async def test_the_page_and_its_files_load_nothing_from_elsewhere(client: aiohttp.ClientSession) -> None:
    for path in ("/", *(f"/static/{name}" for name in FILES)):
        async with client.get(path) as answer:
            text = await answer.text()
            assert answer.status == 200
            assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
            assert not [word for word in ("https://", "http://www", "//cdn") if word in text.replace("http://www.w3.org/", "")]
    async with client.get("/static/..%2f..%2fshop.py") as answer:
        assert answer.status == 404
    assert sorted(path.name for path in STATIC.iterdir()) == sorted([*FILES, "index.html"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": f"http://{HOST}:1"}, 403),
        ({"Origin": ""}, 403),
        ({"Host": "evil.example", "Origin": "http://evil.example"}, 403),
        ({"Host": "rebound.example:8090"}, 403),
        ({"Content-Type": "text/plain"}, 403),
    ],
    ids=lambda value: str(value),
)
async def test_only_the_demos_own_page_may_press_its_buttons(
    running: Demo, client: aiohttp.ClientSession, headers: dict[str, str], status: int
) -> None:
    sent = {"Content-Type": "application/json", **headers}
    for path in ("/api/vendors/meta", "/api/gateway/kill", "/api/gateway/start", "/api/orders"):
        body = b'{"mode": "500", "event": "e", "total": 1, "consent": "all"}'
        if status == 200 and path.endswith("kill"):
            continue
        async with client.post(path, data=body, headers=sent) as answer:
            assert answer.status == status, path
    assert running.lab.mode("meta") == ("500" if status == 200 else None)
    assert running.gateway.kills == 0


@pytest.mark.slow
async def test_a_foreign_host_reads_nothing(client: aiohttp.ClientSession) -> None:
    for path in ("/", "/api/stream"):
        async with client.get(path, headers={"Host": "evil.example"}) as answer:
            assert answer.status == 403
    async with client.get("/api/gateway/kill") as answer:
        assert answer.status == 405


@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/vendors/nobody", {"mode": "500"}),
        ("/api/vendors/meta", {"mode": "asleep"}),
        ("/api/orders", {"event": "e", "total": 1, "consent": "maybe"}),
        ("/api/orders", {"event": "e", "total": "1", "consent": "all"}),
        ("/api/orders", {}),
        ("/api/orders", []),
    ],
)
async def test_nonsense_is_refused(client: aiohttp.ClientSession, path: str, body: Any) -> None:
    async with client.post(path, json=body) as answer:
        assert answer.status == 400


@pytest.mark.slow
async def test_order_numbers_go_on_where_a_kept_store_left_off(tmp_path: Path) -> None:
    numbers = []
    for _ in range(2):
        async with demo(tmp_path, free_ports(), lambda _line: None) as one:
            own = f"http://{HOST}:{one.ports.shop}"
            order = {"event": "e", "total": 1, "consent": "all"}
            async with (
                aiohttp.ClientSession() as session,
                session.post(f"{own}/api/orders", json=order, headers={"Origin": own}) as answer,
            ):
                numbers.append((await answer.json())["order"])
    assert numbers == ["1001", "1002"]


@pytest.mark.slow
async def test_a_killed_gateway_comes_back_and_so_does_one_that_ended(running: Demo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "KILLED_FOR", 30.0)
    first = running.gateway.pid
    assert running.gateway.kill() is True
    await _until(lambda: running.gateway.back_in is not None)
    assert running.gateway.pid == 0
    assert running.gateway.kill() is False
    assert running.gateway.back_in is not None
    assert 20 < running.gateway.back_in <= 30
    running.gateway.start_now()
    await _until(lambda: running.gateway.pid not in (0, first))
    second = running.gateway.pid
    os.kill(second, signal.SIGKILL)
    await _until(lambda: running.gateway.pid not in (0, second))
    assert (running.gateway.kills, running.gateway.restarts) == (1, 2)


async def _until(condition: Any) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.02)


@pytest.mark.slow
async def test_a_gateway_that_cannot_start_is_an_error_and_leaves_nothing_behind(tmp_path: Path, taken: int) -> None:
    lines: list[str] = []
    ports = Ports(*(free_port() for _ in range(2)), admin=taken, metrics=free_port(), lab=free_port())
    with pytest.raises(GatewayError, match="ended as soon as it was started"):
        async with demo(tmp_path, ports, lines.append):
            pass
    assert any(str(taken) in line for line in lines), lines
    assert [task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith("demo-")] == []


# the command


@pytest.mark.slow
def test_the_command_says_what_to_open_delivers_and_ends_at_ctrl_c(tmp_path: Path) -> None:
    with demo_process(tmp_path) as one:
        curls = [line.strip() for line in one.output.splitlines() if line.strip().startswith("curl ")]
        assert len(curls) == 2
        for curl in curls:
            done = subprocess.run(["sh", "-c", curl], capture_output=True, text=True, check=True)
            assert '"accepted":1' in done.stdout
        books = one.books()
        assert books["balanced"] is True
        for row in books["destinations"]:
            assert {(cell["words"], cell["events"]) for cell in row["outcomes"]} == {("delivered", 1), ("no consent", 1)}
        until(lambda: "First event delivered" in one.printed(), 10, "the first delivery was not told")
        assert one.url in one.output
        assert "gateway started" not in one.printed(), "log lines flood the terminal"
        _stops_quickly(one, 5)


def _stops_quickly(one: DemoProcess, seconds: float) -> None:
    gateway = one.board()["gateway"]["pid"]
    one.process.send_signal(signal.SIGINT)
    assert one.process.wait(seconds) == 0, one.printed()
    assert not _alive(gateway)
    assert "Traceback" not in one.printed()


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.slow
def test_ctrl_c_is_quick_while_a_vendor_hangs(tmp_path: Path) -> None:
    with demo_process(tmp_path) as one:
        assert one.post("/api/vendors/meta", {"mode": "hang"})[0] == 200
        curl = next(line.strip() for line in one.output.splitlines() if line.strip().startswith("curl "))
        subprocess.run(["sh", "-c", curl], capture_output=True, check=True)
        until(lambda: any(lane["in_flight"] for lane in one.get("admin", "/lanes")["lanes"]), 10, "nothing was sent")
        _stops_quickly(one, 8)


@pytest.mark.slow
def test_no_gateway_is_left_when_the_demo_itself_is_killed(tmp_path: Path) -> None:
    with demo_process(tmp_path, "--data", str(tmp_path / "kept")) as one:
        gateway = one.board()["gateway"]["pid"]
        one.process.kill()
        until(lambda: not _alive(gateway), 20, "the gateway outlived the demo")


@pytest.mark.slow
def test_a_taken_port_is_one_line_and_exit_status_1(tmp_path: Path, taken: int) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "gateway", "demo", "--admin-port", str(taken)],
        capture_output=True, text=True, cwd=tmp_path, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert (
        done.stderr == f"error: port {taken} is taken; give another one with --admin-port, or none to let the demo find one\n"
    )
