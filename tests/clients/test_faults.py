"""What happens to requests when clients leave and when the engine's child dies.

How fast is printed by script/bench cpu; here the bounds are wide, so that a busy machine fails
nobody.
"""
import concurrent.futures
import http.client
import json
import os
import re
import signal
import socket
import time
import urllib.parse

import pytest

PATIENCE_S = 20


def ask(base, method, path, body=None):
    connection = http.client.HTTPConnection(urllib.parse.urlsplit(base).netloc, timeout=120)
    connection.request(method, path, json.dumps(body) if body is not None else None)
    reply = connection.getresponse()
    data = reply.read()
    connection.close()
    return reply.status, data


def jobs_now(base):
    text = ask(base, "GET", "/metrics")[1].decode()
    return float(re.search(r"^fluxgate_jobs_now(?:\{[^}]*\})? (\S+)$", text, re.M).group(1))


def wait_for(condition, what):
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        if condition():
            return
        time.sleep(0.005)
    pytest.fail(f"not within {PATIENCE_S} s: {what}")


def open_chat(base, model, content, tokens=2000):
    """A streamed chat on a raw socket, so that leaving is one close()."""
    body = json.dumps({"model": model, "stream": True, "max_tokens": tokens, "ignore_eos": True,
                       "cache_prompt": False,
                       "messages": [{"role": "user", "content": content}]}).encode()
    place = urllib.parse.urlsplit(base)
    s = socket.create_connection((place.hostname, place.port), timeout=60)
    s.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s"
              % (len(body), body))
    return s


def read_until(s, mark):
    data = b""
    while mark not in data:
        piece = s.recv(65536)
        assert piece, data[-500:]
        data += piece
    return data


@pytest.fixture
def quiet(base, model):
    """Nothing runs before and after."""
    assert ask(base, "POST", "/api/generate", {"model": model})[0] == 200
    wait_for(lambda: jobs_now(base) == 0, "an idle gateway")
    yield
    wait_for(lambda: jobs_now(base) == 0, "no job is left behind")


def test_leaving_while_it_decodes_frees_the_slot(base, model, quiet):
    s = open_chat(base, model, "Tell a long story.")
    read_until(s, b'"content":"')
    assert jobs_now(base) == 1
    s.close()
    wait_for(lambda: jobs_now(base) == 0, "the slot of a stream whose client left")


def test_leaving_during_prefill_frees_the_slot(base, model, quiet):
    s = open_chat(base, model, "word " * 3500)
    wait_for(lambda: jobs_now(base) == 1, "the job to begin")
    time.sleep(0.05)
    s.close()
    wait_for(lambda: jobs_now(base) == 0, "the slot of a prompt whose client left")


def test_leaving_the_queue_leaves_the_others_alone(base, model, quiet):
    slots = next(m for m in json.loads(ask(base, "GET", "/api/ps")[1])["models"])
    running = [open_chat(base, model, f"Story {i}") for i in range(8)]
    for s in running:
        read_until(s, b'"content":"')
    waiting = [open_chat(base, model, f"Waiting {i}") for i in range(4)]
    wait_for(lambda: jobs_now(base) == 12, f"12 jobs ({slots})")
    for s in waiting:
        s.close()
    wait_for(lambda: jobs_now(base) == 8, "the waiting ones to be gone")
    for s in running:
        read_until(s, b'"content":"')
        s.close()


def child_of(base):
    health = json.loads(ask(base, "GET", "/api/fluxgate/health")[1])
    return next(b for b in health["backends"] if b.get("pid"))["pid"]


def test_the_engines_death_costs_its_streams_only(base, model, quiet):
    streams = [open_chat(base, model, f"Story {i}") for i in range(8)]
    for s in streams:
        read_until(s, b'"content":"')
    pid = child_of(base)
    gateway = int(re.search(r"^PPid:\s+(\d+)", open(f"/proc/{pid}/status").read(), re.M).group(1))
    os.kill(pid, signal.SIGKILL)
    died = time.monotonic()
    for s in streams:
        data = b""
        while piece := s.recv(65536):
            data += piece
        last = data.decode().rstrip().split("data: ")[-1].split("\r\n")[0]
        assert json.loads(last)["error"]["type"] == "server_error", data[-300:]
        assert b"[DONE]" not in data and not data.endswith(b"0\r\n\r\n")
    status, data = ask(base, "POST", "/api/generate",
                       {"model": model, "prompt": "Hi", "stream": False, "options": {"num_predict": 2}})
    assert status == 200 and json.loads(data)["done"]
    print(f"served again after {time.monotonic() - died:.2f} s")
    assert time.monotonic() - died < PATIENCE_S
    fresh = child_of(base)
    assert fresh != pid
    assert int(re.search(r"^PPid:\s+(\d+)", open(f"/proc/{fresh}/status").read(), re.M).group(1)) == gateway


def test_a_death_before_the_first_token_is_not_seen(base, model, quiet):
    with concurrent.futures.ThreadPoolExecutor() as pool:
        answer = pool.submit(ask, base, "POST", "/api/generate",
                             {"model": model, "prompt": "word " * 3000, "stream": False,
                              "options": {"num_predict": 2}})
        wait_for(lambda: jobs_now(base) == 1, "the job to begin")
        time.sleep(0.1)
        os.kill(child_of(base), signal.SIGKILL)
        status, data = answer.result(PATIENCE_S * 3)
    assert status == 200 and json.loads(data)["done"], data
