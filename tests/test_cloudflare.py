"""deploy/cloudflare, nginx and the Caddyfile before a real gateway: whom it believes what, and where a Worker's hits end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import ssl
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.config.load import load
from gateway.receive import client
from tests.faults.process import free_port
from tests.gateway_kit import GRANTED, Running, running
from tests.needs import program
from tests.vendor import Play, Vendor

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "deploy" / "cloudflare"
GIVEN = yaml.safe_load((FOLDER / "gateway.yaml").read_text())
HOST = GIVEN["sources"]["shop"]["hosts"][0]
SHOP = "shop.example"
VISITOR, FORGED = "198.51.100.7", "203.0.113.66"
AGENT = {"User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"}
EDGE = {**AGENT, "CF-Connecting-IP": VISITOR, "X-Forwarded-For": VISITOR, "CF-IPCountry": "DE", "CF-Region-Code": "BE"}
"""What Cloudflare sends for a visitor of Berlin."""
pytestmark = pytest.mark.slow


class Behind:
    """A gateway that is configured as deploy/cloudflare/gateway.yaml says, and what its only destination got."""

    def __init__(self, up: Running, vendor: Vendor) -> None:
        self.up, self.vendor = up, vendor

    async def hit(self, headers: Mapping[str, str], url: str = "", tls: ssl.SSLContext | bool = True) -> dict[str, Any]:
        """Send an event; the event as it was delivered."""
        event = {"name": "page_view", "id": f"e-{len(self.vendor.seen)}", "consent": GRANTED}
        sent = {"Host": HOST, **headers}
        async with self.up.client.post(url or f"{self.up.url}/m/v1/events", json=event, headers=sent, ssl=tls) as answer:
            assert answer.status == 200, await answer.text()
        return await self.delivered()

    async def delivered(self) -> dict[str, Any]:
        """The newest event that arrived, once nothing is queued."""
        await self.up.idle()
        found: dict[str, Any] = self.vendor.seen[-1].json()
        return found


@contextlib.asynccontextmanager
async def behind(folder: Path, vendor: Vendor) -> AsyncIterator[Behind]:
    vendor.always(Play(200))
    hook = f"type: webhook\nsettings:\n  url: {vendor.url()}\n  secret: tagway-lab-webhook-secret\nbots:\n  max_score: 100\n"
    taken = {key: GIVEN[key] for key in ("trusted_proxies", "geo", "paths")}
    sources = f"  shop:\n    hosts: [{HOST}]\n    origins: ['https://{SHOP}']\n    write_keys: [wk_shop]\n"
    async with running(folder / "gateway", {"hook": hook}, sources=sources, gateway=yaml.safe_dump(taken)) as up:
        yield Behind(up, vendor)


def place(event: Mapping[str, Any]) -> tuple[Any, Any, Any]:
    """Address, country and region of an event."""
    geo = event.get("geo", {})
    return event.get("device", {}).get("ip"), geo.get("country"), geo.get("region")


def test_its_configuration_loads(tmp_path: Path) -> None:
    (tmp_path / "gateway.yaml").write_text((FOLDER / "gateway.yaml").read_text())
    config = load(tmp_path / "gateway.yaml")
    assert config.trusted_proxies == ["cloudflare", "private"]
    assert (config.geo.country_header, config.geo.region_header) == ("CF-IPCountry", "CF-Region-Code")


async def test_the_word_of_a_server_of_cloudflares_counts(
    tmp_path: Path, vendor: Vendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "CLOUDFLARE", ["127.0.0.0/8"])  # no machine has an address of theirs to connect from
    async with behind(tmp_path, vendor) as at:
        assert place(await at.hit(EDGE)) == (VISITOR, "DE", "BE")
        assert place(await at.hit({**EDGE, "X-Forwarded-For": f"{FORGED}, {VISITOR}"})) == (VISITOR, "DE", "BE")
        assert place(await at.hit({**EDGE, "CF-IPCountry": "T1"})) == (VISITOR, None, None)
        assert "bot" not in await at.hit({**EDGE, "cf-bot-score": "97"})
        assert (await at.hit({**EDGE, "cf-bot-score": "2"}))["bot"] == {"score": 99, "reasons": ["upstream"]}
        assert (await at.hit({**EDGE, "cf-verified-bot": "true"}))["bot"]["score"] == 100


async def test_anybody_elses_does_not(tmp_path: Path, vendor: Vendor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(GIVEN, "trusted_proxies", ["cloudflare"])
    async with behind(tmp_path, vendor) as at:
        event = await at.hit({**AGENT, **EDGE, "cf-bot-score": "2"})
        assert VISITOR not in json.dumps(event)
        assert place(event)[1:] == (None, None)
        assert "bot" not in event


async def test_nginx_between_cloudflare_and_the_gateway_hands_the_visitor_on(tmp_path: Path, vendor: Vendor) -> None:
    async with behind(tmp_path, vendor) as at, nginx(tmp_path / "nginx", at.up) as (url, tls):
        assert place(await at.hit(EDGE, f"{url}/m/v1/events", tls)) == (VISITOR, "DE", "BE")
        forged = {**EDGE, "X-Forwarded-For": f"{FORGED}, {VISITOR}"}
        assert place(await at.hit(forged, f"{url}/m/v1/events", tls))[0] == VISITOR
        async with at.up.client.get(f"{url}/m/p.gif?e=page_view", headers={"Host": HOST, **EDGE}, ssl=tls) as answer:
            assert (answer.status, "Server" in answer.headers) == (200, True)
            assert answer.headers["Server"] == "nginx"
        assert not list((tmp_path / "nginx").glob("*.log"))


@contextlib.asynccontextmanager
async def nginx(folder: Path, up: Running) -> AsyncIterator[tuple[str, ssl.SSLContext]]:
    """The snippet in front of a gateway, with ports and a certificate of its own: (its base, what trusts it)."""
    port, key, certificate = free_port(), folder / "key.pem", folder / "cert.pem"
    await asyncio.to_thread(folder.mkdir)
    making = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", f"/CN={HOST}"]
    making += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    made = await asyncio.create_subprocess_exec(program("openssl", "openssl"), *making, stderr=asyncio.subprocess.DEVNULL)
    assert await made.wait() == 0
    text = (ROOT / "deploy" / "nginx" / "tagway.conf").read_text()
    text = re.sub(r"/etc/letsencrypt/\S+/fullchain.pem", str(certificate), text)
    text = re.sub(r"/etc/letsencrypt/\S+/privkey.pem", str(key), text)
    text = text.replace("listen 443 ssl http2", f"listen 127.0.0.1:{port} ssl http2")
    text = text.replace("server 127.0.0.1:8080;", f"server {up.app.addresses['public']};")
    temporary = "".join(f"{kind}_temp_path {folder}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    (folder / "nginx.conf").write_text(
        f"daemon off; pid {folder}/pid; error_log stderr crit;\nevents {{}}\nhttp {{\n{temporary}{text}\n}}\n"
    )
    command = [program("nginx", "nginx-light"), "-c", str(folder / "nginx.conf"), "-p", str(folder)]
    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.DEVNULL)
    try:
        await _listens(port)
        yield f"https://127.0.0.1:{port}", ssl.create_default_context(cafile=str(certificate))
    finally:
        process.terminate()
        await asyncio.wait_for(process.wait(), 10)


async def _listens(port: int) -> None:
    async with asyncio.timeout(10):
        while True:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                return
            await asyncio.sleep(0.05)


LINE = "header_up X-Forwarded-For {header.CF-Connecting-IP}"
"""What deploy/cloudflare/README.md adds to the Caddyfile."""


@pytest.mark.parametrize("added", ["", LINE], ids=["as it is", "behind Cloudflare"])
async def test_caddy_hands_on_whom_it_saw_or_whom_cloudflare_names(tmp_path: Path, vendor: Vendor, added: str) -> None:
    assert f"`{LINE}`" in (FOLDER / "README.md").read_text()
    async with behind(tmp_path, vendor) as at, caddy(tmp_path / "caddy", at.up, added) as url:
        event = await at.hit({**EDGE, "X-Forwarded-For": FORGED}, f"{url}/m/v1/events")
        assert FORGED not in json.dumps(event)
        assert place(event)[0] == (VISITOR if added else "127.0.0.1")
        async with at.up.client.get(f"{url}/m/p.gif?e=page_view", headers={"Host": HOST, **EDGE}) as answer:
            assert answer.status == 200
            assert not {"Server", "Via"} & set(answer.headers)


@contextlib.asynccontextmanager
async def caddy(folder: Path, up: Running, added: str) -> AsyncIterator[str]:
    """The Caddyfile in front of a gateway, without TLS: its base."""
    port = free_port()
    text = (ROOT / "deploy" / "Caddyfile").read_text()
    assert text.count("{$TAGWAY_HOST} {") == text.count("reverse_proxy tagway:8080 {") == 1
    text = text.replace("{$TAGWAY_HOST} {", f"http://{HOST}:{port} {{\n\tbind 127.0.0.1")
    text = text.replace("reverse_proxy tagway:8080 {", f"reverse_proxy {up.app.addresses['public']} {{\n\t\t{added}")
    await asyncio.to_thread(folder.mkdir)
    (folder / "Caddyfile").write_text(f"{{\n\tadmin off\n\tauto_https off\n}}\n{text}")
    command = [program("caddy", "caddy"), "run", "--adapter", "caddyfile", "--config", str(folder / "Caddyfile")]
    home = {**os.environ, "HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    process = await asyncio.create_subprocess_exec(
        *command, env=home, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        await _listens(port)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        await asyncio.wait_for(process.wait(), 20)


async def worker(gateway: str, asked: dict[str, Any]) -> dict[str, Any]:
    """What worker.js answers, run by Node.js; Cloudflare adds its headers to what the Worker sends, as here."""
    code = (FOLDER / "worker.js").read_text().replace("export default", "const worker =")
    code += f"""
        const asked = {json.dumps(asked)};
        const answer = await worker.fetch(new Request(asked.url, asked), {{ GATEWAY: {json.dumps(gateway)} }});
        console.log(JSON.stringify({{
          status: answer.status, body: await answer.text(), headers: Object.fromEntries(answer.headers),
        }}));
    """
    command = [program("node", "nodejs"), "--input-type=module", "-e", code]
    done = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE)
    out, error = await asyncio.wait_for(done.communicate(), 30)
    assert done.returncode == 0, error.decode()
    found: dict[str, Any] = json.loads(out)
    return found


async def test_the_worker_takes_hits_of_the_shops_own_host_to_the_gateway(tmp_path: Path, vendor: Vendor) -> None:
    hit = {"name": "page_view", "id": "w-1", "consent": GRANTED, "page": {"url": f"https://{SHOP}/"}}
    async with behind(tmp_path, vendor) as at:
        asked = {
            "method": "POST",
            "url": f"https://{SHOP}/m/v1/events?x=1",
            "headers": {**EDGE, "Content-Type": "text/plain", "X-Write-Key": "wk_shop", "X-Forwarded-Host": "evil.example"},
            "body": json.dumps(hit),
        }
        answer = await worker(at.up.url, asked)
        assert answer["status"] == 200, answer
        assert json.loads(answer["body"])["ids"] == ["w-1"]
        event = await at.delivered()
        assert (event["id"], event["device"]["ip"]) == ("w-1", VISITOR)
        pixel = await worker(
            at.up.url, {"method": "GET", "url": f"https://{SHOP}/m/p.gif?e=page_view&k=wk_shop", "headers": EDGE}
        )
        assert (pixel["status"], pixel["headers"]["content-type"]) == (200, "image/gif")


async def test_the_worker_says_503_when_the_gateway_cannot_be_reached() -> None:
    answer = await worker(
        f"http://127.0.0.1:{free_port()}", {"method": "GET", "url": f"https://{SHOP}/m/p.gif?e=a", "headers": {}}
    )
    assert (answer["status"], answer["headers"]["retry-after"]) == (503, "5")


@pytest.mark.parametrize(
    ("name", "phase"), [("cache", "http_request_cache_settings"), ("headers", "http_request_late_transform")]
)
def test_rules_are_of_their_phase_and_name_the_hosts_of_the_configuration(name: str, phase: str) -> None:
    rules = json.loads((FOLDER / f"{name}.json").read_text())
    assert (rules["kind"], rules["phase"]) == ("zone", phase)
    hosts = {host for rule in rules["rules"] for host in re.findall(r'http\.host eq "([^"]+)"', rule["expression"])}
    assert HOST in hosts <= {HOST, SHOP}
    prefixes = {
        found for rule in rules["rules"] for found in re.findall(r'starts_with\([^,]+, "([^"]+)"\)', rule["expression"])
    }
    assert prefixes <= {GIVEN["paths"]["prefix"] + "/"}


def test_no_rule_touches_headers_that_cloudflare_keeps_to_itself() -> None:
    """https://developers.cloudflare.com/rules/transform/request-header-modification/: none that begins with cf- or x-cf-."""
    [rule] = json.loads((FOLDER / "headers.json").read_text())["rules"]
    names = {name.lower() for name in rule["action_parameters"]["headers"]}
    assert {"x-device-bot-score", "x-forwarded-host", "forwarded"} == names
    assert not [name for name in names if name.startswith(("cf-", "x-cf-"))]


def test_the_page_names_every_header_that_the_configuration_reads() -> None:
    page = (FOLDER / "README.md").read_text()
    for name in ("CF-Connecting-IP", *GIVEN["geo"].values(), "cf-bot-score", "cf-verified-bot", "X-Device-Bot-Score"):
        assert f"`{name}`" in page
