"""Clients that stop in the middle, or never read: closed on time by timers that are injected short, and nobody else waits."""

from __future__ import annotations

import asyncio

import pytest

from gateway.receive import listener
from gateway.receive.http import Door
from tests.door_kit import House, gateway, house, read_answer, request

NATIVE, SEGMENT = "/v1/events", "/v1/t"


class TestSlowClients:
    """Short timers, injected: a connection that stops is closed on time."""

    async def closes_within(self, at: House, data: bytes, seconds: float) -> bytes:
        reader, writer = await asyncio.open_connection(at.host, at.port)
        writer.write(data)
        rest = await asyncio.wait_for(reader.read(), seconds)
        writer.close()
        return rest

    @pytest.mark.parametrize("data", [b"", b"G", b"GET /p.gif HTTP/1.1\r\nHost: x\r\nX-A:"])
    async def test_a_header_that_never_ends_is_closed(self, data: bytes) -> None:
        async with house(header_seconds=0.2) as at:
            assert await self.closes_within(at, data, 1.0) == b""

    async def test_a_header_dripped_byte_by_byte_is_closed(self) -> None:
        async with house(header_seconds=0.3) as at:
            reader, writer = await asyncio.open_connection(at.host, at.port)
            ended = asyncio.create_task(reader.read())
            for code in b"GET /p.gif HTTP/1.1\r\nHost: t.shop.example\r\nX-A: aaaaaaaaaaaaaaaaaaaaaaaaaaaaa":
                if ended.done():
                    break
                writer.write(bytes([code]))
                await asyncio.sleep(0.02)
            assert ended.done()
            writer.close()

    async def test_the_second_header_on_a_connection_has_the_same_timer(self) -> None:
        async with house(header_seconds=0.2, idle_seconds=30) as at:
            data = request("GET", "/p.gif?e=a") + b"GET /p.gif HT"
            reader, writer = await asyncio.open_connection(at.host, at.port)
            writer.write(data[:-13])
            await read_answer(reader)
            writer.write(data[-13:])
            assert await asyncio.wait_for(reader.read(), 1) == b""
            writer.close()

    @pytest.mark.parametrize(("trusted", "bounds"), [([], {"idle_seconds": 0.2}), (["private"], {"proxy_idle_seconds": 0.2})])
    async def test_an_idle_connection_is_closed(
        self, trusted: list[str], bounds: dict[str, float], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(Door, "is_visitor", lambda _door, _peer: not trusted)
        async with house(gateway(trusted_proxies=trusted), header_seconds=30, **bounds) as at:
            rest = await self.closes_within(at, request("GET", "/p.gif?e=a"), 2.0)
            assert rest.count(b"HTTP/1.1 200") == 1

    async def test_a_proxys_connection_outlives_the_proxys_own_patience(self) -> None:
        async with house(header_seconds=30, idle_seconds=0.1) as at:
            reader, writer = await asyncio.open_connection(at.host, at.port)
            writer.write(request("GET", "/p.gif?e=a"))
            assert (await read_answer(reader)).status == 200
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(reader.read(1), 0.4)
            writer.write(request("GET", "/p.gif?e=b"))
            assert (await read_answer(reader)).status == 200
            writer.close()

    @pytest.mark.parametrize("target", [NATIVE, SEGMENT])
    async def test_a_body_that_stops_is_answered_408_and_closed(self, target: str) -> None:
        async with house(body_seconds=0.2) as at:
            head = f"POST {target} HTTP/1.1\r\nHost: t.shop.example\r\nContent-Length: 100\r\n\r\nhalf".encode()
            answer = await at.send(head, timeout=1)
            assert (answer.status, answer.headers["connection"]) == (408, "close")
            assert (await self.closes_within(at, head, 1.0)).startswith(b"HTTP/1.1 408 ")
            assert at.counts.refusals[0][1] == "malformed"

    async def test_a_client_that_goes_away_mid_body_breaks_nothing(self, caplog: pytest.LogCaptureFixture) -> None:
        async with house() as at:
            _, writer = await asyncio.open_connection(at.host, at.port)
            writer.write(b"POST /v1/events HTTP/1.1\r\nHost: t.shop.example\r\nContent-Length: 100\r\n\r\nhalf")
            await writer.drain()
            writer.close()
            await writer.wait_closed()
            for _ in range(100):
                if at.counts.requests:
                    break
                await asyncio.sleep(0.01)
            assert at.counts.requests == [(NATIVE, 400)]
            assert (await at.ask("GET", "/healthz")).status == 200
        assert caplog.records == []

    async def test_a_continue_is_given_only_to_what_is_acceptable(self) -> None:
        async with house() as at:
            reader, writer = await asyncio.open_connection(at.host, at.port)
            head = b"POST /v1/events HTTP/1.1\r\nHost: t.shop.example\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n"
            writer.write(head % 12)
            assert (await asyncio.wait_for(read_answer(reader), 1)).status == 100
            writer.write(b'{"name":"a"}')
            assert (await asyncio.wait_for(read_answer(reader), 1)).status == 200
            writer.write(head % 10_000_000)
            assert (await asyncio.wait_for(read_answer(reader), 1)).status == 413
            writer.close()

    async def test_two_hundred_half_open_connections_leave_others_served(self) -> None:
        async with house(header_seconds=0.4) as at:
            pairs = [await asyncio.open_connection(at.host, at.port) for _ in range(200)]
            for _, writer in pairs:
                writer.write(b"POST /v1/events HTTP/1.1\r\nHost: t.sh")
            assert (await at.ask("POST", NATIVE, '{"name":"a"}')).status == 200
            rests = await asyncio.wait_for(asyncio.gather(*(reader.read() for reader, _ in pairs)), 2)
            assert rests == [b""] * 200
            for _, writer in pairs:
                writer.close()

    async def test_connections_over_the_cap_are_told_to_come_again(self) -> None:
        async with house(connections=3) as at:
            pairs = [await asyncio.open_connection(at.host, at.port) for _ in range(3)]
            await asyncio.sleep(0.05)
            answer = await at.send(b"")
            assert (answer.status, answer.headers["connection"]) == (503, "close")
            assert at.counts.requests == [("other", 503)]
            for _, writer in pairs:
                writer.close()
            await asyncio.sleep(0.05)
            assert (await at.ask("GET", "/healthz")).status == 200

    async def test_connections_that_run_out_of_time_together_are_closed_a_few_at_a_time(self) -> None:
        async with house(header_seconds=0.5) as at:
            pairs = [await asyncio.open_connection(at.host, at.port) for _ in range(300)]
            assert at.listener.connected == 300
            readers = asyncio.gather(*(reader.read() for reader, _ in pairs))
            left, most = 300, 0
            while left:
                await asyncio.sleep(0)
                now = at.listener.connected
                left, most = now, max(most, left - now)
            assert 0 < most <= listener.CLOSED_AT_ONCE
            assert await asyncio.wait_for(readers, 2) == [b""] * 300
            for _, writer in pairs:
                writer.close()

    async def test_a_request_that_was_finished_while_others_were_closed_is_answered(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(listener, "CLOSED_AT_ONCE", 1)
        monkeypatch.setattr(listener, "BETWEEN_CLOSES", 0.3)
        async with house(header_seconds=0.3) as at:
            whole = request("GET", "/p.gif?e=a")
            pairs = [await asyncio.open_connection(at.host, at.port) for _ in range(2)]
            for _, writer in pairs:
                writer.write(whole[:20])
            ends = {asyncio.create_task(reader.read(1)): n for n, (reader, _) in enumerate(pairs)}
            done, _ = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            assert [task.result() for task in done] == [b""]
            [(other, number)] = [(task, n) for task, n in ends.items() if task not in done]
            pairs[number][1].write(whole[20:])
            assert await asyncio.wait_for(other, 2) == b"H"
            for _, writer in pairs:
                writer.close()
