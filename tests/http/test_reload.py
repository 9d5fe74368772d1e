"""Signals of a running gateway: reload, log rotation, the end."""

import json
import signal
import time

from conftest import eventually
from wire import get


def change(gateway, **keys):
    conf = json.loads(gateway.conf.read_text())
    conf.update(keys)
    gateway.conf.write_text(json.dumps(conf))
    gateway.process.send_signal(signal.SIGHUP)


def test_a_reload_applies_what_it_can_and_names_the_rest(start):
    with start() as one:
        change(one, log_level="debug", drain_ms=1234, limits={"connections": 77})
        assert eventually(lambda: "event=reload_applied" in one.log.read_text(), 5)
        log = one.log.read_text()
        assert "event=reload_not_applied key=drain_ms reason=needs_restart" in log
        assert "event=reload_not_applied key=limits reason=needs_restart" in log
        assert "key=listen" not in log and "key=backends" not in log
        assert one.ask(get(b"/")).status == 200


def test_a_bad_configuration_keeps_the_old_one_and_says_why(start):
    with start() as one:
        change(one, workers="many")
        assert eventually(lambda: "event=reload_failed" in one.log.read_text(), 5)
        line = [r for r in one.log.read_text().splitlines() if "event=reload_failed" in r][0]
        assert "workers: a whole number from 0 to 256 is expected" in line
        assert line.endswith("kept=old")
        one.conf.unlink()
        one.process.send_signal(signal.SIGHUP)
        assert eventually(lambda: "No such file or directory" in one.log.read_text(), 5)
        assert one.ask(get(b"/")).status == 200


def test_many_reloads_lose_no_request(start):
    with start() as one:
        for i in range(30):
            change(one, queue={"max_waiting": i})
            assert one.ask(get(b"/api/version")).status == 200
        assert eventually(lambda: "event=reload_applied" in one.log.read_text(), 5)


def test_the_log_is_opened_anew_after_rotation(start, tmp_path):
    path = tmp_path / "log"
    with start(log_path=str(path)) as one:
        assert eventually(lambda: path.is_file() and path.stat().st_size > 0, 5)
        path.rename(tmp_path / "log.1")
        one.process.send_signal(signal.SIGUSR1)
        assert eventually(lambda: path.is_file() and "event=log_reopened" in path.read_text(), 5)


def test_two_signals_end_it_without_waiting_for_the_drain(start):
    with start(drain_ms=60000) as one:
        one.need_fake()
        body = b'{"model":"endless","prompt":"x"}'
        head = b"POST /api/generate HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"
        with one.wire() as wire:
            wire.send(head % len(body) + body)
            assert eventually(lambda: one.metric("fluxgate_jobs_now") == 1, 5)
            began = time.monotonic()
            one.process.terminate()
            assert eventually(lambda: "event=drain_began" in one.log.read_text(), 5)
            one.process.terminate()
            assert one.process.wait(20) == 0
            assert time.monotonic() - began < 10
