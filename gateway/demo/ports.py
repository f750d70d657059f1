"""The ports of the demo: the usual ones, or the next free ones where somebody else has them."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass, fields

from gateway.errors import GatewayError

HOST = "127.0.0.1"
TRIED = 50
"""How many ports above a usual one are tried."""


@dataclass(frozen=True, slots=True)
class Ports:
    """One port per listener; the values here are the usual ones, which the files in `configs/lab/` name."""

    shop: int = 8090
    gateway: int = 8080
    admin: int = 9090
    metrics: int = 9464
    lab: int = 9100


USUAL = Ports()
OPTIONS = {
    "shop": "--port",
    "gateway": "--gateway-port",
    "admin": "--admin-port",
    "metrics": "--metrics-port",
    "lab": "--lab-port",
}
"""The option of `tagway demo` that sets each port."""


def choose(wanted: Mapping[str, int | None]) -> Ports:
    """The ports to use: the wanted ones, for the others the usual or the next free one. Raises GatewayError."""
    chosen: dict[str, int] = {}
    for field in fields(Ports):
        port = wanted.get(field.name)
        chosen[field.name] = _wanted(field.name, port) if port else _near(field.name, set(chosen.values()))
    if len(set(chosen.values())) < len(chosen):
        raise GatewayError(f"two listeners cannot share a port; set {', '.join(OPTIONS.values())} apart")
    return Ports(**chosen)


def moved(ports: Ports) -> list[str]:
    """A sentence for each port that is not the usual one."""
    return [
        f"{field.name}: port {getattr(ports, field.name)} instead of {getattr(USUAL, field.name)} ({OPTIONS[field.name]})"
        for field in fields(Ports)
        if getattr(ports, field.name) != getattr(USUAL, field.name)
    ]


def _wanted(name: str, port: int) -> int:
    if not is_free(port):
        raise GatewayError(f"port {port} is taken; give another one with {OPTIONS[name]}, or none to let the demo find one")
    return port


def _near(name: str, used: set[int]) -> int:
    usual: int = getattr(USUAL, name)
    for port in range(usual, usual + TRIED):
        if port not in used and is_free(port):
            return port
    raise GatewayError(f"no free port from {usual} to {usual + TRIED - 1} for {name}; give one with {OPTIONS[name]}")


def is_free(port: int) -> bool:
    """Whether a listener could be bound to it now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True
