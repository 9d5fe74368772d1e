"""A plugin author's road: an installed Fluxgate, the template copied out of the tree, built, checked
and served."""

import os
import pathlib
import shutil
import subprocess

import pytest
from conftest import Gateway, build
from wire import get, post

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


def run(*command, **options):
    done = subprocess.run(
        [str(part) for part in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
        **options,
    )
    return done.returncode, done.stdout


@pytest.fixture(scope="module")
def prefix(tmp_path_factory):
    """Where `cmake --install` has put what was built; where not all was, what an author needs."""
    place = tmp_path_factory.mktemp("prefix")
    code, text = run("cmake", "--install", build(), "--prefix", place)
    if code != 0 and "cannot find" in text:
        for part in ("sdk", "plugins/fake", "gateway"):
            code, text = run("cmake", f"-DCMAKE_INSTALL_PREFIX={place}", "-P",
                             build() / part / "cmake_install.cmake")
            if code != 0 and "cannot find" in text:
                pytest.skip(f"not everything of {part} was built")
    assert code == 0, text
    return place


@pytest.fixture(scope="module")
def module(prefix, tmp_path_factory):
    """echo.so, built far from the tree from nothing but its folder and the installed headers."""
    place = tmp_path_factory.mktemp("author") / "echo"
    shutil.copytree(ROOT / "sdk" / "template", place)
    code, text = run("cmake", "-S", place, "-B", place / "build", f"-DFLUXGATE_PREFIX={prefix}")
    assert code == 0, text
    code, text = run("cmake", "--build", place / "build", "--verbose")
    assert code == 0, text
    assert str(ROOT) not in text, "the build outside the tree looks into the tree"
    return place / "build" / "echo.so"


def test_what_an_author_needs_is_installed(prefix):
    wanted = ["include/fluxgate/plugin.h", "include/fluxgate/ext/inspect.h", "bin/fluxgate",
              "bin/fg-plugin-host", "bin/fg-plugin-check", "lib/fluxgate/echo.so",
              "lib/fluxgate/fake.so", "lib/pkgconfig/fluxgate-sdk.pc"]
    assert [path for path in wanted if not (prefix / path).is_file()] == []


def test_the_template_builds_through_pkg_config(prefix, tmp_path):
    env = dict(os.environ, PKG_CONFIG_PATH=str(prefix / "lib/pkgconfig"))
    code, text = run("cmake", "-S", ROOT / "sdk/template", "-B", tmp_path, env=env)
    assert code == 0, text
    code, text = run("cmake", "--build", tmp_path, env=env)
    assert code == 0, text
    assert (tmp_path / "echo.so").is_file()


def test_the_template_builds_with_one_line(prefix, tmp_path):
    code, text = run("cc", "-shared", "-fPIC", "-fvisibility=hidden", "-D_GNU_SOURCE", "-Wall",
                     "-Wextra", "-Werror", f"-I{prefix}/include", ROOT / "sdk/template/echo.c",
                     "-o", tmp_path / "echo.so", "-lm", "-pthread")
    assert code == 0, text


def test_the_copied_template_keeps_the_contract(prefix, module):
    code, text = run(prefix / "bin/fg-plugin-check", module.name, cwd=module.parent)
    assert code == 0, text
    assert "\n# " in text and " 0 broken" in text


@pytest.mark.parametrize("isolate", [True, False])
def test_the_gateway_serves_the_copied_template(prefix, module, tmp_path, isolate):
    keys = {"backends": [{"name": "mine", "plugin": str(module), "isolate": isolate}]}
    gateway = Gateway(tmp_path, **keys)
    gateway.binary = prefix / "bin/fluxgate"
    gateway.has_fake = False  # the first request waits by itself until backends have told
    gateway.start()
    try:
        body = {"model": "echo", "messages": [{"role": "user", "content": "one two three"}]}
        reply = gateway.ask(post(b"/v1/chat/completions", body))
        assert reply.status == 200, reply.body
        answer = reply.json()
        assert answer["choices"][0]["message"]["content"] == "one two three"
        assert answer["usage"]["completion_tokens"] == 3
        assert reply.headers["x-fluxgate-backend"] == "mine"
        listed = gateway.ask(get(b"/api/tags")).json()
        assert [model["name"] for model in listed["models"]] == ["echo:latest"]
    finally:
        gateway.stop()
