"""What the public listener answers beside hits: health, robots.txt, the settings that Segment's and RudderStack's SDKs load
first."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from gateway.config.models import Gateway
from gateway.errors import Refused, RefusedReason
from gateway.receive.replies import SEGMENT_OK, Reply, json_reply
from gateway.receive.routes import READ, Service
from gateway.receive.sources import Speakers, host_name
from gateway.receive.visit import Visit

ALIVE = json_reply(200, {"ok": True})
ROBOTS = Reply(200, b"User-agent: *\nDisallow: /\n", {"Content-Type": "text/plain", "Cache-Control": "public, max-age=86400"})
SETTINGS_CACHE = {"Cache-Control": "public, max-age=300", "X-Content-Type-Options": "nosniff"}


def health(ready: Callable[[], Mapping[str, Any]]) -> tuple[Service, ...]:
    """/healthz (the process), /readyz (503 while `ready()` has reasons), /robots.txt."""

    async def healthz(_visit: Visit) -> Reply:
        return ALIVE

    async def readyz(_visit: Visit) -> Reply:
        state = ready()
        return json_reply(503 if state["reasons"] else 200, state)

    async def robots(_visit: Visit) -> Reply:
        return ROBOTS

    return (
        Service(path="/healthz", methods=READ, answer=healthz),
        Service(path="/readyz", methods=READ, answer=readyz),
        Service(path="/robots.txt", methods=READ, answer=robots),
    )


async def discard(_visit: Visit) -> Reply:
    """`/v1/m`: an SDK's measurements of itself, which are nobody's event."""
    return SEGMENT_OK


def sdk_settings(config: Gateway, speakers: Speakers, key: str, host: str) -> Reply:
    """What analytics.js needs to send its events here. Raises Refused for a key that is not a public key of a source.

    Key and host in the answer are the configured ones. `Segment.io` stays the only integration: for any other the SDK
    would load code from Segment.
    """
    source = speakers.of_write_key(key)
    if source is None:
        raise Refused("the key is not one of a source", reason=RefusedReason.UNKNOWN_KEY, status=404)
    configured = config.sources[source]
    api_host = _api_host(configured.hosts, host, config.paths.prefix)
    if api_host is None:
        raise Refused("the source has no hosts, so nothing says where its events go", status=404)
    own_key = configured.write_keys[configured.write_keys.index(key)]
    settings = {
        "integrations": {"Segment.io": {"apiKey": own_key, "apiHost": api_host}},
        "plan": {"track": {"__default": {"enabled": True}}},
        "middlewareSettings": {},
        "enabledMiddleware": {},
        "remotePlugins": [],
        "metrics": {"sampleRate": 0},
        "legacyVideoPluginsEnabled": False,
        "analyticsNextEnabled": True,
        "edgeFunction": {},
        "consentSettings": {"allCategories": [], "hasUnmappedDestinations": False},
    }
    return json_reply(200, settings, SETTINGS_CACHE)


def source_config(speakers: Speakers, key: str | None) -> Reply:
    """What RudderStack's browser SDK needs to begin. Raises Refused for a key that is not a public key of a source.

    A source without destinations: for any, the SDK would load code from RudderStack. It reports nothing about itself.
    """
    if key is None or speakers.of_write_key(key) is None:
        raise Refused("the key is not one of a source", reason=RefusedReason.UNKNOWN_KEY, status=404)
    silent = {"errors": {"enabled": False}, "metrics": {"enabled": False}}
    source = {
        "id": key,
        "name": key,
        "writeKey": key,
        "enabled": True,
        "workspaceId": "",
        "config": {"statsCollection": silent},
        "destinations": [],
        "dataplanes": {},
    }
    return json_reply(200, {"source": source}, SETTINGS_CACHE)


def _api_host(hosts: list[str], asked: str, prefix: str) -> str | None:
    """The configured host that was asked for, with the port it was asked on, else the first configured one."""
    if not hosts:
        return None
    name = host_name(asked)
    port = asked.rpartition(":")[2] if ":" in asked and not asked.endswith("]") else ""
    own = next((host for host in hosts if host_name(host) == name), None)
    root = hosts[0] if own is None else f"{host_name(own)}:{int(port)}" if port.isdigit() else own
    path = "/".join(part for part in (prefix.strip("/"), "v1") if part)
    return f"{root}/{path}"
