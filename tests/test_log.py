"""Logs carry no canary, never wait, and say the same thing once."""

from __future__ import annotations

import base64
import io
import json
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import SecretStr

from gateway.config.models import Admin, DestinationConfig, Gateway, Source
from gateway.errors import QueueFull
from gateway.observe.log import JsonHandler, Redactor, secrets_of, setup

SECRET = "EAABsbCS1iHgBO/+canary"
PERSONAL = {
    "email": "jane.canary@example.com",
    "phone": "+49 151 12345678",
    "ip": "203.0.113.77",
    "ip6": "2001:db8::77",
    "fbp": "fb.1.1700000000000.1098115397",
    "fbc": "fb.1.1700000000000.IwAR0canary",
    "ga": "GA1.1.1234567.7654321",
}


class Log:
    """A logger on a handler of its own, and what it wrote."""

    def __init__(self) -> None:
        self.stream = io.StringIO()
        self.handler = JsonHandler([SECRET, "x"], self.stream)
        self.logger = logging.Logger("gateway.test")
        self.logger.addHandler(self.handler)

    def text(self) -> str:
        self.handler.stop()
        return self.stream.getvalue()

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text().splitlines()]


@pytest.fixture
def log() -> Iterator[Log]:
    made = Log()
    yield made
    made.handler.stop()


def test_a_line_is_one_json_object_with_key_values(log: Log) -> None:
    log.logger.warning("Paused %s", "meta", extra={"destination": "meta", "events": 3, "reason": "auth"})
    (line,) = log.lines()
    assert line["time"].endswith("Z")
    assert line | {"time": ""} == {
        "time": "",
        "level": "warning",
        "logger": "gateway.test",
        "message": "Paused meta",
        "destination": "meta",
        "events": 3,
        "reason": "auth",
    }


@pytest.mark.parametrize("canary", PERSONAL.values(), ids=PERSONAL)
@pytest.mark.parametrize("shape", ["{}", "sent to {} now", '{{"x": "{}"}}', "({})", "u={}&v=1", "[{}]"], ids=range(6))
def test_personal_data_in_text_is_masked(log: Log, canary: str, shape: str) -> None:
    log.logger.warning("Canary " + shape.format(canary), extra={"note": shape.format(canary), "list": [canary]})
    assert canary not in log.text()


@pytest.mark.parametrize(
    "form",
    [
        SECRET,
        f"token={SECRET}",
        base64.b64encode(f":{SECRET}".encode()).decode(),
        SECRET.replace("/", "%2F").replace("+", "%2B"),
    ],
    ids=["bare", "inside", "basic auth", "quoted"],
)
def test_known_secrets_are_masked_wherever_they_stand(log: Log, form: str) -> None:
    log.logger.error("Failed with %s", form, extra={"why": {"deep": [form]}})
    text = log.text()
    assert "canary" not in text
    assert form not in text
    assert "***" in text


@pytest.mark.parametrize(
    "key",
    [
        "access_token",
        "api_secret",
        "Authorization",
        "cookie",
        "password",
        "user",
        "email",
        "user_agent",
        "client_ip",
        "em",
        "body",
    ],
)
def test_values_under_telling_keys_are_masked(log: Log, key: str) -> None:
    log.logger.info("Line", extra={"fields": {key: "canary"}, key: "canary"})
    assert "canary" not in log.text()


@pytest.mark.parametrize(
    ("given", "written"),
    [
        ("GET https://u:p@t.example/p.gif?em=canary&x#f", "GET https://t.example/p.gif?***"),
        ("POST /v1/events?k=canary HTTP/1.1", "POST /v1/events?*** HTTP/1.1"),
        ("listening on 127.0.0.1:9090 for 10.1.2.3", "listening on 127.0.0.1:9090 for 10.1.2.3"),
        ("at 10:20:30 of 2026-11-24T10:00:00.000Z", "at 10:20:30 of 2026-11-24T10:00:00.000Z"),
        ("configs/destinations/meta.yaml:14: settings.pixel_id", "configs/destinations/meta.yaml:14: settings.pixel_id"),
        ("from ::1 and ::ffff:203.0.113.9", "from ::1 and ***"),
        ("version 1.2.3.4.5 and 300.1.1.1", "version 1.2.3.4.5 and 300.1.1.1"),
    ],
)
def test_what_is_masked_in_text_and_what_is_not(given: str, written: str) -> None:
    assert Redactor().text(given) == written


def test_a_foreign_exception_keeps_its_type_and_stack_but_not_its_words(log: Log) -> None:
    def inner(value: str) -> int:
        return int(value)

    try:
        inner("Jane Canary")
    except ValueError:
        log.logger.exception("Broke")
    (line,) = log.lines()
    assert line["error"] == "ValueError"
    assert line["stack"][-1].endswith(" inner")
    assert "Canary" not in json.dumps(line)


@pytest.mark.parametrize(
    "error", [QueueFull("store is full"), OSError(28, "No space left"), sqlite3.OperationalError("database is locked")]
)
def test_our_own_errors_keep_their_words(log: Log, error: Exception) -> None:
    log.logger.error("Broke", exc_info=(type(error), error, None))
    assert log.lines()[0]["error"] == f"{type(error).__name__}: {error}"


def test_other_libraries_are_cut_at_the_first_line(log: Log) -> None:
    log.logger.name = "asyncio"
    log.logger.error("Task exception was never retrieved\nfuture: <Task exception=ValueError('Jane Canary')>")
    assert log.lines()[0]["message"] == "Task exception was never retrieved"


def test_the_same_warning_again_is_counted_not_written(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    for _ in range(5):
        log.logger.warning("Refused", extra={"reason": "auth"})
    log.logger.warning("Refused", extra={"reason": "rate"})
    now[0] += 61
    log.logger.warning("Refused", extra={"reason": "auth"})
    monkeypatch.undo()
    assert [(line["reason"], line.get("repeated")) for line in log.lines()] == [("auth", None), ("rate", None), ("auth", 4)]


def test_a_flood_of_different_lines_of_one_place_is_cut(log: Log) -> None:
    for i in range(1000):
        log.logger.info("Saw %s", i)
    assert len(log.lines()) == 100


def test_a_line_that_cannot_be_formatted_does_not_raise(log: Log) -> None:
    log.logger.info("One %s of %s", "argument")
    assert log.lines()[0]["message"] == "A log line could not be formatted"


@pytest.mark.slow
def test_a_stuck_stderr_stops_nobody_and_losses_are_reported() -> None:
    reader, writer = os.pipe()
    stream = os.fdopen(writer, "w")
    handler = JsonHandler(stream=stream, lines=500)
    logger = logging.Logger("gateway.stuck")
    logger.addHandler(handler)
    started = time.perf_counter()
    for i in range(5000):
        logger.info(f"{i} " + "x" * 500)  # the text before values differs each time, so nothing is a repeat
    assert time.perf_counter() - started < 3
    assert handler.dropped > 1000

    read = bytearray()

    def drain_pipe() -> None:
        with os.fdopen(reader, "rb") as source:
            read.extend(source.read())

    drain = threading.Thread(target=drain_pipe)
    drain.start()
    deadline = time.monotonic() + 5
    while not handler._queue.empty() and time.monotonic() < deadline:
        time.sleep(0.01)
    handler.stop()
    stream.close()
    drain.join()
    assert sum(json.loads(line).get("lost", 0) for line in read.splitlines()) == handler.dropped


def test_stopping_with_a_stuck_stderr_ends() -> None:
    release = threading.Event()

    class Stuck:
        def write(self, text: str) -> None:
            release.wait(10)

        def flush(self) -> None:
            pass

    handler = JsonHandler(stream=Stuck(), lines=1)
    logger = logging.Logger("gateway.stuck")
    logger.addHandler(handler)
    for i in range(3):
        logger.info("Line %s", i)
    started = time.monotonic()
    threading.Timer(0.2, release.set).start()
    handler.stop()
    assert time.monotonic() - started < 3


def test_setup_sends_every_logger_to_the_stream_and_replaces_handlers() -> None:
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    stream = io.StringIO()
    try:
        handler = setup("info", [SECRET], stream)
        assert root.handlers == [handler]
        logging.getLogger("aiohttp.server").error("Error handling request from 203.0.113.77")
        logging.getLogger("anything").debug("Unseen")
        handler.stop()
    finally:
        root.handlers[:] = before
        root.setLevel(level)
        logging.getLogger("aiohttp.access").setLevel(logging.NOTSET)
    (line,) = [json.loads(text) for text in stream.getvalue().splitlines()]
    assert line["message"] == "Error handling request from ***"


def test_every_secret_of_a_configuration_is_known() -> None:
    config = Gateway(
        file="gateway.yaml",
        admin=Admin(token=SecretStr("admin-token")),
        sources={"shop": Source(server_keys=[SecretStr("server-key")])},
        destinations={
            "hook": DestinationConfig(
                name="hook",
                type="webhook",
                file="hook.yaml",
                sources=["shop"],
                settings={"secret": [SecretStr("hook-secret")], "headers": {"X-Key": SecretStr("header-key")}, "url": "u"},
            )
        },
    )
    assert secrets_of(config) == {"admin-token", "server-key", "hook-secret", "header-key"}
