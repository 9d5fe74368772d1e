"""Starts real gateways: one with the defaults, others with what a test asks for."""

import contextlib
import json
import os
import pathlib
import subprocess
import sys
import time

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from wire import Wire, get  # noqa: E402


def build():
    place = pathlib.Path(os.environ.get("FG_TEST_BIN", ""))
    if not os.environ.get("FG_TEST_BIN") or not (place / "bin" / "fluxgate").is_file():
        pytest.skip("FG_TEST_BIN names no build folder with bin/fluxgate")
    return place.resolve()


FAKE_OPTIONS = {
    "models": [
        "plain",
        {"name": "slow", "first_ms": 50, "tokens_per_s": 50, "tokens": 50},
        {"name": "late", "first_ms": 60000},
        {"name": "endless", "tokens": 1000000, "context": 1048576},
    ]
}


class Gateway:
    def __init__(self, place, **keys):
        self.binary = build() / "bin" / "fluxgate"
        self.has_fake = (build() / "lib" / "fluxgate" / "fake.so").is_file()
        keys.setdefault("listen", [{"address": "127.0.0.1", "port": 0}])
        keys.setdefault("workers", 2)
        keys.setdefault("models", {"directories": [str(place)], "stores": []})
        backend = {"name": "fake", "plugin": "fake", "isolate": False, "options": FAKE_OPTIONS}
        keys.setdefault("backends", [backend])
        self.conf = place / f"fluxgate-{time.monotonic_ns()}.yaml"
        self.conf.write_text(json.dumps(keys))
        self.log = self.conf.with_suffix(".log")

    def start(self):
        self.err = open(self.log, "wb")
        self.process = subprocess.Popen(
            [self.binary, "serve", "--config", self.conf], stdout=subprocess.PIPE, stderr=self.err
        )
        line = self.process.stdout.readline().decode()
        if "listening on http://127.0.0.1:" not in line:
            self.process.wait(10)
            pytest.fail(f"fluxgate did not start: {line}{self.log.read_text()[-2000:]}")
        self.address = ("127.0.0.1", int(line.rsplit(":", 1)[1]))
        if self.has_fake:  # backends open beside the listening
            eventually(lambda: b"plain" in self.ask(get(b"/v1/models")).body, 10)
        return self

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
        try:
            code = self.process.wait(45)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        finally:
            self.process.stdout.close()
            self.err.close()
        assert code == 0, f"exit code {code}:\n{self.log.read_text()[-4000:]}"

    def wire(self, **options):
        return Wire(self.address, **options)

    def ask(self, data, **options):
        """One request on its own connection."""
        with self.wire() as wire:
            return wire.send(data).reply(**options)

    def health(self):
        return self.ask(get(b"/api/fluxgate/health")).json()

    def metric(self, name):
        page = self.ask(get(b"/metrics")).body.decode()
        for line in page.splitlines():
            if line.startswith(name + " ") or line.startswith(name + "{"):
                return float(line.rsplit(" ", 1)[1])
        return 0.0

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def need_fake(self):
        if not self.has_fake:
            pytest.skip("lib/fluxgate/fake.so is not built")


def eventually(check, seconds=2.0):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if check():
            return True
        time.sleep(0.01)
    return check()


@pytest.fixture(scope="session")
def start(tmp_path_factory):
    """start(key=value...) as a context: a gateway with these keys of the configuration."""

    @contextlib.contextmanager
    def run(**keys):
        gateway = Gateway(tmp_path_factory.mktemp("fluxgate"), **keys).start()
        try:
            yield gateway
        finally:
            gateway.stop()

    return run


@pytest.fixture(scope="session")
def gateway(start):
    """The defaults. In the end nothing may be left over."""
    with start() as one:
        one.ask(get(b"/"))
        before = one.descriptors()
        yield one
        assert eventually(lambda: one.health()["connections"] <= 1, 5)
        assert eventually(lambda: one.descriptors() <= before, 5)


@pytest.fixture(scope="session")
def strict(start):
    """Short limits and timeouts."""
    limits = {
        "body_bytes": 100000,
        "head_timeout_ms": 300,
        "idle_timeout_ms": 500,
        "body_idle_timeout_ms": 300,
        "write_timeout_ms": 300,
        "unsent_bytes": 65536,
    }
    with start(limits=limits) as one:
        yield one
