"""The command line's manners: exit codes, one line per mistake, no traceback, colour only on a terminal, help that teaches."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar

import aiohttp
import click
import pytest

from gateway.cli import VERBS, main
from gateway.cli.tap import Filter, Tap, text_of
from gateway.observe.ledger_parts import event_rows, event_table, of_source
from gateway.queue.base import Audit, Counter, LaneCount, SourceCount
from tests.cli_kit import SECRETS, call, gateway_up, in_thread, tagway, write_gateway
from tests.gateway_kit import DENIED, purchase

ROOT = Path(__file__).parents[1]
SOURCES = "  shop:\n    write_keys: [wk_shop]\n    server_keys: [sk_shop]\n"
META = "type: meta\nmode: dry_run\nsettings:\n  pixel_id: '1234567890'\n  access_token: T\n"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [*SECRETS, "TAGWAY_CONFIG", "NO_COLOR"]:
        monkeypatch.delenv(name, raising=False)
    Path("good").mkdir()
    Path("good/gateway.yaml").write_text(
        "lab: true\nadmin:\n  listen: 127.0.0.1:9\nsources:\n  shop:\n    write_keys: [wk_shop]\n"
        f"destinations:\n  meta:\n    {META.replace(chr(10), chr(10) + '    ').rstrip()}\n"
    )
    Path("bad").mkdir()
    Path("bad/gateway.yaml").write_text("lisen: x\nsources:\n  shop:\n    write_keys: [wk_shop]\n    origns: []\n")
    Path("text.json").write_text("{")


GOOD, BAD = ("-c", "good/gateway.yaml"), ("-c", "bad/gateway.yaml")
NOT_RUNNING = "no gateway answers on 127.0.0.1:9"
TABLE: list[tuple[tuple[str, ...], int, str, str]] = [
    # command, exit code, stdout contains, stderr contains
    (("--version",), 0, "tagway", ""),
    (("--help",), 0, "tagway demo", ""),
    ((), 2, "", "Usage: tagway"),
    (("serv",), 2, "", "there is no verb serv; did you mean serve?"),
    (("zzz",), 2, "", "there is no verb zzz; there are: serve, demo"),
    (("check",), 1, "", "no configuration file at configs/gateway.yaml and /etc/tagway/gateway.yaml"),
    (("check", "-c", "none.yaml"), 1, "", "no configuration file at none.yaml"),
    (("check", *GOOD), 0, "good/gateway.yaml: fine. Sources: shop. Destinations: meta (meta, dry_run).", ""),
    (("check", *GOOD, "--json"), 0, '"ok": true', ""),
    (("check", *BAD), 1, "", "error: bad/gateway.yaml:1: lisen is not a known key"),
    (("check", *BAD), 1, "", "error: bad/gateway.yaml:5: sources.shop.origns is not a known key"),
    (("check", *BAD, "--json"), 1, '"ok": false', ""),
    (("check", "--frob"), 2, "", "No such option"),
    (("serve", *BAD), 1, "", "lisen is not a known key"),
    (("audit", *GOOD), 1, "", "there is no store at"),
    (("dlq", "list", *GOOD), 1, "", NOT_RUNNING),
    (("dlq", "show", "1", *GOOD), 1, "", NOT_RUNNING),
    (("dlq", "show", "x", *GOOD), 2, "", "'x' is not a valid integer"),
    (("dlq", "replay", *GOOD), 2, "", "name which ones (--to, --reason, --id …), or --all"),
    (("dlq", "drop", *GOOD), 2, "", "name which ones"),
    (("dlq", "list", "--outcome", "lost", *GOOD), 2, "", "'lost' is not one of"),
    (("replay", *GOOD), 2, "", "Missing option '--to'"),
    (("replay", "--to", "meta", "--since", "3d", *GOOD), 1, "", NOT_RUNNING),
    (("reload", *GOOD), 1, "", NOT_RUNNING),
    (("tap", *GOOD), 1, "", NOT_RUNNING),
    (("tap", "--to", "mata", *GOOD), 1, "", "there is no destination mata; did you mean meta?"),
    (("tap", "--outcome", "deliverd", *GOOD), 1, "", "there is no outcome deliverd; did you mean delivered?"),
    (("tap", "--last", "-1", *GOOD), 2, "", "Invalid value for '--last'"),
    (("lab", "--listen", "0.0.0.0:9100"), 2, "", "the lab listens on loopback only"),
    (("lab", "--listen", "127.0.0.1"), 2, "", "--listen must be host:port"),
    (("destinations",), 0, "meta", ""),
    (("destinations", "--json"), 0, '"type": "meta"', ""),
    (("schema", "event"), 0, '"$schema"', ""),
    (("schema", "evnt"), 2, "", "'evnt' is not one of"),
    (("completion", "bash"), 0, "_TAGWAY_COMPLETE=bash_complete", ""),
    (("completion", "powershell"), 2, "", "is not one of"),
    (("init",), 2, "", "name the site with --site"),
    (("send", "--to", "mata", *GOOD), 1, "", "did you mean meta?"),
    (("send", *GOOD), 2, "", "Missing option '--to'"),
    (("explain", "text.json", *GOOD), 1, "", "text.json is neither JSON"),
    (("keys", "new", "--source", "x", *GOOD), 1, "", "name the source with --source: shop"),
    (("keys", "list", *BAD), 1, "", "lisen is not a known key"),
]


@pytest.mark.parametrize(("args", "code", "stdout", "stderr"), TABLE, ids=[" ".join(row[0]) or "nothing" for row in TABLE])
def test_a_command_ends_as_it_should(args: tuple[str, ...], code: int, stdout: str, stderr: str) -> None:
    result = tagway(*args)
    assert result.exit_code == code, result.output
    assert stdout in result.stdout
    assert stderr in result.stderr
    assert "Traceback" not in result.output
    assert "\x1b[" not in result.output, "no colour where nobody looks"
    if code == 1 and "--json" not in args:
        assert all(line.startswith("error: ") for line in result.stderr.splitlines()), result.stderr


def commands() -> Iterator[tuple[str, click.Command]]:
    context = click.Context(main)
    for name in VERBS:
        command = main.get_command(context, name)
        assert command is not None
        yield name, command
        if isinstance(command, click.Group):
            yield from ((f"{name} {inner}", one) for inner, one in command.commands.items())


@pytest.mark.parametrize("name", [name for name, _ in commands()])
def test_help_says_what_it_does_and_every_option(name: str) -> None:
    result = tagway(*name.split(), "--help")
    assert result.exit_code == 0
    command = dict(commands())[name]
    assert command.help, "a verb says what it does"
    assert len(command.help.split("\n", 1)[0]) < 120
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{name} {parameter.name} has no help"


@pytest.mark.parametrize(
    "name", ["init", "send", "tap", "keys", "explain", "check", "audit", "dlq", "replay", "lab", "completion"]
)
def test_help_teaches_by_examples(name: str) -> None:
    assert re.search(rf"^  tagway {name} |\b{name} ", tagway(name, "--help").stdout, re.MULTILINE)


def test_every_verb_of_the_list_can_be_imported_and_is_listed() -> None:
    shown = tagway("--help").stdout
    for name in VERBS:
        assert re.search(rf"^  {name} ", shown, re.MULTILINE)


class TestCompletion:
    @pytest.mark.parametrize(
        ("words", "found"),
        [("tagway ex", "explain"), ("tagway keys n", "new"), ("tagway send --dry", "--dry-run"), ("tagway schema ev", "event")],
    )
    def test_a_shell_completes_verbs_options_and_choices(self, words: str, found: str) -> None:
        parts = words.split()
        env = {"_TAGWAY_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(len(parts) - 1)}
        shown = run_process([], env)
        assert found in shown.stdout

    @pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
    def test_a_script_for_each_shell(self, shell: str) -> None:
        assert f"_TAGWAY_COMPLETE={shell}_complete" in tagway("completion", shell).stdout


def run_process(args: list[str], env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """The command as a program of its own."""
    whole = {**os.environ, "PYTHONPATH": str(ROOT), **(env or {})}
    command = [sys.executable, "-c", "from gateway.cli import main; main(prog_name='tagway')", *args]
    return subprocess.run(command, env=whole, capture_output=True, text=True, timeout=60)


def test_colour_is_for_terminals_and_not_for_those_who_do_not_want_it() -> None:
    assert "\x1b[" in on_a_terminal({})
    assert "\x1b[" not in on_a_terminal({"NO_COLOR": "1"})


def on_a_terminal(env: dict[str, str]) -> str:
    """What a failing check prints where stdout and stderr are a terminal."""
    theirs, ours = pty.openpty()
    code = "from gateway.cli import main; main(['check', '-c', 'bad/gateway.yaml'], prog_name='tagway')"
    whole = {**{k: v for k, v in os.environ.items() if k != "NO_COLOR"}, "PYTHONPATH": str(ROOT), "TERM": "xterm", **env}
    process = subprocess.Popen([sys.executable, "-c", code], env=whole, stdin=ours, stdout=ours, stderr=ours)
    os.close(ours)
    shown = b""
    try:
        while chunk := os.read(theirs, 4096):
            shown += chunk
    except OSError:
        pass  # how Linux says that the last writer of a terminal has gone
    finally:
        os.close(theirs)
    assert process.wait(30) == 1
    assert b"lisen is not a known key" in shown
    return shown.decode()


class TestRunning:
    """Verbs that speak to a running gateway."""

    @pytest.fixture(scope="class", name="running")
    @classmethod
    def _running(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
        path = write_gateway(tmp_path_factory.mktemp("gateway"), {"meta": META}, SOURCES)
        with in_thread(lambda: gateway_up(path)) as (app, loop):
            cls.post = staticmethod(lambda events: call(loop, cls.sent(app.addresses["public"], events)))  # type: ignore[attr-defined]
            cls.post([purchase("e-1"), purchase("e-2", consent=DENIED), {"name": "login", "id": "e-3"}])  # type: ignore[attr-defined]
            yield path

    @staticmethod
    async def sent(address: str, events: Any) -> None:
        async with (
            aiohttp.ClientSession() as client,
            client.post(f"http://{address}/v1/events", json=events, headers={"X-Write-Key": "sk_shop"}) as answer,
        ):
            assert answer.status == 200, await answer.text()

    @pytest.mark.slow
    def test_tap_follows_events_until_ctrl_c(self, running: Path) -> None:
        # whoever runs the tests in the background of a shell leaves SIGINT ignored, and children inherit that
        code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
        code += "from gateway.cli import main; main(prog_name='tagway')"
        env = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
        args = [sys.executable, "-c", code, "tap", "--json", "--event", "purchase", "--last", "0", "-c", str(running)]
        process = subprocess.Popen(args, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        watchdog, enough = threading.Timer(40, process.kill), threading.Event()

        def post() -> None:
            for number in range(100):
                if enough.wait(0.3):
                    return
                self.post([purchase(f"t-{number}"), {"name": "login", "id": f"l-{number}"}])  # type: ignore[attr-defined]

        poster = threading.Thread(target=post)
        watchdog.start()
        try:
            assert process.stdout is not None
            poster.start()
            found = [json.loads(process.stdout.readline() or "null") for _ in range(2)]
            process.send_signal(signal.SIGINT)
            _, stderr = process.communicate(timeout=20)
        finally:
            enough.set()
            poster.join(10)
            watchdog.cancel()
            process.kill()
        assert process.returncode == 0
        assert stderr == ""
        assert {one["name"] for one in found} == {"purchase"}
        assert found[0]["destination"] == "meta"
        assert (found[0]["outcome"], found[0]["reason"]) == ("skipped", "mode")
        assert "jane@example.com" not in json.dumps(found)

    def test_audit_of_one_event_name_and_of_one_source(self, running: Path) -> None:
        whole = tagway("audit", "-c", str(running))
        assert whole.exit_code == 0, whole.output
        assert "meta" in whole.stdout
        rows = json.loads(tagway("audit", "--event", "purchase", "--json", "-c", str(running)).stdout)
        assert rows["event"] == "purchase"
        assert rows["logged"] >= 2
        assert {one["destination"] for one in rows["destinations"]} == {"meta"}
        text = tagway("audit", "--event", "purchase", "--source", "shop", "-c", str(running)).stdout
        assert re.match(r"purchase: \d+ logged\nmeta  ", text)
        wrong = tagway("audit", "--source", "shpo", "-c", str(running))
        assert (wrong.exit_code, wrong.stderr) == (1, "error: there is no source shpo in the store; did you mean shop?\n")

    def test_a_running_gateway_answers_the_other_verbs(self, running: Path) -> None:
        listed = tagway("dlq", "list", "--json", "-c", str(running))
        assert listed.exit_code == 0
        assert isinstance(json.loads(listed.stdout), list)
        assert tagway("dlq", "show", "4711", "-c", str(running)).stderr == "error: there is no dead letter 4711\n"
        assert "reloaded, configuration" in tagway("reload", "-c", str(running)).stdout
        replayed = tagway("replay", "--to", "meta", "--since", "1h", "-c", str(running))
        assert re.fullmatch(r"\d+ of \d+ events queued for meta; .*\n", replayed.stdout), replayed.output
        wrong = tagway("replay", "--to", "mata", "--since", "1h", "-c", str(running))
        assert (wrong.exit_code, wrong.stderr) == (1, "error: there is no destination 'mata'; there are meta\n")
        wrong = tagway("replay", "--to", "meta", "--since", "soon", "-c", str(running))
        assert wrong.stderr.startswith("error: a time must be a duration such as 3d")

    def test_a_reload_of_a_bad_file_tells_the_problem(self, running: Path) -> None:
        file = running.parent / "destinations" / "meta.yaml"
        before = file.read_text()
        file.write_text(before + "shar: 5\n")
        try:
            # the verb itself loads the files for the address, so the mistake is told before anybody is asked
            assert "shar is not a known key" in tagway("reload", "-c", str(running)).stderr
        finally:
            file.write_text(before)


class Strange(BaseHTTPRequestHandler):
    """Something else on the admin address."""

    def do_GET(self) -> None:
        body = b"<html>hello</html>"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""


def test_something_else_on_the_admin_address_is_told() -> None:
    server = HTTPServer(("127.0.0.1", 0), Strange)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    text = Path("good/gateway.yaml").read_text()
    Path("good/gateway.yaml").write_text(text.replace("127.0.0.1:9", f"127.0.0.1:{server.server_port}"))
    try:
        shown = tagway("dlq", "list", *GOOD)
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
    assert (shown.exit_code, shown.stdout) == (1, "")
    assert "its answer is not JSON" in shown.stderr


def test_a_server_that_speaks_no_http_is_told() -> None:
    listener = socket.create_server(("127.0.0.1", 0))

    def once() -> None:
        connection, _ = listener.accept()
        connection.recv(100)
        connection.sendall(b"SSH-2.0-OpenSSH\r\n")
        connection.close()

    thread = threading.Thread(target=once, daemon=True)
    thread.start()
    text = Path("good/gateway.yaml").read_text()
    Path("good/gateway.yaml").write_text(text.replace("127.0.0.1:9", f"127.0.0.1:{listener.getsockname()[1]}"))
    shown = tagway("dlq", "list", *GOOD)
    thread.join(5)
    listener.close()
    assert shown.exit_code == 1
    assert shown.stderr.startswith("error: no gateway answers on ")


class TestTapLines:
    ROW: ClassVar[dict[str, Any]] = {
        "key": "shop/1", "received": "2026-11-24T10:02:11.000Z", "source": "shop", "name": "purchase", "id": "e-1",
        "order": "1001", "value": "42.50 EUR",
    }  # fmt: skip

    def end(self, state: str, reason: str = "", tries: int = 0, **more: Any) -> dict[str, Any]:
        return {"state": state, "reason": reason, "words": "in words", "detail": "", "tries": tries, **more}

    def row(self, key: str = "shop/1", **ends: Any) -> dict[str, Any]:
        return {**self.ROW, "key": key, "ends": ends}

    def told(self, tap: Tap, message: dict[str, Any]) -> list[tuple[str, str]]:
        return [(line["destination"], line["outcome"]) for line in tap.lines(message)]

    def test_each_state_of_an_event_at_a_destination_is_told_once(self) -> None:
        tap = Tap(10)
        assert self.told(tap, {"type": "all", "events": []}) == []
        new = {"type": "events", "new": [self.row(meta=self.end("queued"), ga4=self.end("delivered"))], "changed": {}}
        assert self.told(tap, new) == [("ga4", "delivered")]
        failed = {"meta": self.end("retrying", "vendor_5xx", 1), "ga4": self.end("delivered")}
        assert self.told(tap, {"type": "events", "new": [], "changed": {"shop/1": failed}}) == [("meta", "retrying")]
        assert self.told(tap, {"type": "events", "new": [], "changed": {"shop/1": failed}}) == []
        done = {"meta": self.end("delivered"), "ga4": self.end("delivered")}
        assert self.told(tap, {"type": "events", "new": [], "changed": {"shop/1": done}}) == [("meta", "delivered")]
        assert self.told(tap, {"type": "overview", "overview": {}}) == []

    def test_of_what_was_there_before_the_last_few_and_all_after_a_restart(self) -> None:
        rows = [self.row(f"shop/{n}", meta=self.end("delivered")) for n in (3, 2, 1)]
        tap = Tap(2)
        assert [line["id"] for line in tap.lines({"type": "all", "events": rows})] == ["e-1"] * 2
        more = [self.row("shop/4", meta=self.end("delivered")), *rows]
        assert len(list(tap.lines({"type": "all", "events": more}))) == 1, "only what was missed"
        assert list(Tap(0).lines({"type": "all", "events": rows})) == []

    @pytest.mark.parametrize(
        ("wanted", "shown"),
        [
            ({}, True),
            ({"to": "meta"}, True),
            ({"to": "ga4"}, False),
            ({"event": "login"}, False),
            ({"outcome": "skipped"}, True),
            ({"outcome": "skipped{consent}"}, True),
            ({"outcome": "skipped{bot}"}, False),
            ({"outcome": "delivered"}, False),
        ],
    )
    def test_a_filter_takes_what_is_asked_for(self, wanted: dict[str, str], shown: bool) -> None:
        line = {"destination": "meta", "name": "purchase", "outcome": "skipped", "reason": "consent"}
        assert Filter(**wanted).takes(line) is shown

    def test_a_line_is_one_line_with_the_outcome_in_words(self) -> None:
        message = {
            "type": "events",
            "new": [self.row(meta=self.end("skipped", "consent", detail="ad_storage is denied"))],
            "changed": {},
        }
        (line,) = Tap(0).lines(message)
        text = click.unstyle(text_of(line))
        assert text.split() == ["10:02:11", "purchase", "1001", "meta", "skipped{consent}", "ad_storage", "is", "denied"]
        (line,) = Tap(0).lines(
            {"type": "events", "new": [self.row(meta=self.end("delivered", status=200, ms=84.2))], "changed": {}}
        )
        assert click.unstyle(text_of(line)).endswith("200 in 84 ms")


class TestLedgerParts:
    AUDIT = Audit(
        (SourceCount("shop", 12, 10, 1, 1), SourceCount("blog", 5, 5, 0, 0)),
        (
            LaneCount("meta", "shop", 10, 0, {("delivered", ""): 10}, 0),
            LaneCount("meta", "blog", 5, 0, {("delivered", ""): 5}, 0),
        ),
    )
    COUNTERS: ClassVar[dict[Counter, int]] = {
        ("shop", "", "purchase", "logged", ""): 4,
        ("blog", "", "purchase", "logged", ""): 1,
        ("shop", "meta", "purchase", "delivered", ""): 3,
        ("shop", "", "purchase", "duplicate", "same"): 2,
    }
    VIEW: ClassVar[dict[str, Any]] = {
        "destinations": [{"destination": "meta", "confirmed": False}],
        "events": [{
            "event": "purchase",
            "duplicates": [{"outcome": "duplicate", "reason": "same", "words": "same again", "events": 2}],
            "destinations": {"meta": [{"outcome": "delivered", "reason": "", "words": "delivered", "events": 3}]},
        }],
    }  # fmt: skip

    def test_a_source_keeps_its_own_rows(self) -> None:
        audit, counters = of_source(self.AUDIT, self.COUNTERS, "blog")
        assert ([row.source for row in audit.sources], [row.source for row in audit.lanes]) == (["blog"], ["blog"])
        assert list(counters.values()) == [1]

    def test_an_event_name_shows_what_was_logged_and_how_it_ended(self) -> None:
        rows = event_rows(self.VIEW, self.COUNTERS, "purchase")
        assert event_table(rows).splitlines() == [
            "purchase: 5 logged, and 2 same again",
            "meta *  3 delivered",
            "* counted as delivered when sent: this vendor never says whether it took an event",
        ]
        assert event_rows(self.VIEW, self.COUNTERS, "login")["logged"] == 0

    @pytest.mark.parametrize(
        ("name", "message"),
        [("purchas", "counted together as custom; did you mean purchase?"), ("quiz", "counted together as custom$")],
    )
    def test_a_name_without_counters_is_told(self, name: str, message: str) -> None:
        with pytest.raises(Exception, match=message.replace("?", r"\?")):
            event_rows(self.VIEW, self.COUNTERS, name)
