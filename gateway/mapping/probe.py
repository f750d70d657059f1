"""`probe:` of a manifest: a request that asks the vendor whether settings and token are good, and changes nothing there.

    probe:
      method: GET
      url: "https://api.acme.example/v3/${$setting.pixel_id}"
      ok: $res.id                                  # a condition over $res, the parsed answer
      unsure: "$res.error.code in [200]"           # true: the answer tells nothing about sending
      error: $res.error.message                    # the vendor's words

Everything of `endpoint` that is not said again holds here too, and so does `auth`. Only settings can be read: there is no
event.
Without `ok` a 2xx is a yes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from gateway.config.models import DestinationConfig
from gateway.config.tree import MarkedMap
from gateway.destination import Reply, Request
from gateway.mapping.auth import Draft, Step
from gateway.mapping.compile import compile_condition
from gateway.mapping.envelope import Enveloper, compile_envelope
from gateway.mapping.functions import as_text
from gateway.mapping.merge import merge
from gateway.mapping.scope import REPLY, Context, Run, Scope, check_keys
from gateway.mapping.structure import compile_shape

KEYS = ("method", "url", "query", "headers", "ok", "unsure", "error")
_OWN = ("ok", "unsure", "error")
Answer = Literal["fine", "unsure", "wrong"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What a probe found out, in a sentence that holds no secret of ours (a vendor's words may: mask them)."""

    answer: Answer
    words: str


@dataclass(frozen=True, slots=True)
class Probe:
    """A compiled probe."""

    envelope: Enveloper
    auth: Sequence[Step]
    ok: Run | None
    unsure: Run | None
    error: Run | None

    def request(self, now: float) -> Request:
        """The request, authenticated. Raises Unfit where the settings do not make a URL."""
        envelope = self.envelope.render(Scope({}, now))
        draft = Draft(envelope.url, dict(envelope.headers), b"")
        for step in self.auth:
            step(draft, now)
        return Request(envelope.method, draft.url, draft.headers, b"")

    def read(self, reply: Reply) -> Finding:
        """What the answer says."""
        if not reply.status:
            return Finding("unsure", f"no answer: {reply.error}")
        scope = Scope({})
        scope.reply = reply.json()
        good = bool(self.ok(scope)) if self.ok else 200 <= reply.status < 300
        if good:
            return Finding("fine", "the vendor knows the settings and accepts the token")
        said = as_text(self.error(scope)) if self.error else None
        words = f"HTTP {reply.status}{f': {said}' if said else ''}"
        if reply.status >= 500 and not said:
            return Finding("unsure", f"the vendor had an error of its own: {words}")
        if self.unsure and self.unsure(scope):
            return Finding("unsure", f"the token may not read this, which says nothing about sending: {words}")
        return Finding("wrong", words)


def compile_probe(tree: MarkedMap, auth: Sequence[Step], config: DestinationConfig, context: Context) -> Probe | None:
    """The probe of a merged tree; None where the manifest has none. Notes problems."""
    asked = tree.get("probe")
    if asked is None:
        return None
    inner = context.narrowed(shown="probe")
    if not check_keys(inner, asked, KEYS):
        return None
    own = MarkedMap(asked.mark, {k: v for k, v in asked.items() if k not in _OWN}, dict(asked.marks))
    envelope = compile_envelope(merge(tree.get("endpoint"), own), None, config.endpoint, inner)
    runs = [_condition(asked, key, inner) for key in ("ok", "unsure")]
    error: Any = asked.get("error")
    words = compile_shape(error, inner.at("error").narrowed(roots=REPLY)).run if error is not None else None
    return Probe(envelope, auth, runs[0], runs[1], words) if envelope else None


def _condition(asked: MarkedMap, key: str, context: Context) -> Run | None:
    leaf = asked.get(key)
    if leaf is None:
        return None
    return compile_condition(leaf, context.narrowed(shown=f"probe.{key}", roots=REPLY)).run
