"""Undoing Content-Encoding: gzip, deflate (zlib-wrapped or raw), br and zstd, each bounded in output and in effort.

A body is whole or it is refused: a stream must reach its end mark and nothing may follow it, so that a cut upload is
never taken for a short one. The output never grows beyond the limit by more than one step, whatever the input promises.
Raises TooLarge (413), UnsupportedEncoding (415: unknown or stacked codings) and Malformed (400: broken or cut).
"""

from __future__ import annotations

import zlib
from collections.abc import Callable

import brotli  # type: ignore[import-untyped]
import zstandard

from gateway.errors import Malformed, TooLarge, UnsupportedEncoding

MAX_MEMBERS = 32
"""Concatenated gzip members or zstd frames; honest clients send one."""
ZSTD_WINDOW = 8 * 2**20
"""The largest window that RFC 8878 lets an HTTP sender use."""
_ZSTD_STEP = 64
"""Compressed bytes fed at once: a block of 4 bytes may stand for 128 KiB, so a step yields 2 MiB at the most."""


def coding_of(value: str) -> str:
    """The one coding that a Content-Encoding names, lower case; empty for none. Raises UnsupportedEncoding."""
    name = value.strip().lower()
    if name in ("", "identity"):
        return ""
    if name not in _DECODERS:
        raise UnsupportedEncoding("Content-Encoding must be one of gzip, deflate, br and zstd, and only one of them")
    return name


def decode(body: bytes, coding: str, limit: int) -> bytes:
    """The decoded body of at most `limit` bytes; `coding` is one that `coding_of` gave."""
    return _DECODERS[coding](body, limit) if coding else body


def _gzip(body: bytes, limit: int) -> bytes:
    whole, rest = bytearray(), body
    for _ in range(MAX_MEMBERS):
        member = zlib.decompressobj(31)
        whole += _inflate(member, rest, limit - len(whole))
        rest = member.unused_data
        if not rest:
            return bytes(whole)
    raise _broken()


def _deflate(body: bytes, limit: int) -> bytes:
    # The name says zlib, some senders mean raw deflate: two bytes tell nearly always, the other reading is tried after.
    wrapped = len(body) > 1 and body[0] & 0x0F == 8 and (body[0] << 8 | body[1]) % 31 == 0
    for bits in (15, -15) if wrapped else (-15,):
        stream = zlib.decompressobj(bits)
        try:
            whole = _inflate(stream, body, limit)
        except Malformed:
            continue
        if not stream.unused_data:
            return whole
    raise _broken()


def _inflate(stream: zlib._Decompress, data: bytes, limit: int) -> bytes:
    try:
        whole = stream.decompress(data, limit + 1)
    except zlib.error:
        raise _broken() from None
    if len(whole) > limit:
        raise _too_large()
    if not stream.eof:
        raise _broken()
    return whole


def _brotli(body: bytes, limit: int) -> bytes:
    stream = brotli.Decompressor()
    whole, data = bytearray(), body
    while len(whole) <= limit:
        try:
            step = stream.process(data, output_buffer_limit=limit + 1 - len(whole))
        except brotli.error:
            raise _broken() from None
        whole += step
        data = b""
        if stream.is_finished():
            break
        if not step and stream.can_accept_more_data():
            raise _broken()
    if len(whole) > limit:
        raise _too_large()
    return bytes(whole)


def _zstd(body: bytes, limit: int) -> bytes:
    whole, rest = bytearray(), body
    for _ in range(MAX_MEMBERS):
        stream = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW).decompressobj()
        at = 0
        while not stream.eof:
            if at >= len(rest):
                raise _broken()
            try:
                whole += stream.decompress(rest[at : at + _ZSTD_STEP])
            except zstandard.ZstdError:
                raise _broken() from None
            at += _ZSTD_STEP
            if len(whole) > limit:
                raise _too_large()
        rest = stream.unused_data + rest[at:]
        if not rest:
            return bytes(whole)
    raise _broken()


def _broken() -> Malformed:
    return Malformed("the body is not what its Content-Encoding says, or it is cut short")


def _too_large() -> TooLarge:
    return TooLarge("the decoded body is over the limit")


_DECODERS: dict[str, Callable[[bytes, int], bytes]] = {
    "gzip": _gzip,
    "x-gzip": _gzip,
    "deflate": _deflate,
    "br": _brotli,
    "zstd": _zstd,
}
