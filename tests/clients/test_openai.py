"""The official openai client."""

import base64
import struct

import openai
import pytest

HI = [{"role": "user", "content": "Say hello."}]


@pytest.fixture(scope="module")
def client(base):
    return openai.OpenAI(base_url=base + "/v1", api_key="any", max_retries=0, timeout=120)


def ask(client, model, **more):
    args = {"messages": HI, "temperature": 0, "max_tokens": 12} | more
    return client.chat.completions.create(model=model, **args)


def test_t26_models_are_listed_and_retrieved(client, model):
    listed = client.models.list()
    assert model in [m.id for m in listed.data]
    assert all(isinstance(m.created, int) for m in listed.data)
    assert client.models.retrieve(model).id == model
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("some/absent:model")


def test_chat_whole(client, model):
    reply = ask(client, model)
    assert reply.choices[0].message.role == "assistant"
    assert reply.choices[0].message.content
    assert reply.choices[0].finish_reason in ("stop", "length")
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens
    assert 0 < reply.usage.completion_tokens <= 12
    assert reply.id.startswith("chatcmpl-")


def test_a_stream_sums_to_the_whole_answer(client, model):
    whole = ask(client, model).choices[0]
    chunks = list(ask(client, model, stream=True))
    text = "".join(c.choices[0].delta.content or "" for c in chunks)
    assert text == whole.message.content
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [c.choices[0].finish_reason for c in chunks if c.choices[0].finish_reason] == [
        whole.finish_reason
    ]
    assert len({(c.id, c.created, c.model) for c in chunks}) == 1


def test_t12_usage_chunk_only_when_asked(client, model):
    with_usage = list(ask(client, model, stream=True, stream_options={"include_usage": True}))
    assert [len(c.choices) for c in with_usage].count(0) == 1
    assert not with_usage[-1].choices and with_usage[-1].usage.prompt_tokens > 0
    assert all(c.usage is None for c in with_usage[:-1])
    assert all(c.choices for c in ask(client, model, stream=True))


def test_t11_both_limits_limit(client, model):
    for name in ("max_tokens", "max_completion_tokens"):
        reply = client.chat.completions.create(
            model=model, messages=[{"role": "user", "content": "Count to one hundred."}],
            temperature=0, **{name: 3},
        )
        assert reply.usage.completion_tokens == 3
        assert reply.choices[0].finish_reason == "length"


def test_the_same_seed_gives_the_same_text(client, model):
    def draw(seed):
        return ask(client, model, temperature=1.5, seed=seed).choices[0].message.content

    assert draw(2**63 - 1) == draw(2**63 - 1)
    assert len({draw(s) for s in range(6)}) > 1


def test_t30_a_stop_string_never_shows(client, model):
    whole = ask(client, model, max_tokens=24).choices[0].message.content
    stop = whole[4:9]
    assert len(stop) == 5
    reply = ask(client, model, max_tokens=24, stop=[stop])
    assert reply.choices[0].message.content == whole[: whole.index(stop)]
    assert reply.choices[0].finish_reason == "stop"
    text = "".join(
        c.choices[0].delta.content or "" for c in ask(client, model, max_tokens=24, stop=stop, stream=True)
    )
    assert text == whole[: whole.index(stop)]


def test_several_choices(client, model):
    reply = ask(client, model, n=2, temperature=1.5, seed=3)
    assert [c.index for c in reply.choices] == [0, 1]
    finishes = [
        (c.choices[0].index, c.choices[0].finish_reason)
        for c in ask(client, model, n=2, temperature=1.5, seed=3, stream=True)
        if c.choices[0].finish_reason
    ]
    assert sorted(i for i, _ in finishes) == [0, 1]


def test_logprobs_cover_the_text(client, model):
    reply = ask(client, model, logprobs=True, top_logprobs=3).choices[0]
    content = reply.logprobs.content
    assert all(len(t.top_logprobs) == 3 and t.logprob <= 0 for t in content)
    said = b"".join(bytes(t.bytes) for t in content)
    assert reply.message.content.encode() in said
    for token in content:  # greedy: the best alternative was taken
        assert abs(token.top_logprobs[0].logprob - token.logprob) < 1e-4


def test_completions_are_raw_text(client, model):
    one = client.completions.create(model=model, prompt="The capital of France is", max_tokens=5,
                                    temperature=0, logprobs=2)
    assert one.choices[0].text
    assert len(one.choices[0].logprobs.tokens) == one.usage.completion_tokens
    two = client.completions.create(model=model, prompt=["One two", "A B"], max_tokens=2, echo=True)
    assert [c.index for c in two.choices] == [0, 1]
    assert two.choices[0].text.startswith("One two") and two.choices[1].text.startswith("A B")
    stream = list(client.completions.create(model=model, prompt="The capital of France is",
                                            max_tokens=5, temperature=0, stream=True))
    assert "".join(c.choices[0].text for c in stream) == one.choices[0].text


def test_t01_base64_and_float_are_the_same_bits(client, model):
    try:
        floats = client.embeddings.create(model=model, input=["a", "b c"], encoding_format="float")
    except openai.BadRequestError as e:
        assert "embedding" in str(e)
        pytest.skip("the small model does not embed")
    coded = client.with_raw_response.embeddings.create(
        model=model, input=["a", "b c"], encoding_format="base64"
    ).http_response.json()
    for a, b in zip(floats.data, coded["data"]):
        raw = base64.b64decode(b["embedding"], validate=True)
        assert struct.pack(f"<{len(a.embedding)}f", *a.embedding) == raw
    assert abs(sum(x * x for x in floats.data[0].embedding) - 1) < 1e-4
    assert client.embeddings.create(model=model, input="a").data[0].embedding


@pytest.mark.parametrize(
    "more, error, words",
    [
        ({"model": "nope"}, openai.NotFoundError, "not found"),
        ({"temperature": 3}, openai.BadRequestError, "temperature"),
        ({"messages": []}, openai.BadRequestError, "too short"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, openai.BadRequestError,
         "does not support tools"),
        ({"response_format": {"type": "json_object"}}, openai.BadRequestError, "response_format"),
        ({"n": 0}, openai.BadRequestError, "'n'"),
        ({"messages": [{"role": "user", "content": "word " * 30000}]}, openai.BadRequestError,
         "maximum context length"),
    ],
)
def test_t14_errors_have_their_class(client, model, more, error, words):
    for stream in (False, True):
        with pytest.raises(error) as caught:
            ask(client, **({"model": model} | more), stream=stream)
        assert words in str(caught.value)
        assert caught.value.response.headers["x-request-id"].startswith("req_")


def test_t08_empty_lists_are_absent(client, model):
    assert ask(client, model, tools=[], stop=None, response_format={"type": "text"}).choices


def test_t32_base_urls_are_written_many_ways(base, model):
    for path in ("/v1/", "//v1", "/v1"):
        c = openai.OpenAI(base_url=base + path, api_key="x", max_retries=0)
        assert c.models.list().data
