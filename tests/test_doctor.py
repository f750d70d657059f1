"""The doctor: each check on a host that is well and on one that is not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from gateway.doctor import _allows, _block, examine, patient_of
from gateway.errors import GatewayError
from tests.gateway_kit import running

SHOP = "  shop:\n    write_keys: [wk_shop]\n    hosts: [127.0.0.1]\n    origins: ['{origin}']\n"


def names(table: dict[str, tuple[str, list[str]]]) -> Any:
    """A resolver that knows these hosts and no other."""

    async def resolve(host: str) -> tuple[str, list[str]]:
        if host not in table:
            raise OSError("unknown host")
        return table[host]

    return resolve


@pytest.fixture
async def site() -> AsyncIterator[dict[str, Any]]:
    """A site on loopback whose policy the test sets."""
    state: dict[str, Any] = {"policy": ""}

    async def page(_request: web.Request) -> web.Response:
        return web.Response(text="shop", headers={"Content-Security-Policy": state["policy"]} if state["policy"] else {})

    application = web.Application()
    application.add_routes([web.get("/", page)])
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    state["url"] = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield state
    await runner.cleanup()


async def test_a_host_that_is_well_has_no_fault(tmp_path: Path, site: dict[str, Any]) -> None:
    async with running(tmp_path, {}, sources=SHOP.format(origin=site["url"])) as gateway:
        found = await examine(patient_of(gateway.url, site["url"], "/m/e"))
        assert {finding.check: finding.level for finding in found} == dict.fromkeys(
            ["DNS", "Safari", "TLS", "Gateway", "Clock", "CORS", "CSP", "Block lists"], "fine"
        ) | {"CORS": "fault"}, "an alias that is not configured has no preflight"
        found = await examine(patient_of(gateway.url, site["url"]))
        assert [finding.check for finding in found if finding.level == "fault"] == []


async def test_each_fault_is_named_with_what_to_do(tmp_path: Path, site: dict[str, Any]) -> None:
    site["policy"] = "default-src 'self'; connect-src https://api.shop.example"
    async with running(tmp_path, {}, sources=SHOP.format(origin="https://other.example")) as gateway:
        gateway.app.draining = True
        [ready] = [one for one in await examine(patient_of(gateway.url, None)) if one.check == "Gateway"]
        assert (ready.level, ready.words) == ("fault", "not ready: draining")
        gateway.app.draining = False
        found = {one.check: one for one in await examine(patient_of(gateway.url, site["url"]))}
        assert found["CORS"].advice == f"list {site['url']} under origins of the source"
        assert found["CSP"].words.endswith("(connect-src, img-src, script-src)")


async def test_a_site_that_is_no_gateway_is_told_apart(site: dict[str, Any]) -> None:
    found = await examine(patient_of(site["url"], None))
    assert [one.words for one in found if one.level == "fault"] == ["something answers 404, but it is not Tagway"]


async def test_a_name_without_address_ends_the_examination() -> None:
    [found] = await examine(patient_of("https://t.shop.example", None), names({}))
    assert (found.level, found.check, found.advice) == ("fault", "DNS", "add an A or AAAA record for t.shop.example")


async def test_safari_compares_address_blocks_and_aliases() -> None:
    table = {
        "t.shop.example": ("lb.vendor.test", ["203.0.113.7"]),
        "shop.example": ("shop.example", ["198.51.100.4"]),
    }
    found = await examine(patient_of("http://t.shop.example:1", "https://shop.example"), names(table))
    safari = [one.words for one in found if one.check == "Safari"]
    assert ["CNAME to lb.vendor.test" in safari[0], "other address blocks" in safari[1]] == [True, True]


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [("203.0.113.7", "203.0.7.9", True), ("203.0.113.7", "203.1.113.7", False), ("2001:db8::1", "2001:db8::9:9", True),
     ("2001:db8::1", "2001:db8:0:1::1", False)],
)  # fmt: skip
def test_blocks_are_those_that_safari_compares(a: str, b: str, same: bool) -> None:
    assert (_block(a) == _block(b)) is same


@pytest.mark.parametrize(
    ("policy", "directive", "allowed"),
    [
        ("", "connect-src", True),
        ("script-src 'self'", "connect-src", True),
        ("default-src 'self'", "connect-src", False),
        ("default-src 'none'; connect-src https://t.shop.example", "connect-src", True),
        ("connect-src *.shop.example", "connect-src", True),
        ("connect-src https:", "connect-src", True),
        ("img-src https://shop.example", "img-src", False),
        ("img-src *", "img-src", True),
    ],
)
def test_a_policy_is_read_as_browsers_do(policy: str, directive: str, allowed: bool) -> None:
    assert _allows(policy, directive, "https://t.shop.example") is allowed


def test_what_is_no_url_is_said() -> None:
    with pytest.raises(GatewayError, match="not a URL such as"):
        patient_of("ftp://x", None)
