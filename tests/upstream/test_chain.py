"""A real second Fluxgate as the upstream of the first, asked with the official client."""

import time

import openai
import pytest

from rig import Server, eventually, remote, running

HELLO = [{"role": "user", "content": "hello there"}]


def client(gateway):
    return openai.OpenAI(base_url=gateway.url + "/v1", api_key="none", max_retries=0, timeout=20)


@pytest.fixture(scope="module")
def both(far, near):
    return client(far), client(near)


def test_models_are_listed_with_prefix_and_by_their_new_names(near):
    names = near.models()
    assert {"r/plain:latest", "r/slow:latest", "renamed:latest"} <= set(names)


@pytest.mark.parametrize("fields", [
    {},
    {"max_completion_tokens": 4},
    {"stop": ["same few"]},
    {"n": 2, "max_tokens": 3, "seed": 7, "temperature": 0.5},
    {"logprobs": True, "top_logprobs": 2, "max_tokens": 3},
], ids=["plain", "max_tokens", "stop", "n", "logprobs"])
def test_a_chat_is_the_same_through_both(both, fields):
    here, there = (c.chat.completions.create(model=m, messages=HELLO, **fields)
                   for c, m in zip(both, ("plain", "r/plain:latest")))
    for a, b in zip(here.choices, there.choices, strict=True):
        assert a.message.content == b.message.content
        assert a.finish_reason == b.finish_reason
        if fields.get("logprobs"):
            assert [(t.token, t.bytes, t.logprob) for t in a.logprobs.content] == \
                [(t.token, t.bytes, t.logprob) for t in b.logprobs.content]
            assert all(len(t.top_logprobs) == 2 for t in b.logprobs.content)
    assert here.usage.prompt_tokens == there.usage.prompt_tokens
    assert here.usage.completion_tokens == there.usage.completion_tokens


def test_a_stream_is_the_same_through_both(both):
    def told(c, model):
        text, last, usage = "", None, None
        for part in c.chat.completions.create(model=model, messages=HELLO, stream=True,
                                              stream_options={"include_usage": True}):
            for choice in part.choices:
                text += choice.delta.content or ""
                last = choice.finish_reason or last
            usage = part.usage or usage
        return text, last, usage.prompt_tokens, usage.completion_tokens
    assert told(both[0], "plain") == told(both[1], "renamed")


def test_completions_and_embeddings_are_the_same_through_both(both):
    a, b = (c.completions.create(model=m, prompt="once", max_tokens=5, logprobs=1)
            for c, m in zip(both, ("plain", "r/plain:latest")))
    assert a.choices[0].text == b.choices[0].text
    assert a.choices[0].logprobs.tokens == b.choices[0].logprobs.tokens
    a, b = (c.embeddings.create(model=m, input=["one", "two words", "one"])
            for c, m in zip(both, ("plain", "r/plain:latest")))
    for x, y in zip(a.data, b.data, strict=True):
        assert x.embedding == pytest.approx(y.embedding, abs=1e-6)


def test_errors_of_the_far_side_arrive_with_their_class(both, near):
    with pytest.raises(openai.BadRequestError, match="(?i)context"):
        both[1].chat.completions.create(
            model="r/plain:latest", messages=[{"role": "user", "content": "word " * 20000}])
    with pytest.raises(openai.NotFoundError):
        both[1].chat.completions.create(model="r/nope", messages=HELLO)
    assert near.chat("r/plain:latest")[0] == 200


def test_a_client_that_leaves_is_gone_at_the_far_side_at_once(near, far):
    for model, is_streaming in (("r/slow:latest", True), ("r/late:latest", False)):
        cancelled = near.metric("cancelled_total")
        with near.stream(model) as wire:
            if is_streaming:
                assert wire.recv(15) == b"HTTP/1.1 200 OK"
            assert eventually(lambda: near.metric("running") == 1, 2)
        assert eventually(lambda: near.metric("running") == 0, 2)
        assert near.metric("cancelled_total") == cancelled + 1
        assert near.metric("breaker_state") == 0


def test_two_hundred_disconnects_leave_nothing_and_move_no_breaker(near):
    near.chat("r/plain:latest")
    before = near.descriptors() - near.metric("connections{")
    cancelled = near.metric("cancelled_total")
    for _ in range(20):
        wires = [near.stream("r/slow:latest") for _ in range(10)]
        assert wires[0].recv(15) == b"HTTP/1.1 200 OK"
        for wire in wires:
            wire.close()
    assert eventually(lambda: near.metric("running") == 0, 5)
    assert near.metric("cancelled_total") > cancelled + 20
    assert near.metric("breaker_opened_total") == 0
    assert eventually(lambda: near.descriptors() - near.metric("connections{") <= before, 5)
    assert near.chat("r/plain:latest")[0] == 200


def test_a_slow_reader_pauses_the_far_side(near):
    def come_in():
        return near.metric('bytes_total{backend="remote",direction="in"')
    with near.stream("r/endless:latest") as wire:
        assert wire.recv(15) == b"HTTP/1.1 200 OK"
        assert eventually(lambda: come_in() > 1 << 20, 5)
        time.sleep(0.5)
        first = come_in()
        time.sleep(0.5)
        assert come_in() == first
        taken = 0
        while taken < 8 << 20:  # and it goes on as soon as it is read
            taken += len(wire.recv(1 << 16))
    assert eventually(lambda: near.metric("running") == 0, 2)


def test_it_runs_in_a_child_process_as_well(place, far):
    with running(place, [remote(far.url + "/v1", isolate=True)]) as gateway:
        assert eventually(lambda: "plain:latest" in gateway.models(), 10)
        status, _, body = gateway.chat("plain")
        assert status == 200 and "fake backend" in body


def test_the_list_follows_the_server(place):
    server = Server(models=["one"])
    with running(place, [remote(server.url, discover_s=1)]) as gateway:
        assert eventually(lambda: gateway.models() == ["one:latest"], 5)
        server.models = ["two", "three/b:x"]
        assert eventually(lambda: sorted(gateway.models()) == ["three/b:x", "two:latest"], 5)
        assert gateway.chat("three/b:x")[0] == 200
        assert server.chats()[-1]["body"]["model"] == "three/b:x"
    server.close()


def test_names_that_nobody_could_ask_for_are_made_askable(place):
    told = {"/models/My Model.Q4.gguf": "x/My-Model.Q4:latest", "org/a+b:c:d": "x/org/a-b:c-d",
            "a/b/c/d": "x/d:latest", "C:\\models\\m.gguf": "x/m:latest"}
    server = Server(models=list(told))
    with running(place, [remote(server.url, prefix="x/")]) as gateway:
        assert eventually(lambda: sorted(gateway.models()) == sorted(told.values()), 5)
        for theirs, ours in told.items():
            assert gateway.chat(ours)[0] == 200
            assert server.chats()[-1]["body"]["model"] == theirs
    server.close()


def test_a_server_that_comes_up_later_is_found(place):
    server = Server(models=["late"])
    port = server.port
    server.close()
    time.sleep(0.05)
    with running(place, [remote(f"http://127.0.0.1:{port}/v1")]) as gateway:
        assert eventually(lambda: "upstream_models_unknown" in gateway.log(), 5)
        assert gateway.models() == []
        again = Server(models=["late"], port=port)
        assert eventually(lambda: gateway.models() == ["late:latest"], 8)
        again.close()


def test_a_wrong_configuration_says_what_is_wrong(place):
    cases = [
        ({"base_url": "ftp://x"}, "http:// or https://"),
        ({"base_url": "http://u:hunter2@x/v1"}, "no user and password"),
        ({"base_url": "http://x", "modles": []}, "modles"),
        ({"base_url": "http://x", "idle_ms": 1}, "idle_ms"),
        ({"base_url": "http://x", "models": []}, "no models"),
        ({"base_url": "http://x", "api_key": "a\nb"}, "no proper key"),
        ({"base_url": "http://x", "api_key": "a", "api_key_env": "B"}, "is enough"),
        ({"base_url": "http://x", "api_key_env": "NO_SUCH_THING"}, "NO_SUCH_THING"),
        ({"base_url": "http://x", "api_key_file": "/no/such/file"}, "/no/such/file"),
        ({"base_url": "http://x", "headers": {"Host": "y"}}, "Host"),
        ({"base_url": "http://x", "headers": {"X": "a\r\nB: c"}}, "header value"),
        ({"base_url": "https://x", "ca_file": "/no/such/file"}, "ca_file"),
        ({"base_url": "http://x", "can": ["fly"]}, "can"),
    ]
    backends = [{"name": f"b{i}", "plugin": "openai", "options": options}
                for i, (options, _) in enumerate(cases)]
    with running(place, backends) as gateway:
        assert eventually(lambda: gateway.log().count("backend_failed") == len(cases), 10)
        lines = {f"b{i}": next(line for line in gateway.log().splitlines()
                               if "backend_failed" in line and f"backend=b{i} " in line)
                 for i in range(len(cases))}
        for i, (_, words) in enumerate(cases):
            assert words in lines[f"b{i}"], lines[f"b{i}"]
        assert "hunter2" not in gateway.log()
