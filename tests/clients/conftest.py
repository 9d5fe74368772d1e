"""Starts the real gateway once for all tests and says which model to ask."""

import json
import os
import pathlib
import socket
import subprocess
import time
import urllib.error
import urllib.request

import pytest

CACHE = pathlib.Path(os.environ.get("FLUXGATE_CACHE", pathlib.Path.home() / ".cache" / "fluxgate"))
MODEL_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def find_binary():
    place = pathlib.Path(os.environ.get("FG_TEST_BIN", ""))
    binary = place / "bin" / "fluxgate" if place.is_dir() else place
    if not os.environ.get("FG_TEST_BIN") or not binary.is_file():
        pytest.skip("FG_TEST_BIN names no fluxgate binary")
    return binary


def wait_until_up(url, process, log):
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if process.poll() is not None:
            pytest.fail(f"fluxgate ended with {process.returncode}:\n{log.read_text()[-2000:]}")
        try:
            urllib.request.urlopen(url + "/api/version", timeout=2).read()
            return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.05)
    pytest.fail("fluxgate did not listen within 30 s")


@pytest.fixture(scope="session")
def base(tmp_path_factory):
    """URL of the server."""
    if os.environ.get("FG_TEST_URL"):
        yield os.environ["FG_TEST_URL"].rstrip("/")
        return
    binary = find_binary()
    if not (CACHE / "models" / MODEL_FILE).is_file():
        pytest.skip(f"{MODEL_FILE} is not in the cache")
    place = tmp_path_factory.mktemp("fluxgate")
    conf, log, port = place / "fluxgate.yaml", place / "log", free_port()
    conf.write_text(f"models:\n  directories:\n    - {CACHE / 'models'}\n")
    with open(log, "w") as out:
        process = subprocess.Popen(
            [binary, "serve", "--config", conf, "--port", str(port)], stdout=out, stderr=out
        )
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until_up(url, process, log)
        yield url
    finally:
        process.terminate()
        try:
            code = process.wait(40)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    assert code == 0, f"exit code {code}:\n{log.read_text()[-2000:]}"


def get_json(url):
    with urllib.request.urlopen(url, timeout=30) as reply:
        return json.load(reply)


@pytest.fixture(scope="session")
def model(base):
    """Name of the small model."""
    names = [m["name"] for m in get_json(base + "/api/tags")["models"]]
    for name in names:
        if "smollm2" in name.lower():
            return name
    pytest.skip(f"no SmolLM2 among {names}")


@pytest.fixture(scope="session")
def can(base, model):
    """Its capabilities, as /api/show tells them."""
    ask = urllib.request.Request(base + "/api/show", json.dumps({"model": model}).encode())
    with urllib.request.urlopen(ask, timeout=60) as reply:
        return json.load(reply)["capabilities"]
