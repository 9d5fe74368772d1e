"""Shapes on the wire, with nothing but the standard library."""

import datetime
import http.client
import json
import re
import socket
import time
import urllib.parse

import pytest


def send(base, method, path, body=None, headers=None):
    """(status, headers, bytes) of one request on its own connection."""
    connection = http.client.HTTPConnection(urllib.parse.urlsplit(base).netloc, timeout=120)
    if isinstance(body, (dict, list)):
        body = json.dumps(body)
    connection.request(method, path, body, headers or {})
    reply = connection.getresponse()
    data = reply.read()
    connection.close()
    return reply.status, reply.headers, data


def chat(model, **more):
    return {"model": model, "messages": [{"role": "user", "content": "Say hello."}]} | more


def test_t03_the_root(base):
    assert send(base, "GET", "/")[2] == b"Ollama is running"
    status, _, data = send(base, "HEAD", "/")
    assert (status, data) == (200, b"")
    assert send(base, "HEAD", "/api/tags")[0] == 200


def test_t04_the_version(base):
    version = json.loads(send(base, "GET", "/api/version")[2])["version"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", version)
    assert tuple(map(int, version.split("."))) >= (0, 14, 3)


def test_t05_streams_by_dialect(base, model):
    for stream in ({}, {"stream": None}):
        status, headers, data = send(base, "POST", "/api/chat",
                                     chat(model, options={"num_predict": 3}) | stream)
        assert status == 200 and headers["Content-Type"] == "application/x-ndjson"
        lines = data.split(b"\n")
        assert lines.pop() == b"" and all(lines)
        assert [json.loads(line)["done"] for line in lines].index(True) == len(lines) - 1
    _, headers, data = send(base, "POST", "/v1/chat/completions", chat(model, max_tokens=3))
    assert headers["Content-Type"] == "application/json"
    assert json.loads(data)["object"] == "chat.completion"


def test_t06_load_is_one_object(base, model):
    for path, body in (("/api/generate", {}), ("/api/chat", {"messages": []})):
        _, headers, data = send(base, "POST", path, {"model": model} | body)
        assert headers["Content-Type"] == "application/json; charset=utf-8"
        assert json.loads(data)["done_reason"] == "load"


def test_t07_lenient_requests(base, model):
    body = json.dumps({"Model": model, "STREAM": False, "prompt": "x", "options": {"num_predict": 1}})
    for kind in (None, "application/x-www-form-urlencoded", "text/plain"):
        status, _, data = send(base, "POST", "/api/generate", body + "\n",
                               {"Content-Type": kind} if kind else {})
        assert status == 200 and json.loads(data)["done"]


def test_t14_errors_in_each_shape(base, model):
    for path in ("/v1/nope", "/v1/chat/completions"):
        _, _, data = send(base, "GET", path)
        error = json.loads(data)["error"]
        assert set(error) >= {"message", "type", "param", "code"}
    status, headers, data = send(base, "GET", "/api/nope")
    assert status == 404 and data == b"404 page not found"
    assert headers["Content-Type"].startswith("text/plain")
    status, headers, _ = send(base, "GET", "/api/chat")
    assert status == 405 and headers["Allow"] == "POST"
    status, _, data = send(base, "POST", "/v1/messages", "{}")
    assert status == 404 and json.loads(data)["type"] == "error"
    for path in ("/api/chat", "/v1/chat/completions"):
        assert send(base, "POST", path, "{")[0] == 400


@pytest.mark.parametrize("body", ['{"a":1,"a":2}', '{"a":"\\ud800"}', '{"a":1e400}', "[" * 200,
                                  '{"a":"\\u0000"}', b'{"a":"\xff"}', "{'a':1}", '{"a":01}'])
def test_t33_bad_json_is_400(base, body):
    for path in ("/api/chat", "/v1/chat/completions"):
        assert send(base, "POST", path, body)[0] == 400


def test_t20_permanent_failures_are_not_5xx(base, model):
    for body in (chat("nope"), chat(model, tools=[{}]), chat(model, n="x"), {"model": model}):
        assert 400 <= send(base, "POST", "/v1/chat/completions", body)[0] < 500


def wait_idle(base, model, limit_s):
    """Seconds until a new request of one token is answered."""
    start = time.monotonic()
    status, _, _ = send(base, "POST", "/api/generate",
                        {"model": model, "prompt": "x", "stream": False, "options": {"num_predict": 1}})
    took = time.monotonic() - start
    assert status == 200 and took < limit_s
    return took


def test_t21_closing_frees_the_slot(base, model):
    host = urllib.parse.urlsplit(base)
    wait_idle(base, model, 60)
    body = json.dumps(chat(model, options={"num_predict": 2000}, ignore_eos=True)).encode()
    sockets = []
    for _ in range(16):
        s = socket.create_connection((host.hostname, host.port), timeout=30)
        s.sendall(b"POST /api/chat HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s"
                  % (len(body), body))
        sockets.append(s)
    assert sockets[0].recv(1)
    for s in sockets:
        s.close()
    wait_idle(base, model, 10)


def test_t23_sse_headers_and_blank_lines(base, model):
    _, headers, data = send(base, "POST", "/v1/chat/completions", chat(model, stream=True, max_tokens=4))
    assert headers["Content-Type"] == "text/event-stream"
    assert headers["X-Accel-Buffering"] == "no" and headers["Cache-Control"] == "no-cache"
    events = data.decode().split("\n\n")
    assert events.pop() == "" and events[-1] == "data: [DONE]"
    assert all(e.startswith(("data: ", ": ")) and "\n" not in e for e in events)


def test_t24_origins(base):
    ask = {"Access-Control-Request-Method": "POST",
           "Access-Control-Request-Headers": "authorization,content-type,x-api-key,anthropic-version"}
    for origin, allowed in (("http://localhost:3000", True), ("http://evil.example", False)):
        status, headers, data = send(base, "GET", "/api/tags", headers={"Origin": origin})
        assert status == (200 if allowed else 403)
        assert allowed or data == b""
        assert (headers["Access-Control-Allow-Origin"] is not None) == allowed
        status, headers, _ = send(base, "OPTIONS", "/v1/chat/completions", headers=ask | {"Origin": origin})
        assert status == (204 if allowed else 403)
        if allowed:
            assert "x-api-key" in headers["Access-Control-Allow-Headers"]
    assert send(base, "GET", "/api/tags", headers={"Host": "evil.example"})[0] == 403


def test_t29_times_parse(base, model):
    send(base, "POST", "/api/generate", {"model": model, "keep_alive": -1})
    running = json.loads(send(base, "GET", "/api/ps")[2])["models"]
    reply = json.loads(send(base, "POST", "/api/generate",
                            {"model": model, "prompt": "x", "stream": False,
                             "options": {"num_predict": 1}})[2])
    for text in [reply["created_at"]] + [m["expires_at"] for m in running]:
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z", text)
        datetime.datetime.fromisoformat(re.sub(r"(\.\d{6})\d*", r"\1", text).replace("Z", "+00:00"))


def test_t34_http_1_0_gets_a_whole_stream(base, model):
    host = urllib.parse.urlsplit(base)
    body = json.dumps(chat(model, options={"num_predict": 3})).encode()
    with socket.create_connection((host.hostname, host.port), timeout=60) as s:
        s.sendall(b"POST /api/chat HTTP/1.0\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        data = b""
        while piece := s.recv(65536):
            data += piece
    head, _, lines = data.partition(b"\r\n\r\n")
    assert b"chunked" not in head.lower()
    assert json.loads(lines.strip().split(b"\n")[-1])["done"]


def test_t35_wrong_option_types_are_400(base, model):
    status, _, data = send(base, "POST", "/api/chat", chat(model, options={"temperature": "1"}))
    assert status == 400
    assert json.loads(data)["error"] == 'option "temperature" must be of type float32'


def test_served_headers_name_who_answered(base, model):
    _, headers, _ = send(base, "POST", "/v1/chat/completions", chat(model, max_tokens=1))
    for name in ("x-request-id", "x-fluxgate-backend", "x-fluxgate-model-digest",
                 "x-fluxgate-queue-ms", "openai-processing-ms"):
        assert headers[name], name


def test_tokenize_round_trip(base, model):
    text = "Hello, world! \u00e9\U0001f600"
    tokens = json.loads(send(base, "POST", "/tokenize", {"model": model, "content": text})[2])["tokens"]
    assert tokens and all(isinstance(t, int) for t in tokens)
    back = json.loads(send(base, "POST", "/detokenize", {"model": model, "tokens": tokens})[2])
    assert back["content"] == text
    pieces = json.loads(send(base, "POST", "/tokenize",
                             {"model": model, "content": text, "with_pieces": True})[2])["tokens"]
    assert [p["id"] for p in pieces] == tokens
    shown = json.loads(send(base, "POST", "/apply-template", chat(model))[2])["prompt"]
    assert "Say hello." in shown


def test_health_ready_metrics(base, model):
    assert json.loads(send(base, "GET", "/health")[2])["status"] in ("ok", "degraded")
    assert send(base, "GET", "/ready")[0] == 200
    status, headers, data = send(base, "GET", "/metrics")
    assert status == 200 and headers["Content-Type"].startswith("text/plain") and b"fluxgate_" in data
