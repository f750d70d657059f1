"""What several verbs share: the `-c` option, loading, JSON output, and talking to a running gateway."""

from __future__ import annotations

import http.client
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlencode

import click
import orjson

from gateway.config.load import load
from gateway.config.models import Gateway
from gateway.errors import GatewayError

F = TypeVar("F", bound=Callable[..., Any])
SEARCH = ("configs/gateway.yaml", "/etc/tagway/gateway.yaml")


class NotRunning(GatewayError):
    """No gateway answers on the admin address."""


def config_option(command: F) -> F:
    """`-c FILE`, with the places that are searched without it."""
    return click.option(
        "-c",
        "--config",
        "config_path",
        type=click.Path(dir_okay=False, path_type=Path),
        envvar="TAGWAY_CONFIG",
        help=f"The configuration file. Without it: {', then '.join(SEARCH)}.",
    )(command)


def json_option(command: F) -> F:
    """`--json`: the answer for programs."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")(command)


def config_file(given: Path | None) -> Path:
    """The configuration file to use. Raises GatewayError when none is there."""
    for path in [given] if given else [Path(name) for name in SEARCH]:
        if path.is_file():
            return path
    tried = str(given) if given else " and ".join(SEARCH)
    raise GatewayError(f"no configuration file at {tried}; name one with -c, or let `tagway init` write one")


def load_config(given: Path | None, *, secrets: bool = True) -> Gateway:
    """Load, or raise ConfigErrors with every problem."""
    return load(config_file(given), secrets=secrets)


def some_config(given: Path | None) -> Gateway | None:
    """The configuration where there is one to load, for verbs that work without: None where none was named or found."""
    if given is None and not any(Path(name).is_file() for name in SEARCH):
        return None
    return load_config(given, secrets=False)


def json_file(path: Path) -> Any:
    """The parsed content of a file. Raises GatewayError where there is none, or it is not JSON."""
    try:
        return orjson.loads(read_file(path))
    except orjson.JSONDecodeError as error:
        raise GatewayError(f"{path} is not JSON: {error}") from None


def read_file(path: Path) -> bytes:
    """The bytes of a file that the user named. Raises GatewayError."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise GatewayError(f"cannot read {path}: {error.strerror}") from None


def print_json(value: Any) -> None:
    """Indented JSON on stdout."""
    click.echo(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())


class AdminClient:
    """Speaks to the admin listener of the gateway that a configuration describes."""

    def __init__(self, config: Gateway) -> None:
        self._address = config.admin.listen
        self._token = config.admin.token.get_secret_value()

    @classmethod
    def at(cls, address: str, token: str) -> AdminClient:
        """The client of a gateway whose configuration is elsewhere; `address` is host:port."""
        client = cls.__new__(cls)
        client._address, client._token = address, token
        return client

    def get(self, path: str, query: Mapping[str, Any] | None = None) -> Any:
        """GET, parsed. Raises NotRunning, or GatewayError with the gateway's own words."""
        words = urlencode({key: value for key, value in (query or {}).items() if value not in (None, "", ())})
        return _parsed(b"".join(self._call("GET", f"{path}?{words}" if words else path, None)))

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """POST JSON, parsed."""
        return _parsed(b"".join(self._call("POST", path, body)))

    def stream(self, path: str, body: Mapping[str, Any]) -> Iterator[Any]:
        """POST JSON; one value per line as it arrives."""
        rest = b""
        for chunk in self._call("POST", path, body):
            *lines, rest = (rest + chunk).split(b"\n")
            yield from (orjson.loads(line) for line in lines if line)

    def events(self, path: str) -> Iterator[Any]:
        """GET a stream of server-sent events; the data of each."""
        rest = b""
        for chunk in self._call("GET", path, None):
            *blocks, rest = (rest + chunk).split(b"\n\n")
            for block in blocks:
                data = b"".join(line[6:] for line in block.split(b"\n") if line.startswith(b"data: "))
                if data:
                    yield orjson.loads(data)

    def _call(self, method: str, path: str, body: Mapping[str, Any] | None) -> Iterator[bytes]:
        host, _, port = self._address.rpartition(":")
        host = {"0.0.0.0": "127.0.0.1", "[::]": "::1"}.get(host, host.strip("[]"))
        connection = http.client.HTTPConnection(host, int(port), timeout=600)
        headers = {"Accept": "application/json"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        if body is not None:
            headers["Content-Type"] = "application/json"
        gone = f"no gateway answers on {self._address}; is `tagway serve` up?"
        with closing(connection):
            try:
                connection.request(method, path, orjson.dumps(body) if body is not None else None, headers)
                response = connection.getresponse()
            except (OSError, http.client.HTTPException) as error:
                raise NotRunning(f"{gone} ({getattr(error, 'strerror', None) or error})") from None
            if response.status >= 400:
                raise GatewayError(_words(response.status, response.read()))
            try:
                while chunk := response.read1(65536):
                    yield chunk
            except (OSError, http.client.HTTPException):
                raise NotRunning(f"the gateway on {self._address} went away while it answered") from None


def _parsed(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        raise GatewayError("something else than a gateway answers on the admin address: its answer is not JSON") from None


def _words(status: int, body: bytes) -> str:
    try:
        return str(orjson.loads(body)["error"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return f"the gateway answered {status}"


@contextmanager
def working(what: str) -> Iterator[None]:
    """Says on a terminal what takes a while, and takes it back when it is done."""
    shown = sys.stderr.isatty()
    if shown:
        click.echo(f"{what} …", nl=False, err=True)
    try:
        yield
    finally:
        if shown:
            click.echo("\r\x1b[K", nl=False, err=True)


def progress_bar(total: int, label: str) -> Any:
    """A progress bar on a terminal, nothing elsewhere."""
    return click.progressbar(length=max(total, 1), label=label, file=sys.stderr, hidden=not sys.stderr.isatty())
