"""Stateless authentication: bearer, basic, header, query, hmac. (`body` is merged into the envelope by plan.py.)

Secrets are put in when a request is assembled, so they are in no envelope and no stored part. A method whose setting is
empty is left out. `auth:` may be a list, applied in order. Kinds with state (oauth2, jwt, sigv4, oauth1) are applied by the
lane's own plugin and pass here untouched.

hmac: `secret` (one, or a list), `header`, `algorithm` (sha256), `sign` (what is signed, default
`{ts}.{body}`), `value` (default `t={ts},v1={hex}`). {ts} is epoch seconds of the sending, {body} the exact bytes sent,
{hex} and {base64} the signature. With several secrets each comma-separated piece of `value` that holds a signature is
repeated, one per secret, so that a receiver can change its key without losing a request.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gateway.config.tree import Scalar
from gateway.mapping.compile import compile_scalar
from gateway.mapping.envelope import Unfit, add_query, check_header
from gateway.mapping.functions import as_text
from gateway.mapping.scope import SETTINGS, Context, check_keys
from gateway.mapping.structure import compile_shape

KEYS: dict[str, tuple[str, ...]] = {
    "none": (),
    "bearer": ("token",),
    "basic": ("username", "password"),
    "header": ("name", "value"),
    "query": ("name", "value"),
    "body": ("name", "value"),
    "hmac": ("secret", "header", "algorithm", "sign", "value"),
}
STATEFUL = ("oauth2", "jwt", "sigv4", "oauth1")
ALGORITHMS = ("sha256", "sha1", "sha512", "md5")


@dataclass(slots=True)
class Draft:
    """A request that is being authenticated."""

    url: str
    headers: dict[str, str]
    body: bytes


Step = Callable[[Draft, float], None]


def compile_auth(tree: Any, context: Context) -> list[Step]:
    """What authenticates a request, in order. Notes problems."""
    steps: list[Step] = []
    for one in tree if isinstance(tree, list) else [] if tree is None else [tree]:
        steps.extend(_one(one, context.at("auth")))
    return steps


def body_auth(tree: Any) -> list[dict[str, Any]]:
    """The methods of kind `body`."""
    methods = tree if isinstance(tree, list) else [tree]
    return [one for one in methods if isinstance(one, dict) and one.get("kind") == "body"]


def _one(tree: Any, context: Context) -> list[Step]:
    if not isinstance(tree, dict):
        context.problem("must be a map with a kind", tree)
        return []
    kind = tree.get("kind")
    if kind in STATEFUL:
        return []
    if kind not in KEYS:
        context.unknown("kind", str(kind), (*KEYS, *STATEFUL), tree)
        return []
    check_keys(context, tree, ("kind", *KEYS[kind]))
    values = {key: _setting(tree.get(key), context.at(key)) for key in KEYS[kind]}
    try:
        step = _BUILDERS[kind](values)
    except Unfit as error:
        context.problem(str(error), tree)
        return []
    return [step] if step else []


def _setting(leaf: Any, context: Context) -> Any:
    """The value of an auth key, which may depend on settings alone."""
    if leaf is None:
        return None
    inner = context.narrowed(roots=SETTINGS)
    code = compile_scalar(leaf, inner) if isinstance(leaf, Scalar) else compile_shape(leaf, inner)
    return code.value


def _bearer(values: dict[str, Any]) -> Step | None:
    token = as_text(values["token"])
    return _set_header("Authorization", f"Bearer {token}") if token else None


def _basic(values: dict[str, Any]) -> Step | None:
    user, password = as_text(values["username"]) or "", as_text(values["password"]) or ""
    if not user and not password:
        return None
    coded = base64.b64encode(f"{user}:{password}".encode()).decode()
    return _set_header("Authorization", f"Basic {coded}")


def _header(values: dict[str, Any]) -> Step | None:
    value = as_text(values["value"])
    return _set_header(str(values["name"]), value) if value else None


def _set_header(name: str, value: str) -> Step:
    check_header(name, value)

    def step(draft: Draft, now: float) -> None:
        draft.headers[name] = value

    return step


def _query(values: dict[str, Any]) -> Step | None:
    name, value = str(values["name"]), as_text(values["value"])
    if not value:
        return None

    def step(draft: Draft, now: float) -> None:
        draft.url = add_query(draft.url, [(name, value)])

    return step


def _hmac(values: dict[str, Any]) -> Step | None:
    keys = [secret.encode() for secret in secrets_of(values["secret"])]
    algorithm = str(values["algorithm"] or "sha256").lower()
    if algorithm not in ALGORITHMS:
        raise Unfit(f"algorithm must be one of {', '.join(ALGORITHMS)}")
    header = str(values["header"] or "X-Signature-256")
    signed, shown = str(values["sign"] or "{ts}.{body}"), str(values["value"] or "t={ts},v1={hex}")
    check_header(header, "x")
    if not keys:
        return None

    def step(draft: Draft, now: float) -> None:
        stamp = str(int(now))
        before, has_body, after = signed.replace("{ts}", stamp).partition("{body}")
        message = before.encode() + (draft.body if has_body else b"") + after.encode()
        digests = [hmac.new(key, message, getattr(hashlib, algorithm)).digest() for key in keys]
        draft.headers[header] = _shown(shown.replace("{ts}", stamp), digests)

    return step


def _shown(template: str, digests: list[bytes]) -> str:
    pieces = []
    for piece in template.split(","):
        if "{hex}" not in piece and "{base64}" not in piece:
            pieces.append(piece)
            continue
        for digest in digests:
            coded = base64.b64encode(digest).decode()
            pieces.append(piece.replace("{hex}", digest.hex()).replace("{base64}", coded))
    return ",".join(pieces)


def secrets_of(value: Any) -> list[str]:
    """One secret, or a list of them; empty ones are left out."""
    return [text for one in (value if isinstance(value, list) else [value]) if (text := as_text(one))]


_BUILDERS: dict[str, Callable[[dict[str, Any]], Step | None]] = {
    "none": lambda values: None,
    "bearer": _bearer,
    "basic": _basic,
    "header": _header,
    "query": _query,
    "body": lambda values: None,
    "hmac": _hmac,
}
