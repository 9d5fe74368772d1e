"""The official ollama client."""

import re

import ollama
import pytest

HI = [{"role": "user", "content": "Say hello."}]
GREEDY = {"temperature": 0, "num_predict": 12}


@pytest.fixture(scope="module")
def client(base):
    return ollama.Client(host=base, timeout=120)


def test_t02_listed_models_have_whole_digests(client, model):
    listed = client.list().models
    assert model in [m.model for m in listed]
    assert all(re.fullmatch(r"[0-9a-f]{64}", m.digest) for m in listed)
    assert all(":" in m.model for m in listed)
    assert all(m.modified_at and m.details.family for m in listed)


def test_t15_show_has_what_clients_read(client, model):
    shown = client.show(model)
    assert shown.modelinfo["general.architecture"]
    assert "completion" in shown.capabilities
    assert shown.details.quantization_level
    with pytest.raises(ollama.ResponseError) as caught:
        client.show("nope")
    assert caught.value.status_code == 404 and "model 'nope:latest' not found" in str(caught.value)


def test_chat_whole_has_counts(client, model):
    reply = client.chat(model, HI, options=GREEDY)
    assert reply.model == model and reply.done and reply.message.content
    assert reply.done_reason in ("stop", "length")
    assert reply.prompt_eval_count > 0 and 0 < reply.eval_count <= 12
    assert reply.total_duration >= reply.eval_duration > 0


def test_a_stream_sums_to_the_whole_answer(client, model):
    whole = client.chat(model, HI, options=GREEDY)
    lines = list(client.chat(model, HI, options=GREEDY, stream=True))
    assert "".join(line.message.content for line in lines) == whole.message.content
    assert [line.done for line in lines].count(True) == 1 and lines[-1].done


def test_an_earlier_context_stands_in_front(client, model):
    first = client.generate(model, "My name is Anna.", options=GREEDY)
    assert len(first.context) >= first.prompt_eval_count + first.eval_count - 1
    alone = client.generate(model, "What is my name?", options=GREEDY)
    after = client.generate(model, "What is my name?", context=first.context, options=GREEDY)
    assert after.prompt_eval_count == alone.prompt_eval_count + len(first.context)
    assert list(after.context[: len(first.context)]) == list(first.context)


def test_generate_counts_and_seed(client, model):
    reply = client.generate(model, "Count to one hundred.", options={"num_predict": 5, "temperature": 0})
    assert reply.eval_count == 5 and reply.done_reason == "length"

    def draw(seed):
        return client.generate(model, "A story:", options={"seed": seed, "temperature": 1.5,
                                                           "num_predict": 10}).response

    assert draw(7) == draw(7)
    raw = client.generate(model, "The capital of France is", raw=True, options=GREEDY)
    assert raw.response and not raw.context


def test_t30_a_stop_string_never_shows(client, model):
    whole = client.generate(model, "Say hello.", options={"temperature": 0, "num_predict": 24}).response
    stop = whole[4:9]
    cut = client.generate(model, "Say hello.",
                          options={"temperature": 0, "num_predict": 24, "stop": [stop]})
    assert cut.response == whole[: whole.index(stop)] and cut.done_reason == "stop"


def test_logprobs_match_the_count(client, model):
    reply = client.generate(model, "Say hello.", logprobs=True, top_logprobs=2,
                            options={"temperature": 0, "num_predict": 5})
    assert len(reply.logprobs) == reply.eval_count
    assert all(len(t.top_logprobs) == 2 for t in reply.logprobs)


def test_t06_load_ps_unload(client, model):
    assert client.generate(model, keep_alive="5m").done_reason == "load"
    running = client.ps().models
    assert model in [m.model for m in running]
    assert all(m.expires_at and len(m.digest) == 64 for m in running)
    assert client.generate(model, prompt="", keep_alive=0).done_reason == "unload"
    assert model not in [m.model for m in client.ps().models]


def test_embed_or_a_clear_refusal(client, model):
    try:
        reply = client.embed(model, ["a", "b c"])
    except ollama.ResponseError as e:
        assert e.status_code == 501 and "embeddings" in str(e)
        pytest.skip("the small model does not embed")
    assert len(reply.embeddings) == 2
    assert abs(sum(x * x for x in reply.embeddings[0]) - 1) < 1e-4
    old = client.embeddings(model, "a").embedding
    assert len(old) == len(reply.embeddings[0])


@pytest.mark.parametrize(
    "call, status, words",
    [
        (lambda c, m: c.chat("nope", HI), 404, "model 'nope' not found"),
        (lambda c, m: c.chat(m, HI, format="json"), 400, "format"),
        (lambda c, m: c.chat(m, HI, think=True), 400, "does not support thinking"),
        (lambda c, m: c.chat(m, HI, options={"temperature": "hot"}), 400, "float32"),
        (lambda c, m: c.generate(m, "x", suffix="y"), 400, "does not support insert"),
        (lambda c, m: c.embed("nope", "x"), 404, "try pulling it first"),
    ],
)
def test_t14_errors_have_status_and_text(client, model, call, status, words):
    with pytest.raises(ollama.ResponseError) as caught:
        call(client, model)
    assert caught.value.status_code == status
    assert words in caught.value.error


def test_t08_empty_things_are_absent(client, model):
    reply = client.chat(model, [HI[0] | {"images": []}], tools=[], format="", think=False,
                        options={"temperature": None, "stop": None, "num_predict": 2})
    assert reply.done
