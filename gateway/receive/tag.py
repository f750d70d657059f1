"""`GET /tag.js`: the browser tag, built from gateway/tag/src (`make tag`); `?core` asks for the small one.

The addresses that it sends to are filled in from `paths` (of the source, where the key or Host names one that has its own),
relative to the tag's own address: it works under neutral names, and behind a proxy that serves the gateway under a path. The
write key is the tag's own `?k=`, which the tag reads by itself, so that one copy serves all.

Pages of any origin may load it. It may be kept for an hour and is compared by ETag afterwards; where the browser takes gzip,
gzip it is.
"""

from __future__ import annotations

import gzip
import posixpath
from functools import cache
from hashlib import blake2b
from pathlib import Path

from gateway.config.models import Gateway, Paths
from gateway.receive.replies import Reply
from gateway.receive.sources import Speakers, query_value
from gateway.receive.visit import Visit

FOLDER = Path(__file__).parents[1] / "tag"
_CORE = "core"


def tag(config: Gateway, speakers: Speakers, visit: Visit) -> Reply:
    """The tag for whoever asks, or 304 where it is known already."""
    own = visit.request.target.partition("?")[0].rstrip("/")
    events, consent = (_relative(path, own) for path in addresses(_paths(config, speakers, visit)))
    packed = "gzip" in visit.headers.get("accept-encoding", "")
    core = _CORE in (pair.partition("=")[0] for pair in visit.query.split("&"))
    full, unchanged, etag = _replies(_CORE if core else "tag", events, consent, packed)
    known = visit.headers.get("if-none-match", "")
    return unchanged if etag in [text.strip().removeprefix("W/") for text in known.split(",")] else full


def addresses(paths: Paths) -> tuple[str, str]:
    """The paths of events and of a visitor's choice, under their neutral names where there are any."""
    prefix = f"/{name}" if (name := paths.prefix.strip("/")) else ""
    return f"{prefix}/{(paths.events or 'v1/events').strip('/')}", f"{prefix}/v1/consent"


def _paths(config: Gateway, speakers: Speakers, visit: Visit) -> Paths:
    key = query_value(visit.query, "k")
    source = (speakers.of_write_key(key) if key else None) or speakers.of_host(visit.client.host)
    return (config.sources[source].paths if source else None) or config.paths


def _relative(path: str, own: str) -> str:
    """Of the tag's own path: `/m/e` is `e` for a tag at `/m/t.js`. A request for a whole URL counts by its path."""
    _, found, rest = own.partition("://")
    own = f"/{rest.partition('/')[2]}" if found else own
    return posixpath.relpath(path, posixpath.dirname(own) or "/")


@cache
def _replies(build: str, events: str, consent: str, packed: bool) -> tuple[Reply, Reply, str]:
    """The whole reply, the one for a browser that has it, and its ETag."""
    text = (FOLDER / f"{build}.js").read_text("utf-8").replace("%events%", events).replace("%consent%", consent)
    body = text.encode()
    etag = f'"{blake2b(body, digest_size=12).hexdigest()}{"-gz" if packed else ""}"'
    kept = {"Cache-Control": "public, max-age=3600", "ETag": etag, "Vary": "Accept-Encoding"}
    headers = {
        "Content-Type": "text/javascript; charset=utf-8",
        "X-Content-Type-Options": "nosniff",
        "Cross-Origin-Resource-Policy": "cross-origin",
        **({"Content-Encoding": "gzip"} if packed else {}),
        **kept,
    }
    body = gzip.compress(body, 9, mtime=0) if packed else body
    return Reply(200, body, headers), Reply(304, headers=kept), etag
