"""Limits and timeouts with short ones; clients that leave, or do not read."""

import socket
import struct
import time

from conftest import eventually
from wire import HOST, get, post

CHAT = {"model": "plain", "messages": [{"role": "user", "content": "hi"}]}


def between(low, began, high):
    assert low <= time.monotonic() - began <= high


def test_idle_connections_close(strict):
    with strict.wire() as wire:
        began = time.monotonic()
        assert wire.ends()
        between(0.4, began, 1.5)
    with strict.wire() as wire:
        wire.send(get(b"/"))
        assert wire.reply().status == 200
        began = time.monotonic()
        assert wire.ends()
        between(0.4, began, 1.5)


def test_a_head_byte_by_byte_has_one_deadline(strict):
    began = time.monotonic()
    with strict.wire() as wire:
        for c in b"GET /v1/models HTTP/1.1\r\nHost: lo":
            wire.send(bytes([c]))
            if wire.more(0.03) or wire.how:
                break
        reply = wire.reply()
        assert reply is None or reply.status == 408
    between(0.2, began, 2)


def test_a_body_that_stops(strict):
    began = time.monotonic()
    with strict.wire() as wire:
        wire.send(b"POST /v1/chat/completions HTTP/1.1\r\n" + HOST + b"Content-Length: 50\r\n\r\n{")
        reply = wire.reply()
        assert reply.status == 408 and reply.json()["error"]["message"]
    between(0.2, began, 1.5)


def test_a_body_that_drips(strict):
    began = time.monotonic()
    with strict.wire() as wire:
        wire.send(b"POST /api/chat HTTP/1.1\r\n" + HOST + b"Content-Length: 5000\r\n\r\n")
        while not wire.more(0.05) and not wire.how and time.monotonic() - began < 5:
            wire.send(b" ")
        assert wire.reply().status == 408
    between(0.1, began, 2)


def test_a_413_is_read_while_the_client_still_sends(strict):
    for large in (
        b"Content-Length: 3000000\r\n\r\n" + b"x" * 3000000,
        b"Transfer-Encoding: chunked\r\n\r\n" + (b"8000\r\n" + b"x" * 0x8000 + b"\r\n") * 90,
    ):
        with strict.wire() as wire:
            wire.send(b"POST /api/chat HTTP/1.1\r\n" + HOST + large)
            reply = wire.reply()
            assert reply is not None and reply.status == 413, "the answer was lost in a reset"
            wire.half_close()
            assert wire.ends()


def test_one_address_has_a_limit(start):
    with start(limits={"connections_per_address": 20}) as one:
        wires = []
        while len(wires) < 20:  # a connection closed just before may still be counted
            wire = one.wire()
            if wire.send(get(b"/")).reply().status == 200:
                wires.append(wire)
        reply = one.ask(get(b"/"))
        assert reply.status == 503 and int(reply.headers["retry-after"]) > 0
        assert reply.json()["error"] and reply.headers["x-request-id"]
        for wire in wires:
            wire.close()
        assert eventually(lambda: one.ask(get(b"/")).status == 200)
        assert one.metric("fluxgate_http_address_limit_total") >= 1


def test_a_client_that_does_not_read_is_cut(strict):
    strict.need_fake()
    before = strict.metric("fluxgate_http_write_timeout_total")
    with strict.wire(receive=4096) as wire:
        wire.send(post(b"/v1/chat/completions", CHAT | {"model": "endless", "stream": True}))
        assert eventually(lambda: strict.metric("fluxgate_http_write_timeout_total") > before, 8)
        assert eventually(lambda: strict.health()["requests"] == 1)


def running(gateway):
    """Exchanges besides the one that asks."""
    return gateway.health()["requests"] - 1


def leave(wire, hard):
    if hard:
        wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wire.close()


def test_clients_that_leave_are_noticed(gateway):
    gateway.need_fake()
    late = CHAT | {"model": "late"}
    for behind in (b"", get(b"/") * 3):
        for hard in (False, True):
            for stream in (False, True):
                wire = gateway.wire()
                wire.send(post(b"/v1/chat/completions", late | {"stream": stream}) + behind)
                assert eventually(lambda: running(gateway) == 1)
                began = time.monotonic()
                leave(wire, hard)
                assert eventually(lambda: running(gateway) == 0, 0.5)
                assert time.monotonic() - began < 0.1


def test_a_client_that_leaves_within_a_stream_is_noticed(gateway):
    gateway.need_fake()
    wire = gateway.wire()
    wire.send(post(b"/v1/chat/completions", CHAT | {"model": "slow", "stream": True}))
    assert wire.until(lambda b: b"data:" in b, 3)
    wire.close()
    assert eventually(lambda: running(gateway) == 0, 0.5)


def test_half_close_is_answered(gateway):
    gateway.need_fake()
    with gateway.wire() as wire:
        wire.send(post(b"/v1/chat/completions", CHAT | {"model": "slow"}))
        wire.half_close()
        reply = wire.reply()
        if reply.status == 100:  # the question whether we are still there
            reply = wire.reply()
        assert reply.status == 200 and reply.json()["choices"]
    with gateway.wire() as wire:
        wire.send(post(b"/v1/chat/completions", CHAT | {"model": "slow", "stream": True}))
        assert wire.until(lambda b: b"data:" in b, 3)
        wire.half_close()
        reply = wire.reply()
        assert reply.body.endswith(b"data: [DONE]\n\n")


def test_pipelined_streams_come_in_order(gateway):
    gateway.need_fake()
    with gateway.wire() as wire:
        wire.send(
            post(b"/v1/chat/completions", CHAT | {"stream": True}) + get(b"/api/version")
            + post(b"/api/chat", CHAT) + get(b"/")
        )
        first, second, third, fourth = (wire.reply() for _ in range(4))
        assert first.headers["content-type"].startswith("text/event-stream")
        assert first.body.endswith(b"data: [DONE]\n\n")
        assert second.json()["version"]
        assert third.headers["content-type"] == "application/x-ndjson"
        assert fourth.body == b"Ollama is running"


def test_a_stream_for_http_1_0_ends_with_the_connection(gateway):
    gateway.need_fake()
    with gateway.wire() as wire:
        data = post(b"/v1/chat/completions", CHAT | {"stream": True})
        reply = wire.send(data.replace(b"HTTP/1.1", b"HTTP/1.0")).reply()
        assert "transfer-encoding" not in reply.headers
        assert reply.body.endswith(b"data: [DONE]\n\n")
        assert wire.how == "end"


def test_five_hundred_connections_come_and_go(gateway):
    wires = [gateway.wire() for _ in range(500)]
    for wire in wires:
        wire.send(get(b"/api/version"))
    assert all(wire.reply().status == 200 for wire in wires)
    for wire in wires:
        wire.close()
    assert eventually(lambda: gateway.health()["connections"] <= 1)
