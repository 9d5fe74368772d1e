"""The key goes to its own server and nowhere else; what a client sends as a key goes nowhere."""

import os
import pathlib
import stat

import pytest

from rig import GOOD, Server, error, eventually, remote, running

KEY = "sk-do-not-tell-4f1d0c"
ELSE = "sk-header-8a1b"


def echo(_, conn):
    """A server that quotes the key, in the text and split over fields."""
    conn.sendall(error("400 No", f"your key {KEY} and {ELSE} are wrong for this"))
    return True


def options_of(source, place):
    if source == "option":
        return {"api_key": KEY}, {}
    if source == "env":
        return {"api_key_env": "FG_TEST_KEY"}, {"FG_TEST_KEY": KEY}
    path = place / f"key-{source}"
    path.write_text(KEY + "\n")
    path.chmod(0o600 if source == "file" else 0o644)
    return {"api_key_file": str(path)}, {}


@pytest.mark.parametrize("source", ["option", "env", "file", "open_file"])
@pytest.mark.parametrize("isolate", [False, True])
def test_the_key_is_sent_and_never_shown(place, source, isolate):
    server = Server({"echo": echo, "refuse": error("401 No", f"Incorrect API key: {KEY}"),
                     "broken": b"HTTP/1.1 200 OK\r\n" + KEY.encode() + b"\r\n\r\n",
                     "cut": error("400 No", "x" * 190 + KEY)})
    options, env = options_of(source, place)
    names = ["good", "echo", "refuse", "broken", "cut"]
    backend = remote(server.url, models=names, isolate=isolate, headers={"X-Other": ELSE},
                     **options)
    with running(place, [backend], env=env, log_level="debug") as gateway:
        if isolate and source == "env":  # children do not inherit the environment
            assert eventually(lambda: "the environment has no" in gateway.log(), 5)
            assert KEY not in gateway.log()
            return
        assert eventually(lambda: len(gateway.models()) == 5, 10)
        client = {"Authorization": "Bearer client-key", "X-Api-Key": "client-key",
                  "Cookie": "client-cookie"}
        told = []
        for name in names:
            body = {"model": name, "messages": [{"role": "user", "content": "hi"}]}
            status, fields, text = gateway.ask("POST", "/v1/chat/completions", body, client)
            told.append(str(fields) + text)
            assert (status == 200) == (name == "good"), text
        for path in ("/metrics", "/api/fluxgate/health", "/v1/models", "/api/ps", "/api/tags"):
            status, fields, text = gateway.ask("GET", path)
            told.append(str(fields) + text)
        told.append(gateway.log())
        told += command_lines(gateway.process.pid)
        for text in told:
            assert KEY[:6] not in text and ELSE[:6] not in text, text
        assert ("key_file_mode" in gateway.log()) == (source == "open_file")
        assert "upstream_key_refused" in gateway.log()
    for ask in server.requests:
        assert ask["fields"]["authorization"] == f"Bearer {KEY}"
        assert ask["fields"]["x-other"] == ELSE
        assert "client" not in str(ask["fields"])
    server.close()


def command_lines(pid):
    """Of the gateway and of its children; the environment of children too."""
    lines = [pathlib.Path(f"/proc/{pid}/cmdline").read_text()]
    children = []
    for task in os.listdir(f"/proc/{pid}/task"):
        children += pathlib.Path(f"/proc/{pid}/task/{task}/children").read_text().split()
    for child in children:
        for name in ("cmdline", "environ"):
            lines.append(pathlib.Path(f"/proc/{child}/{name}").read_text())
    return lines


def test_without_a_key_none_is_sent(place):
    server = Server()
    with running(place, [remote(server.url, models=["m"])]) as gateway:
        assert gateway.chat("m")[0] == 200
    assert "authorization" not in server.requests[-1]["fields"]
    server.close()


def test_the_key_file_is_only_read(place):
    options, _ = options_of("file", place)
    path = pathlib.Path(options["api_key_file"])
    before = path.stat()
    server = Server()
    with running(place, [remote(server.url, models=["m"], **options)]) as gateway:
        assert gateway.chat("m")[0] == 200
    after = path.stat()
    assert (before.st_mtime_ns, stat.S_IMODE(before.st_mode)) == \
        (after.st_mtime_ns, stat.S_IMODE(after.st_mode))
    server.close()
