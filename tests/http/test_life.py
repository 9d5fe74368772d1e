"""Start, drain and end of the process."""

import signal
import subprocess
import time

import pytest
from conftest import Gateway, eventually
from wire import Wire, get, post

SLOW = {"model": "slow", "messages": [{"role": "user", "content": "hi"}], "stream": True}


def refused(address):
    try:
        with Wire(address) as wire:
            return wire.send(get(b"/")).reply(1) is None
    except ConnectionError:
        return True


def test_a_taken_port_is_one_clear_error(gateway, tmp_path):
    for workers in (1, 2):
        other = Gateway(tmp_path, workers=workers,
                        listen=[{"address": "127.0.0.1", "port": gateway.address[1]}])
        done = subprocess.run([other.binary, "serve", "--config", other.conf], timeout=10,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
        text = done.stderr.decode()
        errors = [row for row in text.splitlines() if row.startswith("fluxgate:")]
        assert done.returncode != 0 and len(errors) == 1, text
        assert f"127.0.0.1:{gateway.address[1]} is taken" in errors[0]
        assert "Ollama" in errors[0] and "FLUXGATE_PORT" in errors[0]
    assert gateway.ask(get(b"/")).status == 200


def test_drain_lets_streams_finish(start):
    with start() as one:
        one.need_fake()
        idle, busy = one.wire(), one.wire()
        busy.send(post(b"/v1/chat/completions", SLOW))
        assert busy.until(lambda b: b"data:" in b, 3)
        one.process.send_signal(signal.SIGTERM)
        assert idle.ends(1), "an idle connection stays open"
        assert eventually(lambda: refused(one.address), 1)
        reply = busy.reply()
        assert reply.body.endswith(b"data: [DONE]\n\n")
        assert busy.ends(1)
        idle.close()
        busy.close()
        assert one.process.wait(5) == 0


def test_drain_ends_what_takes_too_long(start):
    with start(drain_ms=300) as one:
        one.need_fake()
        wire = one.wire()
        wire.send(post(b"/v1/chat/completions", SLOW | {"model": "late"}))
        assert eventually(lambda: one.health()["requests"] == 2)
        began = time.monotonic()
        one.process.terminate()
        reply = wire.reply()
        assert reply.status == 503 and reply.json()["error"]["message"]
        assert one.process.wait(5) == 0
        assert time.monotonic() - began < 3
        wire.close()


def test_an_idle_gateway_ends_at_once(start):
    with start() as one:
        one.ask(get(b"/"))
        began = time.monotonic()
        one.process.terminate()
        assert one.process.wait(5) == 0
        assert time.monotonic() - began < 1


@pytest.mark.parametrize("workers", [1, 3])
def test_both_workers_listen(start, workers):
    with start(workers=workers) as one:
        assert all(one.ask(get(b"/")).status == 200 for _ in range(30))
