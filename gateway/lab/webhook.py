"""A receiver of signed webhooks: any method, any path; below `/unsigned` it takes requests without a signature.

It checks what a careful receiver checks: `X-Signature-256: t=<unix>,v1=<hex HMAC-SHA256 of "<t>.<raw body>">` (several `v1=`
while keys are rotated) in constant time and not older than five minutes, `X-Event-Id` and `Idempotency-Key`, and a body that
is what its Content-Type says. The secret is WEBHOOK_SECRET unless the lab is started with another.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from typing import Any
from urllib.parse import parse_qsl
from xml.etree import ElementTree

from gateway.lab.vendor import RETRY_AFTER, Answer, Call, Mode, Noted, Seen, json_answer, parse, text_of

WEBHOOK_SECRET = "tagway-lab-webhook-secret"
MAX_AGE = 300
_SIGNATURE = re.compile(r"t=(\d{1,12})((?:,v1=[0-9a-f]{64})+)")


class Webhook:
    """The receiver."""

    name = "webhook"

    def __init__(self, secret: str = WEBHOOK_SECRET) -> None:
        self._secret = secret.encode()
        self._seen = Seen()

    def answer(self, call: Call) -> Answer:
        """See the module's text."""
        unsigned = call.path == "/unsigned" or call.path.startswith("/unsigned/")
        if not unsigned and (reason := self._signature_fault(call)):
            return _refuse(401, reason, ())
        events = _events(call)
        if events is None:
            return _refuse(400, f"the body is not {call.headers.get('content-type') or 'of a known type'}", ())
        for header in ("x-event-id", "idempotency-key"):
            if not call.headers.get(header):
                return _refuse(400, f"{header} is missing", events)
        again = self._seen.again((call.path, call.headers["idempotency-key"]), call.now)
        noted = tuple(Noted(_name(event), _id(event, call, len(events)), True, "", event, duplicate=again) for event in events)
        return json_answer({"ok": True, "duplicate": again}, noted=noted)

    def _signature_fault(self, call: Call) -> str:
        header = call.headers.get("x-signature-256", "")
        match = _SIGNATURE.fullmatch(header)
        if match is None:
            return "X-Signature-256 is missing" if not header else "X-Signature-256 must look like t=<unix>,v1=<64 hex digits>"
        if abs(call.now - int(match[1])) > MAX_AGE:
            return "the signature is older than five minutes"
        due = hmac.new(self._secret, match[1].encode() + b"." + call.body, hashlib.sha256).hexdigest()
        given = match[2].removeprefix(",v1=").split(",v1=")
        return "" if any(hmac.compare_digest(one, due) for one in given) else "the signature does not match the body"

    def outage(self, mode: Mode) -> Answer:
        """Plain HTTP."""
        status = int(mode)
        return json_answer({"error": "down"}, status, headers={"Retry-After": RETRY_AFTER} if mode == "429" else None)


def _refuse(status: int, reason: str, events: tuple[Any, ...]) -> Answer:
    noted = tuple(Noted(_name(event), text_of(event, "id"), False, reason, event) for event in events)
    return json_answer({"error": reason}, status, noted=noted or (Noted("", "", False, reason, None),))


def _events(call: Call) -> tuple[Any, ...] | None:
    """The events of a body, or None where it is not what its type says; a request without a body carries one in its query."""
    kind = call.headers.get("content-type", "").partition(";")[0].strip().lower()
    if not call.body:
        return (dict(call.query),) if call.query or call.method in ("GET", "DELETE") else None
    if kind == "application/json":
        return _listed(parse(call.body))
    if kind in ("application/x-ndjson", "application/ndjson"):
        lines = tuple(parse(line) for line in call.body.splitlines() if line.strip())
        return lines if lines and all(isinstance(line, dict) for line in lines) else None
    if kind == "application/x-www-form-urlencoded":
        pairs = parse_qsl(call.body.decode("utf-8", "replace"), keep_blank_values=True)
        return (dict(pairs),) if pairs else None
    if kind in ("application/xml", "text/xml"):
        return _xml(call.body)
    return ({"text": call.body.decode("utf-8", "replace")},) if kind == "text/plain" else None


def _listed(value: Any) -> tuple[Any, ...] | None:
    if isinstance(value, list):
        return tuple(value) if value and all(isinstance(one, dict) for one in value) else None
    if not isinstance(value, dict):
        return None
    wrapped = next((value[key] for key in ("events", "data", "batch") if isinstance(value.get(key), list)), None)
    return tuple(wrapped) if wrapped else (value,)


def _xml(body: bytes) -> tuple[Any, ...] | None:
    if b"<!DOCTYPE" in body or b"<!ENTITY" in body:
        return None
    try:
        root = ElementTree.fromstring(body)
    except ElementTree.ParseError:
        return None
    return ({child.tag: child.text for child in root} or {root.tag: root.text},)


def _name(event: Any) -> str:
    return text_of(event, "name") or text_of(event, "event") or text_of(event, "event_name")


def _id(event: Any, call: Call, events: int) -> str:
    return text_of(event, "id") or text_of(event, "event_id") or (call.headers["x-event-id"] if events == 1 else "")
