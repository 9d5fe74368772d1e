"""Bad bytes: refused with the right status, the connection closed, nothing behind them served."""

import time

import pytest
from wire import HOST, get, post

NEXT = get(b"/api/version")  # must never be answered behind a framing error
CHAT = b"POST /api/chat HTTP/1.1\r\n" + HOST
TE = b"Transfer-Encoding: chunked\r\n"


def cl(value):
    return CHAT + b"Content-Length:" + value + b"\r\n\r\n"


def te(value):
    return CHAT + b"Transfer-Encoding:" + value + b"\r\n\r\n0\r\n\r\n"


def chunks(data):
    return CHAT + TE + b"\r\n" + data


def line(text, host=HOST):
    return text + b"\r\n" + host + b"\r\n"


def head(field):
    return b"GET / HTTP/1.1\r\n" + HOST + field + b"\r\n\r\n"


BAD = {
    "both lengths": (CHAT + b"Content-Length: 0\r\n" + TE + b"\r\n0\r\n\r\n", {400}),
    "both lengths, other order": (CHAT + TE + b"Content-Length: 5\r\n\r\n0\r\n\r\n", {400}),
    "two lengths": (CHAT + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\na", {400}),
    "length list": (cl(b" 1, 2"), {400}),
    "length sign": (cl(b" +1"), {400}),
    "length minus": (cl(b" -1"), {400}),
    "length hex": (cl(b" 0x10"), {400}),
    "length spaces": (cl(b" 1 1"), {400}),
    "length empty": (cl(b""), {400}),
    "length letters": (cl(b" abc"), {400}),
    "length arabic digits": (cl(" ٣".encode()), {400}),
    "length 2^63": (cl(b" 9223372036854775808"), {400, 413}),
    "length 2^64": (cl(b" 18446744073709551616"), {400, 413}),
    "length 40 digits": (cl(b" " + b"9" * 40), {400, 413}),
    "encoding unknown": (te(b" gzip"), {400, 501}),
    "encoding identity": (te(b" identity"), {400, 501}),
    "encoding list": (te(b" gzip, chunked"), {400, 501}),
    "encoding quoted": (te(b' "chunked"'), {400, 501}),
    "encoding parameter": (te(b" chunked;q=1"), {400, 501}),
    "encoding twice in one": (te(b" chunked, chunked"), {400, 501}),
    "encoding twice": (CHAT + TE + TE + b"\r\n0\r\n\r\n", {400, 501}),
    "encoding empty": (te(b""), {400, 501}),
    "encoding vertical tab": (te(b" \x0bchunked"), {400, 501}),
    "encoding on 1.0": (b"POST /api/chat HTTP/1.0\r\n" + TE + b"\r\n0\r\n\r\n", {400, 501}),
    "chunk 0x": (chunks(b"0x1\r\na\r\n0\r\n\r\n"), {400}),
    "chunk sign": (chunks(b"+1\r\na\r\n0\r\n\r\n"), {400}),
    "chunk leading space": (chunks(b" 1\r\na\r\n0\r\n\r\n"), {400}),
    "chunk trailing space": (chunks(b"1 \r\na\r\n0\r\n\r\n"), {400}),
    "chunk empty size": (chunks(b"\r\na\r\n0\r\n\r\n"), {400}),
    "chunk 16 digits": (chunks(b"0000000000000001\r\na\r\n0\r\n\r\n"), {400}),
    "chunk huge": (chunks(b"ffffffffffffffff\r\na\r\n0\r\n\r\n"), {400, 413}),
    "chunk too large": (chunks(b"7fffffff\r\n"), {413}),
    "chunk without CRLF": (chunks(b"1\r\nab\r\n0\r\n\r\n"), {400}),
    "chunk bare LF": (chunks(b"1\na\n0\n\n"), {400}),
    "chunk LF in extension": (chunks(b"1;a\nb\r\na\r\n0\r\n\r\n"), {400}),
    "chunk CR in extension": (chunks(b"1;a\rb\r\na\r\n0\r\n\r\n"), {400}),
    "chunk long extension": (chunks(b"1;" + b"x" * 300 + b"\r\na\r\n0\r\n\r\n"), {400, 413, 431}),
    "chunk extensions in all": (
        chunks((b"1;" + b"x" * 200 + b"\r\na\r\n") * 100 + b"0\r\n\r\n"),
        {400, 413, 431},
    ),
    "trailers long": (chunks(b"0\r\nX: " + b"y" * 9000 + b"\r\n\r\n"), {400, 413, 431}),
    "trailer bad": (chunks(b"0\r\nnonsense\r\n\r\n"), {400}),
    "bare LF": (b"GET / HTTP/1.1\n" + HOST + b"\r\n", {400}),
    "bare LF in field": (head(b"A: b\nC: d"), {400}),
    "bare CR": (head(b"A: b\rC: d"), {400}),
    "folded": (head(b"A: b\r\n c"), {400}),
    "NUL in value": (head(b"A: b\0c"), {400}),
    "NUL in name": (head(b"A\0B: c"), {400}),
    "NUL in target": (line(b"GET /\0 HTTP/1.1"), {400}),
    "no colon": (head(b"nonsense"), {400}),
    "empty name": (head(b": x"), {400}),
    "space after name": (head(b"A : b"), {400}),
    "space in name": (head(b"A B: c"), {400}),
    "no token": (head(b"A(x): c"), {400}),
    "no Host": (line(b"GET / HTTP/1.1", b""), {400}),
    "two Hosts": (line(b"GET / HTTP/1.1", HOST + HOST), {400}),
    "Host with space": (line(b"GET / HTTP/1.1", b"Host: a b\r\n"), {400}),
    "Host with user": (line(b"GET / HTTP/1.1", b"Host: a@localhost\r\n"), {400}),
    "Host with path": (line(b"GET / HTTP/1.1", b"Host: localhost/a\r\n"), {400}),
    "Host too long": (line(b"GET / HTTP/1.1", b"Host: " + b"a" * 256 + b"\r\n"), {400}),
    "method long": (line(b"A" * 5000 + b" / HTTP/1.1"), {400, 405, 501}),
    "method no token": (line(b"G(T / HTTP/1.1"), {400}),
    "HTTP/1.2": (line(b"GET / HTTP/1.2"), {400, 505}),
    "HTTP/2": (line(b"GET / HTTP/2.0"), {400, 505}),
    "HTTP/0.9": (b"GET /\r\n\r\n", {400, 505}),
    "HTTP/2 preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", {400, 505}),
    "TLS hello": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 100, {400}),
    "garbage": (bytes(range(128, 256)), {400}),
    "absolute to another host": (line(b"GET http://example.com/ HTTP/1.1"), {400, 403, 421}),
    "absolute https": (line(b"GET https://localhost/ HTTP/1.1"), {400, 403, 421}),
    "CONNECT": (line(b"CONNECT localhost:80 HTTP/1.1"), {400, 403, 404, 405, 421}),
    "dots": (line(b"GET /v1/../api/version HTTP/1.1"), {400, 404}),
    "encoded dots": (line(b"GET /v1/%2e%2e/api/version HTTP/1.1"), {400, 404}),
    "encoded NUL": (line(b"GET /api/version%00 HTTP/1.1"), {400, 404}),
    "encoded CRLF": (line(b"GET /api/version%0d%0aX:y HTTP/1.1"), {400, 404}),
    "overlong UTF-8": (line(b"GET /%c0%ae%c0%ae/ HTTP/1.1"), {400, 404}),
    "backslash": (line(b"GET /api\\version HTTP/1.1"), {400, 404}),
    "encoded backslash": (line(b"GET /api%5cversion HTTP/1.1"), {400, 404}),
    "request line long": (line(b"GET /" + b"a" * 9000 + b" HTTP/1.1"), {414}),
    "head long": (head(b"A: " + b"b" * 33000), {431}),
    "100 KB of headers": (head(b"\r\n".join(b"A%d: " % i + b"b" * 1000 for i in range(100))), {431}),
    "many headers": (head(b"\r\n".join(b"A%d: b" % i for i in range(101))), {431}),
    "body over the limit": (cl(b" 33554433"), {413}),
    "unknown Expect": (CHAT + b"Expect: a-pony\r\nContent-Length: 2\r\n\r\n{}", {417}),
}


def wants_body_shape(path, reply):
    body = reply.json()
    assert reply.headers["content-type"].startswith("application/json")
    assert len(reply.body) <= 4096
    if path.startswith(b"/v1/messages"):
        assert body["type"] == "error" and isinstance(body["error"]["message"], str)
    elif path.startswith(b"/v1"):
        assert isinstance(body["error"]["message"], str) and "type" in body["error"]
    else:
        assert isinstance(body["error"], str)


@pytest.mark.parametrize("name", BAD)
def test_refused(gateway, name):
    data, allowed = BAD[name]
    with gateway.wire() as wire:
        wire.send(data + NEXT)
        reply = wire.reply()
        assert reply is not None, "closed without an answer"
        assert reply.status in allowed, reply.body
        assert reply.headers["connection"] == "close"
        assert reply.json()["error"]
        assert reply.headers["x-request-id"].startswith("req_")
        wire.half_close()
        assert wire.ends(), "something behind it was answered, or the connection stays"
    began = time.monotonic()
    assert gateway.ask(NEXT).status == 200
    assert time.monotonic() - began < 2


@pytest.mark.parametrize("path", [b"/v1/chat/completions", b"/v1/messages", b"/api/chat", b"/"])
@pytest.mark.parametrize("fault", ["length", "chunk", "field", "large"])
def test_refusals_speak_the_dialect(gateway, path, fault):
    start = b"POST " + path + b" HTTP/1.1\r\n" + HOST
    data = {
        "length": start + b"Content-Length: x\r\n\r\n",
        "chunk": start + TE + b"\r\nx\r\n",
        "field": start + b"bad\r\n\r\n",
        "large": start + b"Content-Length: 99999999999\r\n\r\n",
    }[fault]
    reply = gateway.ask(data)
    if path == b"/" and fault == "chunk":  # the route is refused before its body
        assert reply.status == 405
        return
    if path == b"/v1/messages" and fault == "chunk":
        assert reply.status in (400, 404)
    else:
        assert reply.status == (413 if fault == "large" else 400)
    wants_body_shape(path, reply)


GOOD = {
    "plain": get(b"/api/version"),
    "HTTP/1.0": b"GET /api/version HTTP/1.0\r\n\r\n",
    "doubled slashes": get(b"//api//version"),
    "trailing slash": get(b"/api/version/"),
    "encoded": get(b"/%61pi/version"),
    "query": get(b"/api/version?x=%zz&y=//../"),
    "absolute": get(b"http://localhost/api/version"),
    "blanks around a value": b"GET /api/version HTTP/1.1\r\nHost: \t localhost \t\r\n\r\n",
    "empty line before": b"\r\n" + get(b"/api/version"),
    "body on GET": get(b"/api/version", b"Content-Length: 3\r\n")[:-2] + b"\r\nabc",
    "chunked on GET": get(b"/api/version", TE) + b"3;x=y\r\nabc\r\n0\r\nT: u\r\n\r\n",
    "latin-1 value": get(b"/api/version", b"A: caf\xe9\r\n"),
}


@pytest.mark.parametrize("name", GOOD)
def test_served(gateway, name):
    assert gateway.ask(GOOD[name]).status == 200


@pytest.mark.parametrize("step", [1, 7, 1000])
def test_any_split_is_served(gateway, step):
    data = (
        post(b"/api/show", b'{"model":"nope"}', b"Expect: 100-continue\r\n")
        + b"POST /api/show HTTP/1.1\r\n" + HOST + TE + b'\r\n8\r\n{"model"\r\n8\r\n:"nope"}\r\n0\r\n\r\n'
        + get(b"/api/version")
    )
    with gateway.wire() as wire:
        for at in range(0, len(data), step):
            wire.send(data[at : at + step])
        replies = [wire.reply() for _ in range(3)]
        if replies[0].status == 100:
            replies = replies[1:] + [wire.reply()]
        assert [r.status for r in replies] == [404, 404, 200]


def test_an_ordinary_400_keeps_the_connection(gateway):
    with gateway.wire() as wire:
        wire.send(post(b"/api/chat", b"{nonsense") + post(b"/v1/chat/completions", b"[]") + NEXT)
        assert [wire.reply().status for _ in range(3)] == [400, 400, 200]


def test_foreign_hosts_and_origins_are_refused(gateway):
    for host in (b"example.com", b"127.0.0.1.example.com", b"8.8.8.8", b"[2001:db8::1]"):
        reply = gateway.ask(b"GET / HTTP/1.1\r\nHost: " + host + b"\r\n\r\n")
        assert reply.status in (401, 403, 421), host
    for origin in (b"http://example.com", b"null", b"http://localhost.example.com"):
        reply = gateway.ask(get(b"/api/version", b"Origin: " + origin + b"\r\n"))
        assert reply.status in (401, 403)
        assert "access-control-allow-origin" not in reply.headers
    reply = gateway.ask(get(b"/api/version", b"Origin: http://localhost:3000\r\n"))
    assert reply.headers["access-control-allow-origin"] == "http://localhost:3000"


def test_methods(gateway):
    for method in (b"FOO", b"get", b"TRACE", b"PUT"):
        reply = gateway.ask(line(method + b" /api/chat HTTP/1.1"))
        assert reply.status in (405, 501)
        if reply.status == 405:
            assert reply.headers["allow"] == "POST"
    for method in (b"PATCH", b"DELETE"):
        assert gateway.ask(line(method + b" /v1/models HTTP/1.1")).status == 405
    reply = gateway.ask(line(b"OPTIONS /v1/models HTTP/1.1"))
    assert reply.status in (200, 204)
    with gateway.wire() as wire:
        reply = wire.send(line(b"OPTIONS * HTTP/1.1") + NEXT).reply()
        assert reply.status in (200, 204)
        assert wire.reply().status == 200


def test_compressed_bodies_are_refused(gateway):
    reply = gateway.ask(post(b"/api/chat", b"{}", b"Content-Encoding: gzip\r\n"))
    assert reply.status == 415


def test_head_has_no_body(gateway):
    with gateway.wire() as wire:
        for path in (b"/", b"/api/version", b"/api/tags", b"/v1/models"):
            wire.send(b"HEAD" + get(path)[3:] + get(path))
            without, whole = wire.reply(head=True), wire.reply()
            assert without.status == whole.status == 200
            assert without.headers["content-length"] == str(len(whole.body))
            assert without.headers["content-type"] == whole.headers["content-type"]


def test_http_1_0(gateway):
    with gateway.wire() as wire:
        reply = wire.send(b"GET /api/version HTTP/1.0\r\n\r\n").reply()
        assert reply.status == 200 and reply.headers["connection"] == "close"
        assert wire.ends()
    with gateway.wire() as wire:
        for _ in range(2):
            wire.send(b"GET /api/version HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            assert wire.reply().headers["connection"] == "keep-alive"


def test_continue(gateway):
    body = b'{"model":"nope"}'
    whole = post(b"/api/show", body, b"Expect: 100-continue\r\n")
    with gateway.wire() as wire:
        wire.send(whole[: -len(body)])
        assert wire.reply(1).status == 100
        assert wire.send(body).reply().status == 404
    for refused in (
        post(b"/nope", body, b"Expect: 100-continue\r\n"),
        post(b"/api/show", body, b"Expect: 100-continue\r\nOrigin: http://evil.example\r\n"),
    ):
        with gateway.wire() as wire:
            reply = wire.send(refused[: -len(body)]).reply(1)
            assert reply.status in (403, 404) and reply.headers["connection"] == "close"


def test_two_hundred_thousand_chunks(gateway):
    body = b'{"model":"' + b"x" * 200000 + b'"}'
    data = b"".join(b"1\r\n%c\r\n" % c for c in body) + b"0\r\n\r\n"
    began = time.monotonic()
    with gateway.wire() as wire:
        wire.send(b"POST /api/show HTTP/1.1\r\n" + HOST + TE + b"\r\n" + data)
        assert wire.reply(10).status in (400, 404)
    assert time.monotonic() - began < 5
