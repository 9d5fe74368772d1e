"""The commands of `fluxgate`, as a user and a script see them."""

import json
import os
import pty
import re
import select
import signal
import socket
import subprocess
import time

import pytest

from conftest import build

MODELS = {
    "text": "one two three",
    "models": [
        "plain",
        {"name": "endless", "tokens": 1000000, "tokens_per_s": 200},
        {"name": "heavy", "load_ms": 1200},
        {"name": "rude", "text": "red \x1b[31m bell \x07 end"},
        {"name": "broken", "load_error": "tensor blk.0 is missing"},
    ],
}


@pytest.fixture(scope="module")
def server(start):
    backend = {"name": "fake", "plugin": "fake", "isolate": False, "options": MODELS}
    with start(backends=[backend]) as one:
        one.need_fake()
        yield one


def environment(server=None, **more):
    env = {k: v for k, v in os.environ.items() if not k.startswith(("FLUXGATE_", "OLLAMA_"))}
    if server:
        env["FLUXGATE_HOST"] = "%s:%d" % server.address
    env.update(more)
    return env


def cli(*args, server=None, env=None, stdin=b"", timeout=20):
    """(exit code, stdout, stderr)"""
    done = subprocess.run([build() / "bin" / "fluxgate", *args], input=stdin, capture_output=True,
                          env=env or environment(server), timeout=timeout, check=False)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


class Terminal:
    """A command at a terminal of its own."""

    def __init__(self, *args, server):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            binary = str(build() / "bin" / "fluxgate")
            os.execve(binary, [binary, *args], environment(server, TERM="xterm"))
        self.seen = ""

    def wait_for(self, pattern, seconds=10):
        deadline = time.monotonic() + seconds
        while not re.search(pattern, self.seen):
            left = deadline - time.monotonic()
            ready = left > 0 and select.select([self.fd], [], [], left)[0]
            try:
                part = os.read(self.fd, 65536) if ready else b""
            except OSError:  # the other end is closed
                part = b""
            if not part:
                pytest.fail(f"{pattern!r} did not come in {self.seen[-2000:]!r}")
            self.seen += part.decode(errors="replace")
        return self.seen

    def type(self, text):
        self.seen = ""
        os.write(self.fd, text.encode())

    def end(self, seconds=10):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                os.close(self.fd)
                return os.waitstatus_to_exitcode(status)
            if select.select([self.fd], [], [], 0.02)[0]:
                try:
                    os.read(self.fd, 65536)
                except OSError:
                    pass
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        pytest.fail("the command did not end")


# ---- what needs no server ----------------------------------------------------------------------


def test_version_and_help_go_to_stdout():
    assert re.fullmatch(r"fluxgate \d+\.\d+\.\d+ \(plugin contract \d+\.\d+\)\n", cli("--version")[1])
    for word in ("--help", "-h", "help"):
        code, out, err = cli(word)
        assert (code, err) == (0, "")
        for command in ("serve", "run", "ls", "ps", "show", "tokenize", "--version"):
            assert f"fluxgate {command}" in out


@pytest.mark.parametrize("command", ["serve", "run", "ls", "ps", "show", "tokenize"])
def test_every_command_has_help(command):
    code, out, err = cli(command, "--help")
    assert (code, err) == (0, "")
    assert out.startswith(f"usage: fluxgate {command}")


def test_an_unknown_command_is_one_line():
    code, out, err = cli("bogus")
    assert (code, out) == (2, "")
    assert err == 'fluxgate: there is no command "bogus"; `fluxgate --help` lists them\n'
    assert cli()[0] == 2


@pytest.mark.parametrize("args", [
    ("ls", "x"), ("ps", "x"), ("show",), ("show", "a", "b"), ("tokenize", "a"), ("run",),
    ("run", "--verbose"), ("run", "--fast", "a"), ("serve", "--bogus"), ("serve", "--port"),
    ("serve", "--port", "70000"), ("serve", "--port", "x"), ("serve", "--config"),
])
def test_wrong_use_tells_the_usage(args):
    code, out, err = cli(*args)
    assert (code, out) == (2, "")
    assert "usage: " in err or "unknown option" in err


def test_no_server_is_told_with_its_address():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    for args in (("ls",), ("ps",), ("show", "m"), ("run", "m", "hi"), ("tokenize", "m", "x")):
        code, out, err = cli(*args, env=environment(FLUXGATE_PORT=str(port)))
        assert (code, out) == (3, "")
        assert err == (f"fluxgate: no server answers at http://127.0.0.1:{port} "
                       "(start one: fluxgate serve)\n")


def test_a_bad_host_is_named():
    code, _, err = cli("ls", env=environment(OLLAMA_HOST="ftp://x"))
    assert (code, err) == (2, 'fluxgate: OLLAMA_HOST: "ftp://x": the scheme must be http or https\n')


def test_check_says_whether_a_configuration_is_good(tmp_path):
    conf = tmp_path / "f.yaml"
    conf.write_text("workers: 1\n")
    assert cli("serve", "--check", "--config", conf) == (
        0, "fluxgate: the configuration is good\n", "")
    conf.write_text("workers: 1\nqueue:\n  max_waitng: 5\n")
    expected = f'fluxgate: {conf}:3: queue.max_waitng: unknown key; is "max_waiting" meant?\n'
    assert cli("serve", "--check", "--config", conf) == (2, "", expected)
    assert cli("serve", "--config", conf) == (2, "", expected)
    conf.unlink()
    assert cli("serve", "--config", conf)[2] == (
        f"fluxgate: {conf}: cannot be read: No such file or directory\n")


def test_an_address_for_others_is_refused():
    code, out, err = cli("serve", env=environment(OLLAMA_HOST="0.0.0.0"))
    assert (code, out) == (2, "")
    assert err.startswith('fluxgate: OLLAMA_HOST: "0.0.0.0" is not a loopback address')
    assert err.count("\n") == 1


def test_a_log_that_cannot_be_opened_is_one_message(tmp_path):
    conf = tmp_path / "f.yaml"
    conf.write_text(json.dumps({"log_path": str(tmp_path / "no" / "log")}))
    code, out, err = cli("serve", "--config", conf, "--port", "0")
    assert (code, out) == (2, "")
    assert err.endswith('/no/log": No such file or directory\n') and err.count("\n") == 1


# ---- with a server ------------------------------------------------------------------------------


def test_ls_lists_and_ps_shows_what_is_loaded(server):
    code, out, err = cli("ls", server=server)
    assert (code, err) == (0, "")
    assert out.splitlines()[0].split() == ["NAME", "ID", "SIZE", "QUANT", "MODIFIED"]
    assert {"plain:latest", "endless:latest"} <= {line.split()[0] for line in out.splitlines()[1:]}
    assert cli("run", "plain", "hi", server=server)[0] == 0
    code, out, err = cli("ps", server=server)
    assert (code, err) == (0, "")
    assert "plain:latest" in out


def test_run_streams_one_answer(server):
    code, out, err = cli("run", "plain", "say", "something", server=server)
    assert (code, out, err) == (0, "one two three\n", "")


def test_run_reads_the_prompt_from_a_pipe(server):
    assert cli("run", "plain", server=server, stdin=b"say something") == (0, "one two three\n", "")
    assert cli("run", "plain", server=server) == (2, "", "fluxgate: the prompt is empty\n")
    assert cli("run", "plain", server=server, stdin=b"a\0b")[0] == 2
    code, out, err = cli("run", "plain", server=server, stdin=b"\xff\xfe")
    assert (code, out, err) == (2, "", "fluxgate: the prompt is not UTF-8 text\n")


def test_run_takes_dashes_behind_the_model_as_text_after_two_dashes(server):
    assert cli("run", "plain", "--", "-1 + 1", server=server)[0] == 0
    assert cli("run", "plain", "what is", "--verbose", server=server)[0] == 0


def test_verbose_tells_the_speed_on_stderr(server):
    code, out, err = cli("run", "--verbose", "plain", "hi", server=server)
    assert (code, out) == (0, "one two three\n")
    assert re.fullmatch(r"prompt \d+ tokens, [\d.]+/s; answer 3 tokens, [\d.]+/s; whole [\d.]+ s\n",
                        err)


def test_an_unknown_model_is_one_message(server):
    for args in (("run", "nope", "hi"), ("show", "nope"), ("tokenize", "nope", "x")):
        code, out, err = cli(*args, server=server)
        assert (code, out) == (1, "")
        assert err.startswith("fluxgate: ") and "nope" in err and err.count("\n") == 1


def test_a_model_that_does_not_load_is_one_message(server):
    code, out, err = cli("run", "broken", "hi", server=server)
    assert (code, out) == (1, "")
    assert "tensor blk.0 is missing" in err and err.count("\n") == 1


def test_show_and_tokenize_print_tables(server):
    code, out, err = cli("show", "plain", server=server)
    assert (code, err) == (0, "")
    assert out.startswith("plain\n") and "capabilities" in out
    code, out, err = cli("tokenize", "plain", "one two", server=server)
    assert (code, err) == (0, "")
    rows = [line.split(None, 1) for line in out.splitlines()]
    assert "".join(json.loads(piece) for _, piece in rows) == "one two"
    assert all(number.isdigit() for number, _ in rows)


def test_an_answer_cannot_steer_the_terminal(server):
    code, out, err = cli("run", "rude", "hi", server=server)
    assert (code, out, err) == (0, "red ?[31m bell ? end\n", "")


def test_a_client_that_leaves_ends_its_answer(server):
    process = subprocess.Popen([build() / "bin" / "fluxgate", "run", "endless", "hi"],
                               stdout=subprocess.PIPE, env=environment(server))
    assert process.stdout.read(10)
    process.send_signal(signal.SIGINT)
    assert process.wait(5) == -signal.SIGINT
    process.stdout.close()
    deadline = time.monotonic() + 5
    while server.metric("fluxgate_jobs_now") and time.monotonic() < deadline:
        time.sleep(0.02)
    assert server.metric("fluxgate_jobs_now") == 0


def test_a_conversation_at_a_terminal(server):
    t = Terminal("run", "plain", server=server)
    t.wait_for(r"(?s)Talk to plain.*>>> ")
    t.type("hello\n")
    t.wait_for(r"one two three\r\n>>> ")
    t.type('"""first\n')
    t.wait_for(r"\.\.\. ")
    t.type('second"""\n')
    t.wait_for(r"one two three\r\n>>> ")
    t.type("/clear\n")
    t.wait_for(r">>> ")
    t.type("\n")
    t.wait_for(r">>> ")
    t.type("/bye\n")
    assert t.end() == 0


def test_ctrl_d_ends_a_conversation(server):
    t = Terminal("run", "plain", server=server)
    t.wait_for(r">>> ")
    t.type("\x04")
    assert t.end() == 0


def test_ctrl_c_ends_the_answer_and_not_the_conversation(server):
    t = Terminal("run", "endless", server=server)
    t.wait_for(r">>> ")
    t.type("hello\n")
    t.wait_for(r"one two three")
    t.type("\x03")
    t.wait_for(r">>> ")
    t.type("\x03")  # at the prompt it is nothing
    t.wait_for(r">>> ")
    t.type("/bye\n")
    assert t.end() == 0


def test_loading_shows_a_sign_of_life_at_a_terminal_only(server):
    t = Terminal("run", "heavy", "hi", server=server)
    t.wait_for(r"loading heavy \.\.\. \d\.\d s")
    t.wait_for(r"one two three")
    assert t.end() == 0
    assert cli("run", "heavy", "hi", server=server) == (0, "one two three\n", "")


def test_an_idle_gateway_is_small_and_starts_at_once(start):
    with start() as one:
        maps = open(f"/proc/{one.process.pid}/maps").read()
        if re.search(r"lib[at]san|lib[ut]bsan", maps) or "san" in build().name:
            pytest.skip("a sanitizer's own memory is not ours")
        status = open(f"/proc/{one.process.pid}/status").read()
        assert int(re.search(r"VmRSS:\s+(\d+)", status).group(1)) < 10 * 1024
        assert "libcurl" not in maps  # only the commands that ask a server load it
