"""What works but surprises: a source that can never deliver as configured, an API version near its end, a key in the open."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

from gateway.clock import Clock
from gateway.config.addresses import is_loopback
from gateway.config.models import DestinationConfig, Gateway, Source
from gateway.errors import ConfigErrors, Problem
from gateway.manifest import Manifest, load_manifest

SUNSET = timedelta(days=60)
TOKEN = timedelta(days=7)
_GOOGLE = frozenset({"ad_storage", "ad_user_data", "ad_personalization", "analytics_storage"})
_ALL = _GOOGLE | {"functional"}
GRANTS = {"event": _ALL, "tcf": _GOOGLE, "gpp": _GOOGLE, "gcs": _GOOGLE, "cmp_cookie": _ALL, "own": _ALL}
"""The purposes that each kind of signal can grant."""
_SECRETS = re.compile(
    r"(sk|rk|pk_live|ghp|gho|xox[abp]|shpat|EAA|AKIA|AIza|eyJ)[_A-Za-z0-9-]{8,}|[0-9a-f]{32,}|[A-Za-z0-9+/]{40,}=*"
)


def warnings(config: Gateway, today: date | None = None) -> list[Problem]:
    """Everything that deserves a line in the log and in `tagway check`; each Problem has `warning` set."""
    day = today or datetime.fromtimestamp(Clock.from_environment().now(), UTC).date()
    found = [*_gateway(config), *(words for name, one in config.sources.items() for words in _source(name, one))]
    problems = [Problem(words, config.file, warning=True) for words in found]
    for one in config.destinations.values():
        try:
            manifest = load_manifest(one.type)
        except ConfigErrors:
            continue  # an error, which load() reports
        problems += [Problem(words, one.file, line, True) for words, line in _destination(config, one, manifest, day)]
    for held in config.held:
        problems += [Problem(f"{held.kind} {held.name} is left out: {p}", warning=True) for p in held.problems]
    return problems


def _gateway(config: Gateway) -> Iterator[str]:
    if not config.destinations:
        yield "there is no destination: events are stored and sent to nobody"
    used = {name for one in config.destinations.values() for name in one.sources}
    for name in config.sources if config.destinations else ():
        if name not in used:
            yield f"no destination takes what the source {name} sends"
    for key, address in (("listen", config.listen), ("metrics.listen", config.metrics.listen)):
        if config.lab and not is_loopback(address.rpartition(":")[0]):
            yield f"lab is true and {key} is {address}, beyond this machine: secrets may be written in the files of a lab"


def _source(name: str, source: Source) -> Iterator[str]:
    if not (source.hosts or source.write_keys or source.server_keys or source.ga4_ids):
        yield f"sources.{name} has no hosts and no keys: no hit can name it"
    for key in source.write_keys:
        if not key.startswith("wk_") and _SECRETS.fullmatch(key):
            yield f"sources.{name}.write_keys: a key looks like a secret, and write keys are public: every visitor reads them"
    for origin in source.origins:
        if origin.startswith("http://") and not is_loopback(_host_of(origin)):
            yield f"sources.{name}.origins: {origin} is without https: anybody on the way can read and change the hits"
    domain = source.identity.domain
    for host in source.hosts if domain else ():
        name_of_it = _host_of(f"https://{host}")
        if name_of_it != domain and not name_of_it.endswith(f".{domain}"):
            yield f"sources.{name}.identity.domain: {host} is not under {domain}, so its cookies are its own alone"
    consent = source.consent
    if consent.unknown == "jurisdiction" and consent.jurisdiction == "opt_in":
        yield f"sources.{name}.consent: unknown: jurisdiction with jurisdiction: opt_in is the same as unknown: denied"


def _host_of(origin: str) -> str:
    rest = origin.split("://", 1)[1]
    return rest.partition("]")[0] if rest.startswith("[") else rest.partition(":")[0]


def _destination(config: Gateway, one: DestinationConfig, manifest: Manifest, day: date) -> Iterator[tuple[str, int | None]]:
    if one.mode == "off":
        return
    for name in one.sources:
        for words in _undeliverable(config, name, one, manifest):
            yield words, _line(one, "consent")
    if one.share == 0:
        yield "share is 0: every event ends as skipped{share}", _line(one, "share")
    if one.mode == "test":
        yield "mode: test marks every event as a test event; the platform will not count them", _line(one, "mode")
    if one.limits.max_age == math.inf and one.mode == "live":
        yield "limits.max_age: off sends events that the vendor may refuse for their age", _line(one, "limits")
    elif one.limits.max_age and manifest.limits.max_age and one.limits.max_age > manifest.limits.max_age:
        days = manifest.limits.max_age / 86400
        yield f"limits.max_age is longer than {manifest.name} accepts; its own {days:g}d hold", _line(one, "limits")
    if one.token_expires and one.token_expires - day <= TOKEN:
        ends = "ended" if one.token_expires <= day else "ends"
        yield f"the token {ends} on {one.token_expires} (token_expires); its events then wait", _line(one, "token_expires")
    yield from ((words, None) for words in _sunset(manifest, day))


def _sunset(manifest: Manifest, day: date) -> Iterator[str]:
    version = manifest.version
    if not version or not version.ends or version.ends - day > SUNSET:
        return
    if version.ends <= day:
        yield f"{manifest.name} {version.api} ended on {version.ends}; update Tagway"
    else:
        yield f"{manifest.name} {version.api} ends on {version.ends}, in {(version.ends - day).days} days; update Tagway"


def _undeliverable(config: Gateway, name: str, one: DestinationConfig, manifest: Manifest) -> Iterator[str]:
    """Why nothing of a source can ever be allowed for a destination that needs consent."""
    requires = manifest.consent.requires if one.consent.requires is None else one.consent.requires
    consent = config.sources[name].consent
    if not requires or one.consent.on_denied == "anonymous":
        return
    if consent.unknown == "jurisdiction" and consent.jurisdiction == "auto" and not config.geo.known:
        yield (
            f"sources.{name}.consent.unknown is jurisdiction and no country is known: set geo.country_header "
            f"or geo.database; until then silence counts as denied for {one.name}"
        )
    silence_grants = consent.unknown == "jurisdiction" and (
        consent.jurisdiction in ("opt_out", "none") or (consent.jurisdiction == "auto" and config.geo.known)
    )
    if silence_grants:
        return
    barred = [purpose for purpose in requires if not any(purpose in GRANTS[kind] for kind in consent.read)]
    if barred:
        read = f"reads only {', '.join(consent.read)}" if consent.read else "reads no signal"
        yield (
            f"{one.name} can never receive from {name}: it requires {', '.join(barred)}, "
            f"and sources.{name}.consent {read}, which cannot grant that"
        )
    elif set(consent.read) <= {"tcf", "gpp"} and not _tcf(one, manifest):
        yield (
            f"{one.name} can never receive from {name}, which reads only {', '.join(consent.read)}: "
            f"{manifest.name} has no TCF vendor id; set consent.tcf_vendor, or consent.purposes_only: true"
        )


def _tcf(one: DestinationConfig, manifest: Manifest) -> bool:
    return one.consent.purposes_only or (one.consent.tcf_vendor or manifest.consent.tcf_vendor) is not None


def _line(one: DestinationConfig, key: str) -> int | None:
    mark = getattr(one.tree, "marks", {}).get(key)
    return mark.line if mark and mark.file == one.file else None
