"""Folder of this session, and the two gateways: `near` asks `far`, which has the fake backend."""

import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from rig import eventually, remote, running  # noqa: E402

FAKE = {
    "name": "fake", "plugin": "fake", "isolate": False,
    "options": {
        "models": [
            "plain",
            {"name": "slow", "first_ms": 50, "tokens_per_s": 50, "tokens": 50},
            {"name": "late", "first_ms": 60000},
            {"name": "endless", "tokens": 1000000, "context": 1048576},
        ]
    },
}


@pytest.fixture(scope="session")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("upstream")


@pytest.fixture(scope="session")
def far(place):
    with running(place, [FAKE]) as gateway:
        assert eventually(lambda: "plain:latest" in gateway.models(), 10)
        yield gateway


@pytest.fixture(scope="session")
def near(place, far):
    with running(place, [remote(far.url + "/v1", prefix="r/", models={"renamed": "plain"},
                                discover=True)]) as gateway:
        assert eventually(lambda: "r/plain:latest" in gateway.models(), 10)
        yield gateway
