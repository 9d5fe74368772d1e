"""Cards that fall ill under load: a real gateway over the fake libnvidia-ml.so.1 of tests/fakes."""

import contextlib
import json
import re
import subprocess
import threading
import time

import pytest
from conftest import Gateway, build, eventually
from test_cli import cli
from wire import get, post

FAKE = {"files": True, "text": "one two three", "max_running": 8}
PACED = {"tokens": 60, "tokens_per_s": 40}


class Cards:
    """The script of the fake library; a line takes effect with the next reading."""

    def __init__(self, path):
        self.path = path
        path.write_text("cards 2\n1 name Tesla P100-PCIE-16GB\n1 cc 6 0\n")

    def play(self, *lines):
        with self.path.open("a") as file:
            file.write("".join(line + "\n" for line in lines))


@pytest.fixture
def rig(start, tmp_path, monkeypatch):
    """rig(policy=..., options=...) as a context: (gateway, cards); "a" on card 0, "b" on card 1."""

    @contextlib.contextmanager
    def run(options=None, isolate=True, third=None, **models):
        library = build() / "tests/fakes/nvml/new/libnvidia-ml.so.1"
        if not library.is_file():
            pytest.skip("the fake NVML is not built")
        files = tmp_path / "models"
        files.mkdir(exist_ok=True)
        (files / "plain.gguf").write_bytes(b"GGUF")
        cards = Cards(tmp_path / "script")
        monkeypatch.setenv("FG_FAKE_NVML", str(cards.path))
        plugin = {"plugin": "fake", "isolate": isolate, "options": {**FAKE, **(options or {})}}
        backends = [{"name": "a", "gpus": ["P40"], **plugin},
                    {"name": "b", "gpus": ["sm_60"], **plugin}]
        models = {"directories": [str(files)], "stores": [], "default_model": "plain", **models}
        with start(gpu={"library": str(library), "interval_ms": 100}, models=models,
                   backends=backends + (third or [])) as one:
            one.need_fake()
            assert eventually(lambda: up(one) == {"a", "b"} | {b["name"] for b in third or []}, 10)
            yield one, cards

    return run


def up(one):
    return {b["name"] for b in one.health()["backends"] if b["state"] == "up"}


def state(one, card):
    return one.ask(get(b"/api/fluxgate/gpus")).json()["gpus"][card]["state"]


def body_of(model="plain", stream=False):
    return {"model": model, "messages": [{"role": "user", "content": "hi"}], "stream": stream}


def chat(one, model="plain", **wait):
    return one.ask(post(b"/v1/chat/completions", body_of(model)), **wait)


def backend(reply):
    assert reply.status == 200, reply.body
    return reply.headers["x-fluxgate-backend"]


def unload(one, model="plain"):
    assert one.ask(post(b"/api/generate", {"model": model, "keep_alive": 0})).status == 200
    assert eventually(lambda: not one.ask(get(b"/api/ps")).json()["models"])


def test_cards_are_shown_with_what_they_tell(rig):
    with rig() as (one, cards):
        cards.play("0 temp 61", "0 process 4194300 2048", "result nvmlDeviceGetFanSpeed 3")
        assert eventually(lambda: one.ask(get(b"/api/fluxgate/gpus")).json()["gpus"][0]["celsius"] == 61)
        answer = one.ask(get(b"/api/fluxgate/gpus?history=3")).json()
        first, second = answer["gpus"]
        assert (first["card"], first["capability"], second["card"]) == ("P40", "6.1", "P100")
        assert first["fan_ratio"] is None and first["state"] == "ready"
        assert len(first["history"]) == 3 and answer["why"] is None
        health = one.health()
        assert health["status"] == "ok" and health["gpus"][1]["backends"] == ["b"]
        page = one.ask(get(b"/metrics")).body.decode()
        assert re.search(r'^fluxgate_gpu_celsius\{gpu="0",uuid="GPU-[^"]+"\} 61$', page, re.M)
        code, out, err = cli("gpu", server=one)
        assert code == 0 and "Tesla P40" in out and "61 C" in out and "ready" in out, out + err
        assert eventually(lambda: "4194300" in cli("gpu", "processes", server=one)[1], 8)
        assert cli("gpu", "processes", server=one)[1].split("\n")[1].split()[1:] == [
            "4194300", "?", "2048", "MiB", "no"]
        code, out, _ = cli("gpu", "--json", server=one)
        assert code == 0 and len(json.loads(out)["gpus"]) == 2
        assert "last_driver_branch           580" in cli("gpu", "info", server=one)[1]
        assert cli("gpu", "nonsense", server=one)[0] == 2


def test_a_card_off_the_bus_costs_no_request(rig):
    """8 streams and 2 requests a second; the card of one of the two backends falls off the bus."""
    with rig(options=PACED) as (one, cards):
        assert backend(chat(one)) == "a"
        streams, replies = [], []

        def stream():
            with one.wire() as wire:
                wire.send(post(b"/v1/chat/completions", body_of(stream=True), b"Connection: close\r\n"))
                wire.until(lambda _: False, 20)
                streams.append(wire.buffer if wire.how == "end" else b"no end")

        threads = [threading.Thread(target=stream) for _ in range(8)]
        for thread in threads:
            thread.start()
        assert eventually(lambda: any(b["running"] == 8 for b in explained(one)["loaded"]), 5)
        cards.play("0 lost 1", "0 xid 79")
        for _ in range(4):
            time.sleep(0.5)
            threads.append(threading.Thread(target=lambda: replies.append(chat(one, seconds=20))))
            threads[-1].start()
        for thread in threads:
            thread.join(20)
        assert len(streams) == 8 and len(replies) == 4, "every request ends"
        # What was said already cannot be said again: those streams end with one error, and no [DONE].
        assert all(s.count(b'data: {"error"') == 1 and b"[DONE]" not in s for s in streams), streams[0]
        assert [backend(reply) for reply in replies] == ["b"] * 4
        assert state(one, 0) == "lost"
        reply = chat(one)
        assert backend(reply) == "b"
        assert reply.headers["x-fluxgate-skipped"] == "a: gpu 0 lost: XID 79: it has fallen off the bus"
        health = one.health()
        assert health["status"] == "degraded"
        assert health["reasons"] == ["gpu 0 (Tesla P40): lost: XID 79: it has fallen off the bus"]
        assert one.ask(get(b"/health")).json() == {"status": "degraded"}
        assert one.metric("fluxgate_jobs_downgraded_total") >= 5
        assert one.metric("fluxgate_jobs_now") == 0
        assert "event=gpu_xid" in one.log.read_text() and "cause=lost" in one.log.read_text()


def explained(one, model=b"plain"):
    return one.ask(get(b"/api/fluxgate/explain?model=" + model)).json()


def test_a_stream_on_another_card_is_not_touched(rig):
    with rig(options=PACED, routes=[{"model": "plain", "backends": ["b", "a"]}]) as (one, cards):
        with one.wire() as wire:
            wire.send(post(b"/v1/chat/completions", body_of(stream=True)))
            assert wire.until(lambda b: b"data:" in b, 5)
            cards.play("0 lost 1")
            assert eventually(lambda: state(one, 0) == "lost")
            wire.until(lambda _: False, 3)
            assert b"data: [DONE]" in wire.buffer
        assert explained(one)["candidates"][0]["backend"] == "b"


@pytest.mark.parametrize(("line", "wanted"), [
    ("0 xid 13", "failed_restart"), ("0 xid 48", "draining"), ("0 xid 94", "failed_restart"),
    ("0 ecc", "draining"), ("0 xid 119", "failed_reset")])
def test_events_close_the_card_and_requests_go_on(rig, line, wanted):
    with rig() as (one, cards):
        assert backend(chat(one)) == "a"
        cards.play(line)
        assert eventually(lambda: state(one, 0) != "ready", 3)
        seen = state(one, 0)
        assert backend(chat(one)) == "b" or seen != wanted
        if wanted == "draining":  # the idle process is started anew, and the card is open again
            assert eventually(lambda: state(one, 0) == "ready", 10)
            assert next(b for b in one.health()["backends"] if b["name"] == "a")["restarts"] == 1
            unload(one)
            assert backend(chat(one)) == "a"
        elif wanted == "failed_reset":
            assert seen == wanted
            one.process.send_signal(1)  # SIGHUP: an operator says that it was reset
            assert eventually(lambda: state(one, 0) == "ready", 5)


def test_heat_lowers_the_slots_before_the_card_slows_down(rig):
    with rig() as (one, cards):
        assert backend(chat(one)) == "a"
        assert explained(one)["loaded"][0]["slots"] == 8
        cards.play("0 temp 94")
        assert eventually(lambda: explained(one)["loaded"][0]["slots"] <= 3, 5)
        assert one.health()["gpus"][0]["state"] == "ready"
        assert backend(chat(one)) == "a"
        cards.play("0 temp 40")
        assert eventually(lambda: explained(one)["loaded"][0]["slots"] > 3, 30)


def test_policies_and_what_they_know(rig):
    with rig(policy="coolest") as (one, cards):
        cards.play("0 temp 70", "1 temp 40")
        assert eventually(lambda: one.health()["gpus"][0]["celsius"] == 70)
        assert backend(chat(one)) == "b"
        answer = explained(one)
        assert answer["policy"] == "coolest" and answer["candidates"][0]["reason"] == "its card is cooler"
        assert [c["gpus"] for c in answer["candidates"]] == [[1], [0]]
    with rig(policy="prefer", aliases=[{"name": "gpt-4o", "model": "plain"}],
             routes=[{"model": "pl*", "backends": ["b"]}]) as (one, cards):
        assert backend(chat(one, model="gpt-4o")) == "b"
        code, out, _ = cli("explain", "gpt-4o", server=one)
        assert code == 0
        assert re.search(r"^  1\. +b +preferred, gpu 1, 35 C, weight 1\.00", out, re.M), out
        assert re.search(r"^  - +a +the model's route does not name it", out, re.M), out
        assert "route pl*" in out and "is loaded on b" in out
        assert json.loads(cli("explain", "--json", "plain", server=one)[1])["route"] == "pl*"
        assert cli("explain", "nope", server=one) == (1, "", "fluxgate: model 'nope' not found\n")
        assert one.ask(get(b"/api/fluxgate/explain")).status == 400
        assert one.ask(get(b"/api/fluxgate/explain?model=%ff")).status == 400
        assert one.ask(get(b"/api/fluxgate/explain?x=1&model=..%2Fx")).status == 400
        assert one.ask(get(b"/api/fluxgate/explain?model=" + b"x" * 400)).status == 400


def test_memory_taken_by_others_sends_a_model_elsewhere(rig, tmp_path):
    with rig() as (one, cards):
        with (tmp_path / "models" / "big.gguf").open("wb") as file:
            file.truncate(3 << 30)  # a hole: nothing is written
        cards.play("0 used 23000", "0 process 1 22000")
        assert eventually(lambda: one.health()["gpus"] and one.metric("fluxgate_gpu_memory_free_bytes")
                          < 2 << 30, 5)
        assert [c["backend"] for c in explained(one, b"big")["candidates"]] == ["b", "a"]
        assert explained(one, b"big")["candidates"][1]["reason"] == "there is probably too little memory"
        assert backend(chat(one, model="big")) == "b"
        unload(one, "big")
        assert backend(chat(one)) == "a"  # the small one fits


def test_energy_of_requests_is_counted_where_a_card_is_the_backends_own(rig):
    with rig(options=PACED) as (one, cards):
        cards.play("0 watts 0", "0 energy 5000")
        assert eventually(lambda: one.ask(get(b"/api/fluxgate/gpus")).json()["gpus"][0]["joules"] == 5000)
        thread = threading.Thread(target=lambda: backend(chat(one, seconds=20)))
        thread.start()
        assert eventually(lambda: (explained(one)["loaded"] or [{"running": 0}])[0]["running"] == 1, 5)
        time.sleep(0.3)
        cards.play("0 energy 5300")
        thread.join(20)
        assert one.metric('fluxgate_backend_joules_total{backend="a"}') == pytest.approx(300, abs=1)
        assert explained(one)["candidates"][0]["joules_per_token"] == pytest.approx(5, abs=0.1)


def test_a_driver_that_hangs_is_told_and_passed_over(rig):
    with rig() as (one, cards):
        third = time.monotonic()
        cards.play("hang nvmlDeviceGetUtilizationRates 7000")
        assert eventually(lambda: state(one, 0) == "draining", 10), time.monotonic() - third
        assert one.health()["gpus"][0]["reason"] == "the driver does not answer"
        assert one.ask(get(b"/")).status == 200
        cards.play("hang nvmlDeviceGetUtilizationRates 0")
        assert eventually(lambda: state(one, 0) == "ready", 12)
        assert backend(chat(one)) == "a"


def test_without_a_card_everything_says_so(start, tmp_path):
    with start(gpu={"library": str(tmp_path / "none.so")}) as one:
        assert one.health()["status"] == "ok" and one.health()["gpus"] == []
        code, out, _ = cli("gpu", server=one)
        assert code == 4 and out.startswith("no NVIDIA card is in use on the server's machine: no NVML")
        code, out, _ = cli("gpu", "--json", server=one)
        assert code == 4 and json.loads(out)["gpus"] == []
    backend_conf = {"name": "fake", "plugin": "fake", "isolate": False, "gpus": ["0"],
                    "options": {"models": ["plain"]}}
    with start(gpu={"library": str(tmp_path / "none.so")}, backends=[backend_conf]) as one:
        assert one.ask(get(b"/health")).json() == {"status": "degraded"}
        assert "health of its cards is not known" in one.health()["reasons"][0]
        assert backend(chat(one)) == "fake"  # unknown is not ill


def test_cards_that_nobody_knows_are_refused_at_the_start(tmp_path):
    gateway = Gateway(tmp_path, backends=[{"name": "x", "plugin": "fake", "gpus": ["0", "P41"]}])
    expected = 'fluxgate: backends[0].gpus[1]: no card is spelled "P41"; is it P4, P40?\n'
    for more in ([], ["--check"]):
        done = subprocess.run([gateway.binary, "serve", "--config", gateway.conf, *more], timeout=10,
                              capture_output=True, check=False)
        assert (done.returncode, done.stderr.decode()) == (2, expected)


def test_the_table_of_cards_needs_no_server():
    code, out, _ = cli("cards", "tesla p40", "sm_37")
    rows = out.splitlines()
    assert code == 0 and [row.split()[0] for row in rows[1:]] == ["K80", "P40"]
    code, out, _ = cli("cards", "--json", "6.1")
    assert code == 0 and {c["name"] for c in json.loads(out)} == {"P4", "P6", "P40"}
    assert json.loads(out)[0]["last_driver_branch"] == 580
    assert len(json.loads(cli("cards", "--json")[1])) > 30
    assert cli("cards", "P41") == (2, "", 'fluxgate: no card is spelled "P41"; is it P4, P40?\n')
