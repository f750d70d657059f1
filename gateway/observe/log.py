"""Logs: one JSON object a line on stderr, without personal data or secrets, and never in the way of an event.

    {"time": "2026-11-24T10:00:00.000Z", "level": "warning", "logger": "gateway.deliver.lane", "message": "Paused", …}

Use the standard library: `logging.getLogger(__name__).warning("Paused", extra={"destination": "meta", "reason": "auth"})`.

- **Redaction** happens before a line is queued. Known secret values are replaced wherever they stand, also percent- and
  base64-encoded; values under a telling key (`token`, `email`, `ip` …) always; e-mail addresses, phone numbers, public IP
  addresses, the credentials, query and fragment of URLs, and vendor cookies wherever they stand in text.
- **Exceptions** give type and stack (file, line, function), no locals and no source. Their text is kept only where we or
  the operating system wrote it (GatewayError, OSError, sqlite3.Error): any other may quote a visitor's data.
- **Messages of other libraries** are cut at the first line, since what follows may show values.
- **Repeats**: a warning or error that says the same again within a minute is counted, not written; a message of one
  place is written at most BURST times a minute whatever it says. The next line written carries `repeated`.
- **A stuck stderr** stops nobody: a bounded queue and a thread of our own. What does not fit is counted and reported as
  soon as there is room again.
"""

from __future__ import annotations

import base64
import ipaddress
import logging
import queue
import re
import sqlite3
import sys
import threading
import time
import traceback
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Protocol
from urllib.parse import quote

import orjson
from pydantic import BaseModel, SecretStr

from gateway.clock import iso
from gateway.config.models import Gateway
from gateway.errors import GatewayError

QUEUE_LINES = 10_000
BURST = 100
"""Lines a minute of one message (logger, level and text before its values are put in)."""
WINDOW = 60.0
MAX_TEXT = 2000
MASK = "***"
_KEPT_TEXT = (GatewayError, OSError, sqlite3.Error)
_OURS = ("gateway", "destinations", "tagway")

_SECRET_KEY = re.compile(
    r"(pass(word|wd|phrase)?|secret|token|auth(orization)?|api_?key|access_?key|private_?key|write_?keys?|server_?keys?|"
    r"credentials?|cookies?|signature|hmac|bearer)$",
    re.IGNORECASE,
)
_PERSONAL_KEY = re.compile(
    r"^(.*[_.])?(e?mails?|em|phone|ph|ip|ip_address|client_ip|remote|peer|user_agent|first_name|last_name|street|city|zip|"
    r"postal_code|birthdate|gender|user_id|anonymous_id|client_id|external_id|traits|user|device|ids|fbp|fbc|fbclid|gclid|"
    r"gbraid|wbraid|ttclid|ttp|advertising_id|referrer|query|body|headers|payload)$",
    re.IGNORECASE,
)
_URL = re.compile(r"\b([a-z][a-z0-9+.-]*://)([^\s/?#\"'<>@]*@)?([^\s?#\"'<>]*)([?#][^\s\"'<>]*)?", re.IGNORECASE)
_PATH_QUERY = re.compile(r"(/[^\s?\"'<>]*)\?[^\s\"'<>]+")
_EMAIL = re.compile(r"(?<![\w.+%-])[\w.+%-]+(?:@|%40)[\w-]+(?:\.[\w-]+)+")
_PHONE = re.compile(r"(?<![\w+])\+\d[\d ().-]{6,}\d")
_COOKIE = re.compile(r"\bfb\.\d\.\d{10,}\.[\w.-]+|\bGA1\.\d\.\d+\.\d+|\bGS[12]\.\d\.[\w.$]+")
_V4 = r"\d{1,3}(?:\.\d{1,3}){3}"
_ADDRESS = re.compile(rf"(?<![\w.:])(?:(?:[0-9A-Fa-f]{{0,4}}:){{2,7}}(?:{_V4}|[0-9A-Fa-f]{{0,4}})|{_V4})(?!\.?\d)")
_INTERNAL = tuple(
    ipaddress.ip_network(net)
    for net in ("127.0.0.0/8", "0.0.0.0/32", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "::1/128", "::/128")
)
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class Redactor:
    """Takes secrets and personal data out of text and values."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        forms = {form for secret in secrets if len(secret) >= 4 for form in _forms(secret)}
        longest_first = sorted(forms, key=len, reverse=True)
        self._secrets = re.compile("|".join(map(re.escape, longest_first))) if forms else None

    def text(self, text: str) -> str:
        """The text without secrets, addresses of people and machines, cookies, and queries of URLs."""
        text = text[: 4 * MAX_TEXT]  # what is cut later needs no search; what stands across this cut is never written
        if self._secrets:
            text = self._secrets.sub(MASK, text)
        text = _URL.sub(lambda m: f"{m[1]}{m[3]}{m[4][0] + MASK if m[4] else ''}", text)
        text = _PATH_QUERY.sub(rf"\1?{MASK}", text)
        text = _COOKIE.sub(MASK, _EMAIL.sub(MASK, text))
        text = _PHONE.sub(MASK, _ADDRESS.sub(_mask_address, text))
        return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}…"

    def value(self, key: str, value: Any, depth: int = 0) -> Any:
        """A key-value as it may be written."""
        if isinstance(value, (bool, float)) or value is None:
            return value
        if _SECRET_KEY.search(key) or _PERSONAL_KEY.match(key):
            return MASK
        if isinstance(value, int):
            return value if -(2**63) <= value < 2**64 else str(value)
        if isinstance(value, Mapping) and depth < 3:
            return {self.text(str(k)): self.value(str(k), v, depth + 1) for k, v in list(value.items())[:50]}
        if isinstance(value, (list, tuple, set, frozenset)) and depth < 3:
            return [self.value("", item, depth + 1) for item in list(value)[:50]]
        return self.text(str(value))


def _forms(secret: str) -> set[str]:
    """A secret as it may appear: itself, quoted, and in base64 alone or as the password of Basic auth."""
    raw = secret.encode()
    encoded = {base64.b64encode(prefix + raw).decode().rstrip("=") for prefix in (b"", b":")}
    return {secret, quote(secret, safe=""), quote(secret), *encoded}


def _mask_address(match: re.Match[str]) -> str:
    try:
        address = ipaddress.ip_address(match[0])
    except ValueError:
        return match[0]
    plain = getattr(address, "ipv4_mapped", None) or address
    return match[0] if any(plain in net for net in _INTERNAL) else MASK


class _Repeats:
    """Which records are written: see "Repeats" in the module's text."""

    def __init__(self) -> None:
        self._windows: OrderedDict[tuple[Any, ...], list[float]] = OrderedDict()

    def admit(self, key: tuple[Any, ...], limit: int, now: float) -> int | None:
        """How many were left out since the last one written, or None: leave this one out too."""
        window = self._windows.get(key)
        if window is None or now - window[0] >= WINDOW:
            missed = int(window[1]) if window else 0
            self._windows[key] = [now, 0.0, 1.0]
            self._windows.move_to_end(key)
            while len(self._windows) > 1000:
                self._windows.popitem(last=False)
            return missed
        if window[2] >= limit:
            window[1] += 1
            return None
        window[2] += 1
        return 0


class _Stream(Protocol):
    def write(self, text: str, /) -> Any: ...
    def flush(self) -> None: ...


class JsonHandler(logging.Handler):
    """Formats and redacts in the caller, writes in a thread of its own. `stop()` waits at most two seconds."""

    def __init__(self, secrets: Iterable[str] = (), stream: _Stream | None = None, lines: int = QUEUE_LINES) -> None:
        super().__init__()
        self.redactor = Redactor(secrets)
        self.dropped = 0
        self._stream = stream
        self._repeats = _Repeats()
        self._queue: queue.Queue[bytes | None] = queue.Queue(lines)
        self._thread = threading.Thread(target=self._write, name="log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Never waits, never raises."""
        try:
            line = self._line(record)
        except Exception:  # noqa: BLE001 - a log call that cannot be formatted must not stop an event
            line = orjson.dumps({"level": "error", "message": "A log line could not be formatted", "logger": record.name})
        if line is None:
            return
        try:
            self._queue.put_nowait(line)
        except queue.Full:
            self.dropped += 1

    def _line(self, record: logging.LogRecord) -> bytes | None:
        body = self._body(record)
        template = (record.name, record.levelno, str(record.msg))
        missed = self._repeats.admit(template, BURST, time.monotonic())
        if missed is not None and record.levelno >= logging.WARNING:
            same = self._repeats.admit((*template, orjson.dumps(body, default=str)), 1, time.monotonic())
            missed = None if same is None else missed + same
        if missed is None:
            return None
        if missed:
            body["repeated"] = missed
        return orjson.dumps({"time": iso(record.created), **body}, default=str)

    def _body(self, record: logging.LogRecord) -> dict[str, Any]:
        message = record.getMessage()
        if not record.name.startswith(_OURS):
            message = message.partition("\n")[0]
        body: dict[str, Any] = {
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": self.redactor.text(message),
        }
        for key, value in record.__dict__.items():
            if key not in _STANDARD and key not in body:
                body[key] = self.redactor.value(key, value)
        if record.exc_info and record.exc_info[1] is not None:
            body["error"] = self._error(record.exc_info[1])
            body["stack"] = _stack(record.exc_info[2])
        return body

    def _error(self, error: BaseException) -> str:
        kind = type(error).__name__
        return f"{kind}: {self.redactor.text(str(error))}" if isinstance(error, _KEPT_TEXT) else kind

    def _write(self) -> None:
        reported = 0
        while (line := self._queue.get()) is not None:
            lines = [line]
            if self.dropped > reported:
                lost, reported = self.dropped - reported, self.dropped
                lines.append(
                    orjson.dumps({"time": iso(time.time()), "level": "warning", "message": "Lost log lines", "lost": lost})
                )
            try:
                stream = self._stream or sys.stderr
                stream.write("".join(f"{one.decode()}\n" for one in lines))
                stream.flush()
            except (OSError, ValueError):  # stderr was closed: nowhere to say so
                self.dropped += len(lines)

    def stop(self) -> None:
        """Write what is queued; gives up on a stuck stream."""
        try:
            self._queue.put(None, timeout=1)
        except queue.Full:
            return
        self._thread.join(timeout=2)


def _stack(trace: TracebackType | None) -> list[str]:
    """`file:line function`, innermost last, at most 30."""
    frames = traceback.StackSummary.extract(traceback.walk_tb(trace), limit=-30, lookup_lines=False)
    return [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]


def setup(level: str = "info", secrets: Iterable[str] = (), stream: _Stream | None = None) -> JsonHandler:
    """Send every logger to stderr as JSON. Call `stop()` on what this returns before the process ends."""
    handler = JsonHandler(secrets, stream)
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level.upper())
    logging.getLogger("aiohttp.access").setLevel(logging.ERROR)
    return handler


@contextmanager
def start_logging(config: Gateway, level: str = "info") -> Iterator[JsonHandler]:
    """Log as `setup` does while the gateway runs, knowing every secret of its configuration."""
    handler = setup(level, secrets_of(config))
    try:
        yield handler
    finally:
        handler.stop()


def secrets_of(config: Gateway) -> set[str]:
    """Every secret value of a configuration: admin token, server keys, secret settings."""
    found: set[str] = set()
    _collect(config, found)
    return found - {""}


def _collect(value: Any, found: set[str]) -> None:
    if isinstance(value, SecretStr):
        found.add(value.get_secret_value())
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            _collect(getattr(value, name), found)
    elif isinstance(value, Mapping):
        for item in value.values():
            _collect(item, found)
    elif isinstance(value, (list, tuple)):
        for item in value:
            _collect(item, found)
