"""`tagway doctor`: what a browser meets at a tagging host, looked at from outside; nothing is sent but reads and preflights.

Each check gives findings: fine, a warning or a fault, in a sentence, with what to do. The facts behind them are in
docs/first-party.md: Safari keeps a server's cookie for seven days only where the host's address lies outside the site's own
/16 (IPv4) or /64 (IPv6), or where the host is a CNAME to another site.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Literal
from urllib.parse import urlsplit

import aiohttp

from gateway.config.suffixes import registrable
from gateway.errors import GatewayError
from gateway.setup.block_lists import block_lists

TIMEOUT = aiohttp.ClientTimeout(total=10, connect=5)
CERTIFICATE_DAYS = 14
CLOCK_SECONDS = 60
SLOW_MS = 500
FOREIGN_ORIGIN = "https://not-on-your-list.example"
Level = Literal["fine", "warning", "fault"]
Resolve = Callable[[str], Awaitable[tuple[str, list[str]]]]


@dataclass(frozen=True, slots=True)
class Finding:
    """One answer: `check` is its topic, `advice` what to do (empty when all is well)."""

    level: Level
    check: str
    words: str
    advice: str = ""


@dataclass(frozen=True, slots=True)
class Patient:
    """The host to look at, and the site whose pages send to it (None: unknown, then its checks are left out)."""

    url: str
    site: str | None
    events: str = "/v1/events"

    @property
    def host(self) -> str:
        """Of the tagging URL."""
        return urlsplit(self.url).hostname or ""


def patient_of(url: str, site: str | None, events: str = "/v1/events") -> Patient:
    """A patient from what the user typed. Raises GatewayError for what is no URL."""
    parts = urlsplit(url if "://" in url else f"https://{url}")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise GatewayError(f"{url} is not a URL such as https://t.shop.example")
    own = urlsplit(site if not site or "://" in site else f"https://{site}").geturl().rstrip("/") if site else None
    return Patient(f"{parts.scheme}://{parts.netloc}", own, events)


async def examine(patient: Patient, resolve: Resolve | None = None) -> list[Finding]:
    """All findings, in the order of the checks. A check that cannot be made says so and the others go on."""
    look_up = resolve or addresses
    found = await _dns(patient, look_up)
    if any(finding.level == "fault" for finding in found):
        return found
    found += await _tls(patient)
    async with aiohttp.ClientSession(timeout=TIMEOUT, trust_env=False) as session:
        alive = await _health(patient, session)
        found += alive
        if any(finding.level == "fault" for finding in alive):
            return found
        found += await _cors(patient, session)
        found += await _csp(patient, session)
    return found + _block_lists(patient)


async def addresses(host: str) -> tuple[str, list[str]]:
    """The canonical name and the addresses of a host. Raises OSError."""
    loop = asyncio.get_running_loop()
    rows = await loop.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_CANONNAME)
    canonical = next((row[3] for row in rows if row[3]), host)
    return canonical.rstrip("."), sorted({str(row[4][0]) for row in rows})


async def _dns(patient: Patient, look_up: Resolve) -> list[Finding]:
    try:
        canonical, found = await look_up(patient.host)
    except OSError as error:
        advice = f"add an A or AAAA record for {patient.host}"
        return [Finding("fault", "DNS", f"{patient.host} has no address ({error.strerror or error})", advice)]
    told = [Finding("fine", "DNS", f"{patient.host} is {', '.join(found)}")]
    if canonical != patient.host and registrable(canonical) != registrable(patient.host):
        words = f"{patient.host} is a CNAME to {canonical}, another site: Safari keeps its cookies for 7 days only"
        told.append(Finding("warning", "Safari", words, "use an A or AAAA record, or a path on the site's own host"))
    if patient.site:
        told += await _near(patient, found, look_up)
    return told


async def _near(patient: Patient, found: Sequence[str], look_up: Resolve) -> list[Finding]:
    site_host = urlsplit(patient.site or "").hostname or ""
    try:
        _, of_site = await look_up(site_host)
    except OSError:
        return [Finding("warning", "Safari", f"{site_host} has no address, so cookie life in Safari cannot be judged")]
    if site_host == patient.host or {_block(one) for one in found} & {_block(one) for one in of_site}:
        return [Finding("fine", "Safari", "same address block as the site: cookies live as long as they say")]
    words = f"{patient.host} and {site_host} are in other address blocks: Safari keeps its cookies for 7 days only"
    return [Finding("warning", "Safari", words, "put both behind the same CDN, or send to a path on the site's own host")]


def _block(address: str) -> str:
    """What Safari compares: the first half of an IPv4 address, the first 64 bits of an IPv6 one."""
    bits = 16 if ipaddress.ip_address(address).version == 4 else 64
    return str(ipaddress.ip_network(f"{address}/{bits}", strict=False))


async def _tls(patient: Patient) -> list[Finding]:
    parts = urlsplit(patient.url)
    if parts.scheme != "https":
        level: Level = "fine" if patient.host in ("localhost", "127.0.0.1", "::1") else "fault"
        return [
            Finding(level, "TLS", "plain http", "" if level == "fine" else "put TLS in front: deploy/compose.yaml has Caddy")
        ]
    try:
        context = ssl.create_default_context()
        _, writer = await asyncio.wait_for(asyncio.open_connection(patient.host, parts.port or 443, ssl=context), 10)
    except ssl.SSLCertVerificationError as error:
        return [Finding("fault", "TLS", f"the certificate is refused: {error.verify_message}", "browsers will not send a hit")]
    except (OSError, TimeoutError) as error:
        return [Finding("fault", "TLS", f"no TLS connection: {error}", f"is port {parts.port or 443} open?")]
    secured = writer.get_extra_info("ssl_object")
    ends = datetime.fromtimestamp(ssl.cert_time_to_seconds(secured.getpeercert()["notAfter"]), UTC)
    version = secured.version()
    writer.close()
    left = (ends - datetime.now(UTC)).days
    if left < CERTIFICATE_DAYS:
        return [Finding("warning", "TLS", f"{version}; the certificate ends in {left} days", "check that it renews by itself")]
    return [Finding("fine", "TLS", f"{version}; the certificate is good for {left} days")]


async def _health(patient: Patient, session: aiohttp.ClientSession) -> list[Finding]:
    started = time.monotonic()
    try:
        async with session.get(f"{patient.url}/readyz", allow_redirects=False) as answer:
            ms = (time.monotonic() - started) * 1000
            state = await _json(answer)
            date = answer.headers.get("Date")
    except (aiohttp.ClientError, TimeoutError) as error:
        return [Finding("fault", "Gateway", f"{patient.url} does not answer ({error or 'timeout'})", "is it running?")]
    if not isinstance(state, dict) or "reasons" not in state:
        words = f"something answers {answer.status}, but it is not Tagway"
        return [Finding("fault", "Gateway", words, "does the proxy pass every path on, also /readyz?")]
    found = [_readiness(state, ms)]
    found += [Finding("warning", "Proxy", note, "list the proxy under trusted_proxies") for note in state.get("notes", ())]
    return found + _clock(date)


def _readiness(state: dict[str, Any], ms: float) -> Finding:
    if state["reasons"]:
        return Finding("fault", "Gateway", f"not ready: {', '.join(state['reasons'])}", "see docs/runbook.md")
    if ms > SLOW_MS:
        return Finding("warning", "Gateway", f"ready, but it took {ms:.0f} ms to say so", "is it near its visitors?")
    return Finding("fine", "Gateway", f"ready, answered in {ms:.0f} ms")


def _clock(date: str | None) -> list[Finding]:
    try:
        skew = parsedate_to_datetime(date or "").timestamp() - time.time()
    except (TypeError, ValueError):
        return []
    if abs(skew) > CLOCK_SECONDS:
        return [
            Finding("warning", "Clock", f"its clock is {skew:+.0f} s off ours", "run NTP on both: event times depend on it")
        ]
    return [Finding("fine", "Clock", "agrees with ours")]


async def _cors(patient: Patient, session: aiohttp.ClientSession) -> list[Finding]:
    found = []
    if patient.site:
        allowed = await _preflight(patient, session, patient.site)
        if allowed == patient.site:
            found.append(Finding("fine", "CORS", f"pages of {patient.site} may send"))
        else:
            words = f"pages of {patient.site} may not send: the preflight allows {allowed or 'no origin'}"
            found.append(Finding("fault", "CORS", words, f"list {patient.site} under origins of the source"))
    if await _preflight(patient, session, FOREIGN_ORIGIN) in (FOREIGN_ORIGIN, "*"):
        found.append(
            Finding(
                "fault", "CORS", "pages of any site may send with cookies", "a proxy adds its own CORS headers: remove them"
            )
        )
    return found


async def _preflight(patient: Patient, session: aiohttp.ClientSession, origin: str) -> str | None:
    asked = {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type",
    }
    try:
        async with session.options(f"{patient.url}{patient.events}", headers=asked) as answer:
            return answer.headers.get("Access-Control-Allow-Origin")
    except (aiohttp.ClientError, TimeoutError):
        return None


async def _csp(patient: Patient, session: aiohttp.ClientSession) -> list[Finding]:
    if not patient.site:
        return []
    try:
        async with session.get(patient.site) as answer:
            policy = answer.headers.get("Content-Security-Policy", "")
    except (aiohttp.ClientError, TimeoutError) as error:
        return [Finding("warning", "CSP", f"{patient.site} could not be read ({error or 'timeout'})")]
    blocked = [name for name in ("connect-src", "img-src", "script-src") if not _allows(policy, name, patient.url)]
    if blocked:
        words = f"the site's Content-Security-Policy keeps browsers from {patient.url} ({', '.join(blocked)})"
        return [Finding("fault", "CSP", words, f"add {patient.url} to {' and '.join(blocked)}")]
    return [Finding("fine", "CSP", "the site's policy lets browsers send" if policy else "the site has no policy")]


def _allows(policy: str, directive: str, url: str) -> bool:
    """Whether a Content-Security-Policy header lets a page reach a URL by one directive (or its default-src)."""
    rules: dict[str, list[str]] = {}
    for rule in policy.split(";"):
        words = rule.split()
        if words:
            rules.setdefault(words[0].lower(), words[1:])
    sources = rules.get(directive, rules.get("default-src"))
    if sources is None:
        return True
    parts = urlsplit(url)
    host = parts.hostname or ""
    for source in sources:
        name = source.split("://")[-1].split("/")[0].split(":")[0].lower()
        if source == "*" or source == f"{parts.scheme}:" or name == host or (name.startswith("*.") and host.endswith(name[1:])):
            return True
    return False


def _block_lists(patient: Patient) -> list[Finding]:
    url = f"{patient.url}{patient.events}"
    pattern = block_lists().match(url)
    if pattern:
        words = f"{url} looks like {pattern} of public block lists (as of {block_lists().read})"
        return [Finding("warning", "Block lists", words, "set neutral names under paths; tagway init proposes some")]
    return [Finding("fine", "Block lists", f"{url} is on none of the patterns we carry (as of {block_lists().read})")]


async def _json(answer: aiohttp.ClientResponse) -> Any:
    try:
        return await answer.json(content_type=None)
    except (ValueError, aiohttp.ClientError):
        return None
