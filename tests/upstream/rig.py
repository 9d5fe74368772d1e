"""Real gateways, and a server on a raw socket that misbehaves as the name of the model says."""

import contextlib
import http.client
import json
import os
import pathlib
import socket
import struct
import subprocess
import threading
import time

import pytest


def build():
    place = pathlib.Path(os.environ.get("FG_TEST_BIN", ""))
    if not os.environ.get("FG_TEST_BIN") or not (place / "bin" / "fluxgate").is_file():
        pytest.skip("FG_TEST_BIN names no build folder with bin/fluxgate")
    if not (place / "lib" / "fluxgate" / "openai.so").is_file():
        pytest.skip("lib/fluxgate/openai.so is not built")
    return place.resolve()


def is_sanitized():
    return b"__asan_" in (build() / "lib" / "fluxgate" / "openai.so").read_bytes()


def eventually(check, seconds=5.0):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if check():
            return True
        time.sleep(0.01)
    return check()


class Gateway:
    def __init__(self, place, backends, **keys):
        self.conf = place / f"fluxgate-{time.monotonic_ns()}.yaml"
        keys.setdefault("listen", [{"address": "127.0.0.1", "port": 0}])
        keys.setdefault("workers", 2)
        keys.setdefault("models", {"directories": [], "stores": []})
        self.conf.write_text(json.dumps(dict(keys, backends=backends)))
        self.log_path = self.conf.with_suffix(".log")

    def start(self, env=None):
        self.err = open(self.log_path, "wb")
        self.process = subprocess.Popen(
            [build() / "bin" / "fluxgate", "serve", "--config", self.conf],
            stdout=subprocess.PIPE, stderr=self.err, env=dict(os.environ, **(env or {})))
        line = self.process.stdout.readline().decode()
        if "listening on http://127.0.0.1:" not in line:
            self.process.wait(10)
            pytest.fail(f"fluxgate did not start: {line}{self.log()[-2000:]}")
        self.port = int(line.rsplit(":", 1)[1])
        self.url = f"http://127.0.0.1:{self.port}"
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
        assert code == 0, f"exit code {code}:\n{self.log()[-4000:]}"

    def log(self):
        return self.log_path.read_text(errors="replace")

    def ask(self, method, path, body=None, headers=None, timeout=20):
        """Status, headers, body of one request on its own connection."""
        wire = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            wire.request(method, path, json.dumps(body) if body is not None else None, headers or {})
            reply = wire.getresponse()
            try:
                data = reply.read()
            except http.client.IncompleteRead as cut:  # a broken stream, marked as such
                data = cut.partial
            return reply.status, dict(reply.getheaders()), data.decode()
        finally:
            wire.close()

    def chat(self, model, text="hi", **fields):
        body = {"model": model, "messages": [{"role": "user", "content": text}], **fields}
        return self.ask("POST", "/v1/chat/completions", body)

    def stream(self, model):
        """The socket of a streamed chat that was just asked for."""
        wire = socket.create_connection(("127.0.0.1", self.port), 10)
        body = json.dumps({"model": model, "stream": True,
                           "messages": [{"role": "user", "content": "hi"}]}).encode()
        wire.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
                     b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        return wire

    def models(self):
        return [m["id"] for m in json.loads(self.ask("GET", "/v1/models")[2])["data"]]

    def metric(self, name):
        for line in self.ask("GET", "/metrics")[2].splitlines():
            if line.startswith("fluxgate_plugin_upstream_" + name):
                return float(line.rsplit(" ", 1)[1])
        return None

    def resident_kib(self):
        for line in pathlib.Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS"):
                return int(line.split()[1])

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))


@contextlib.contextmanager
def running(place, backends, env=None, **keys):
    gateway = Gateway(place, backends, **keys).start(env)
    try:
        yield gateway
    finally:
        gateway.stop()


def remote(url, name="remote", **options):
    isolate = options.pop("isolate", False)
    return {"name": name, "plugin": "openai", "isolate": isolate,
            "options": dict({"base_url": url}, **options)}


# ---- the server --------------------------------------------------------------------------------


def head(status="200 OK", *fields):
    return "\r\n".join([f"HTTP/1.1 {status}", *fields, "", ""]).encode()


def events(*values):
    return b"".join(b"data: " + (v if isinstance(v, str) else json.dumps(v)).encode() + b"\n\n"
                    for v in values)


def delta(**members):
    return {"choices": [{"index": 0, "delta": members, "finish_reason": None}]}


def finish(reason="stop"):
    return {"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}


def chunk(data):
    return b"%x\r\n%s\r\n" % (len(data), data)


STREAM = head("200 OK", "Content-Type: text/event-stream", "Transfer-Encoding: chunked")
USAGE = {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}
GOOD = STREAM + chunk(events(delta(content="fi"), delta(content="ne"), finish(), USAGE, "[DONE]")) \
    + chunk(b"")


def error(status, message="no", *fields, **members):
    body = json.dumps({"error": dict(members, message=message)}).encode()
    return head(status, "Content-Type: application/json", f"Content-Length: {len(body)}",
                *fields) + body


class Gone(Exception):
    pass


class Server:
    """A thread a connection. act(self, conn, model, request) says what to do; without one it is
    scripts[model], bytes or a function. Returning True keeps the connection."""

    def __init__(self, scripts=None, tls=None, models=(), port=0):
        self.scripts, self.tls, self.models = scripts or {}, tls, list(models)
        self.requests, self.connections, self.left = [], 0, []
        self.socket = socket.create_server(("127.0.0.1", port))
        self.port = self.socket.getsockname()[1]
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self.port}/v1"
        self.closing = threading.Event()
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while not self.closing.is_set():
            try:
                conn, _ = self.socket.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self.serve, args=(conn,), daemon=True).start()

    def serve(self, conn):
        try:
            conn.settimeout(20)
            if self.tls:
                conn = self.tls.wrap_socket(conn, server_side=True)
            while self.one(conn):
                pass
        except (OSError, Gone):
            pass
        finally:
            conn.close()

    def one(self, conn):
        data = b""
        while b"\r\n\r\n" not in data:
            data += self.read(conn)
        top, body = data.split(b"\r\n\r\n", 1)
        fields = {k.lower(): v.strip() for k, v in
                  (line.split(":", 1) for line in top.decode().split("\r\n")[1:])}
        while len(body) < int(fields.get("content-length", 0)):
            body += self.read(conn)
        ask = {"path": top.decode().split(" ")[1], "fields": fields,
               "body": json.loads(body) if body else {}}
        self.requests.append(ask)
        if ask["path"].endswith("/models"):
            listed = json.dumps({"data": [{"id": m} for m in self.models]}).encode()
            conn.sendall(head("200 OK", "Content-Type: application/json",
                              f"Content-Length: {len(listed)}") + listed)
            return True
        script = self.scripts.get(ask["body"].get("model"), GOOD)
        if callable(script):
            return script(self, conn)
        conn.sendall(script)
        return True

    @staticmethod
    def read(conn):
        data = conn.recv(65536)
        if not data:
            raise Gone
        return data

    def chats(self):
        return [r for r in self.requests if not r["path"].endswith("/models")]

    def close(self):
        self.closing.set()
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)  # accept() would keep it open
        self.socket.close()


def reset(conn):
    conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    conn.close()


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]
