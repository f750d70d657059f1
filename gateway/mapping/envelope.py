"""Renders the envelope of one event: method, URL, headers, query and what is wrapped round the list of events.

What is constant is worked out at load, so a vendor whose envelope does not depend on the event gets the same Envelope for
all of them. The host is always the template's (or the customer's `endpoint`): no value of an event can reach it, values in
the path are percent-encoded, and a segment `.` or `..` is refused. Raises Unfit for an event whose envelope cannot be.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlencode

import orjson

from gateway.config.tree import MarkedMap, Scalar
from gateway.destination import Envelope
from gateway.mapping.compile import compile_node, compile_scalar, parse_scalar
from gateway.mapping.functions import as_text, is_empty
from gateway.mapping.nodes import Path, Template
from gateway.mapping.scope import ENVELOPE, WRAP, Context, Run, Scope, check_keys
from gateway.mapping.structure import compile_shape
from gateway.mapping.writer import Code, constant

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD")
BODILESS = ("GET", "DELETE", "HEAD")
KINDS = ("json", "form", "query", "ndjson", "text")
CONTENT_TYPES = {
    "json": "application/json",
    "form": "application/x-www-form-urlencoded",
    "ndjson": "application/x-ndjson",
    "text": "text/plain; charset=utf-8",
}
ENDPOINT_KEYS = ("method", "url", "path", "query", "headers", "body")
MAX_HEADER = 1024
_VISIBLE = re.compile(r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?")
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_NOT_SET = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*|file:[^}]+)\}")
"""A setting whose variable or file is not there, in a check without secrets."""
UNKNOWN_ADDRESS = "https://not-set.invalid/"
"""Stands for an address that such a setting would hold; a name that never resolves."""
_ORIGIN = re.compile(r"https?://[A-Za-z0-9.-]+(:\d+)?|https?://\[[0-9A-Fa-f:.]+\](:\d+)?")


class Unfit(ValueError):
    """This event cannot be put into a request; the message holds none of its values."""


def check_header(name: str, value: str) -> None:
    """Raises Unfit for a header that is no visible ASCII text of at most 1 KiB."""
    if not _HEADER_NAME.fullmatch(name):
        raise Unfit(f"{name!r} is no header's name")
    if len(value) > MAX_HEADER or not _VISIBLE.fullmatch(value):
        raise Unfit(f"the header {name} must be visible ASCII text of at most {MAX_HEADER} characters")


class Address:
    """A URL: a constant beginning that holds the host, then text and holes."""

    def __init__(self, prefix: str, rest: Sequence[str | Run]) -> None:
        self.prefix = prefix
        self.rest = tuple(rest)

    @property
    def constant(self) -> bool:
        """Whether no part comes from the event."""
        return not any(callable(part) for part in self.rest)

    def render(self, scope: Scope) -> str:
        """The URL for one event. Raises Unfit."""
        if not self.rest:
            return self.prefix
        pieces = [self.prefix]
        in_path = "?" not in self.prefix
        for part in self.rest:
            if isinstance(part, str):
                pieces.append(part)
                in_path = in_path and "?" not in part
                continue
            value = part(scope)
            text = None if is_empty(value) or isinstance(value, (dict, list)) else as_text(value)
            if not text and in_path:
                raise Unfit("a part of the URL's path is empty")
            pieces.append(quote(text or "", safe=""))
        url = "".join(pieces)
        path = url[len(self.prefix) - 1 :].partition("?")[0]
        if any(segment in (".", "..") for segment in path.split("/")) or not url.startswith(self.prefix):
            raise Unfit("the URL would leave its path")
        return url


def compile_address(endpoint: MarkedMap, base: str | None, context: Context) -> Address:
    """The address of an endpoint; `base` is the customer's own scheme, host and prefix. Notes problems."""
    leaf = endpoint.get("url")
    if not isinstance(leaf, Scalar):
        context.at("url").problem("is missing", endpoint)
        return Address("", ())
    inner = context.at("url").narrowed(roots=ENVELOPE)
    before = len(context.problems)
    parts = _parts(leaf, inner)
    if not any(isinstance(part, str) or part.constant for part in parts[:1]):
        inner.problem("the host never comes from an event: the URL must begin with its scheme and host", leaf)
        return Address("", ())
    prefix, rest = _split(parts, leaf, inner)
    origin = _ORIGIN.match(prefix)
    if origin is None:
        if len(context.problems) == before:
            inner.problem("must be an address such as https://api.example.com/events", leaf)
        return Address("", ())
    path = endpoint.get("path")
    if isinstance(path, Scalar):
        rest = _joined("/", _parts(path, context.at("path").narrowed(roots=ENVELOPE)))
        prefix = origin[0]
    if base:
        prefix = base.rstrip("/") + prefix[origin.end() :]
    return _folded(prefix, rest)


def _folded(prefix: str, rest: Sequence[str | Run]) -> Address:
    """Constant parts at the beginning belong to the prefix."""
    parts = list(rest)
    while parts and isinstance(first := parts[0], str):
        prefix += first
        del parts[0]
    return Address(prefix, parts)


def _parts(leaf: Scalar, context: Context) -> list[str | Code]:
    """Literal texts and the codes of holes. A setting that holds a template is one itself."""
    node = parse_scalar(leaf, context)
    if node is None:
        return [""]
    if isinstance(node, Path) and node.root == "setting":
        value = compile_node(node, leaf, context).value
        if isinstance(value, str) and _NOT_SET.fullmatch(value):
            return [UNKNOWN_ADDRESS]
        if isinstance(value, str) and "${" in value:
            place = context.narrowed(shown=f"settings.{'.'.join(map(str, node.steps))}")
            return _parts(Scalar(value, leaf.mark, plain=False), place)
    if isinstance(node, Template):
        return [part if isinstance(part, str) else compile_node(part, leaf, context) for part in node.parts]
    code = compile_node(node, leaf, context)
    return [as_text(code.value) or "" if code.constant else code]


def _split(parts: Sequence[str | Code], leaf: Scalar, context: Context) -> tuple[str, list[str | Run]]:
    """The constant text up to the path, and what follows it."""
    prefix = ""
    for index, part in enumerate(parts):
        if re.match(r"https?://[^/?#]+[/?]", prefix):
            return prefix, _joined("", parts[index:])
        if isinstance(part, Code) and not part.constant:
            context.problem("the host never comes from an event: only settings can stand before the path", leaf)
            return prefix, []
        prefix += part if isinstance(part, str) else as_text(part.value) or ""
    return prefix, []


def _joined(start: str, parts: Sequence[str | Code]) -> list[str | Run]:
    """Parts after the host: settings are encoded now, values of the event when they come."""
    out: list[str | Run] = []
    for part in parts:
        if isinstance(part, str):
            out.append(part)
        elif part.constant:
            out.append(quote(as_text(part.value) or "", safe=""))
        else:
            out.append(part.run)
    if start and not (out and isinstance(out[0], str) and out[0].startswith(start)):
        out.insert(0, start)
    return out


def pairs(values: Any) -> list[tuple[str, str]]:
    """A map as key and text, for a query or a form: lists repeat the key, maps are JSON."""
    out: list[tuple[str, str]] = []
    for key, value in values.items():
        repeated = isinstance(value, list) and not any(isinstance(inner, (dict, list)) for inner in value)
        out.extend((key, as_text(one) or "") for one in (value if repeated else [value]) if one is not None)
    return out


def add_query(url: str, values: Sequence[tuple[str, str]]) -> str:
    """The URL with more parameters."""
    if not values:
        return url
    return f"{url}{'&' if '?' in url else '?'}{urlencode(values, quote_via=quote)}"


Front = tuple[str, str, tuple[tuple[str, str], ...], bytes]


class Enveloper:
    """Renders one kind of envelope. `trees` are what query, headers and wrap were compiled from."""

    def __init__(
        self,
        method: Code,
        address: Address,
        query: Code,
        headers: Code,
        kind: str,
        wrap: Code | None,
        trees: Mapping[str, Any] | None = None,
    ) -> None:
        self.kind = kind
        self.trees = trees or {}
        self._method, self._address, self._query, self._headers, self._wrap = method, address, query, headers, wrap
        self._front: Front | None = None
        self._fixed: Envelope | None = None
        self._last: Envelope | None = None
        """The one made last: events in a row often have the same."""
        blank = Scope({})
        if address.prefix and address.constant and all(code.constant for code in (method, query, headers)):
            self._front = self._render_front(blank)
            self._fixed = self._render(blank) if wrap is None or wrap.constant else None
        self._fixed_wrap = blank.wrap

    def render(self, scope: Scope) -> Envelope:
        """The envelope of one event; its wrap is left in the scope, for `check`. Raises Unfit."""
        if self._fixed:
            scope.wrap = self._fixed_wrap
            return self._fixed
        return self._render(scope)

    def _render(self, scope: Scope) -> Envelope:
        method, url, headers, front = self._front or self._render_front(scope)
        wrap = self._render_wrap(scope)
        key = front + b"\0" + wrap if wrap else front
        last = self._last
        if last is not None and last.key == key:
            return last
        self._last = last = Envelope(method, url, headers, self.kind, _around(wrap) if wrap else None, key)
        return last

    def _render_front(self, scope: Scope) -> Front:
        """Method, URL and headers, and the bytes that stand for them in the key."""
        method = str(self._method.run(scope) or "POST").upper()
        if method not in METHODS:
            raise Unfit("the method is none of " + ", ".join(METHODS))
        url = self._address.render(scope)
        query = self._query.run(scope)
        if isinstance(query, dict) and query:
            url = add_query(url, pairs(query))
        headers = self._render_headers(scope, method)
        return method, url, headers, orjson.dumps([method, url, headers, self.kind])

    def _render_headers(self, scope: Scope, method: str) -> tuple[tuple[str, str], ...]:
        values = self._headers.run(scope)
        given = values if isinstance(values, dict) else {}
        out = []
        for name, value in given.items():
            text = as_text(value) or ""
            check_header(name, text)
            out.append((name, text))
        kind = CONTENT_TYPES.get(self.kind)
        if kind and method not in BODILESS and not any(name.lower() == "content-type" for name, _ in out):
            out.insert(0, ("Content-Type", kind))
        return tuple(out)

    def _render_wrap(self, scope: Scope) -> bytes | None:
        if self._wrap is None:
            return None
        scope.wrap = self._wrap.run(scope)
        return orjson.dumps(scope.wrap)


def _around(wrap: bytes) -> tuple[bytes, bytes]:
    """What stands before and after the list of events."""
    head, marker, tail = wrap.partition(b"\0")
    if not marker:
        raise Unfit("the envelope has no place for the events")
    return head, tail


def compile_envelope(endpoint: Any, wrap: Any, base: str | None, context: Context) -> Enveloper | None:
    """The enveloper of an endpoint and a wrap. Notes problems; None where nothing can be rendered."""
    inner = context.at("endpoint")
    before = len(context.problems)
    if not check_keys(inner, endpoint, ENDPOINT_KEYS):
        return None
    address = compile_address(endpoint, base, inner)
    method = _method(endpoint, inner)
    kind = _kind(endpoint, inner)
    values = [
        compile_shape(endpoint.get(key), inner.at(key).narrowed(roots=ENVELOPE, field=f"endpoint.{key}"))
        for key in ("query", "headers")
    ]
    wrapped = _wrap(wrap, kind, context)
    if len(context.problems) > before:
        return None
    try:
        trees = {"query": endpoint.get("query"), "headers": endpoint.get("headers"), "wrap": wrap}
        return Enveloper(method, address, values[0], values[1], kind, wrapped, trees)
    except Unfit as error:
        inner.problem(str(error), endpoint)
        return None


def _method(endpoint: MarkedMap, context: Context) -> Code:
    leaf = endpoint.get("method")
    if not isinstance(leaf, Scalar):
        return constant("POST")
    code = compile_scalar(leaf, context.at("method").narrowed(roots=ENVELOPE))
    if code.constant and str(code.value).upper() not in METHODS:
        context.at("method").problem(f"must be one of {', '.join(METHODS)}", leaf)
    return code


def _kind(endpoint: MarkedMap, context: Context) -> str:
    leaf = endpoint.get("body")
    if not isinstance(leaf, Scalar):
        return "json"
    code = compile_scalar(leaf, context.at("body").narrowed(roots=frozenset(("setting",))))
    if code.value not in KINDS:
        context.at("body").problem(f"must be one of {', '.join(KINDS)}", leaf)
        return "json"
    return str(code.value)


def _wrap(wrap: Any, kind: str, context: Context) -> Code | None:
    if wrap is None:
        return None
    inner = context.at("batch.wrap").narrowed(roots=WRAP, field="wrap")
    if kind in ("ndjson", "text"):
        inner.problem(f"nothing can be wrapped round events sent as {kind}", wrap)
    if batches(wrap) != 1:
        inner.problem("$batch, the list of events, must stand in it exactly once", wrap)
    return compile_shape(wrap, inner)


def batches(tree: Any) -> int:
    """How often `$batch` stands in a tree."""
    if isinstance(tree, dict):
        return sum(batches(value) for value in tree.values())
    if isinstance(tree, list):
        return sum(batches(value) for value in tree)
    return int(isinstance(tree, str) and re.match(r"\$batch\b", tree) is not None)
