"""What the benchmarks share: starting servers, reading /proc, streaming a chat, tables."""
import http.client
import json
import os
import pathlib
import signal
import socket
import statistics
import subprocess
import threading
import time

CACHE = pathlib.Path(os.environ.get("FLUXGATE_CACHE",
                                    pathlib.Path.home() / ".cache" / "fluxgate"))
PEER = CACHE / "peers" / "llama"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def peer_env():
    return dict(os.environ, LD_LIBRARY_PATH=str(PEER))


class Server:
    """A process that serves HTTP on a loopback port, ended with its block."""

    def __init__(self, command, port, ready_path, env=None):
        self.began = time.monotonic()
        self.port = port
        self.process = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.ready_s = self.wait(ready_path)

    def wait(self, path):
        while time.monotonic() - self.began < 60:
            try:
                connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
                connection.request("GET", path)
                if connection.getresponse().status == 200:
                    return time.monotonic() - self.began
            except OSError:
                pass
            if self.process.poll() is not None:
                raise RuntimeError(f"the server ended with {self.process.returncode}")
            time.sleep(0.002)
        raise RuntimeError("the server was not ready within 60 s")

    def pids(self):
        found, open_ones = [], [self.process.pid]
        while open_ones:
            pid = open_ones.pop()
            found.append(pid)
            for task in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
                open_ones += [int(child) for child in task.read_text().split()]
        return found

    def resident_mb(self):
        total = 0
        for pid in self.pids():
            for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
                if line.startswith("VmRSS"):
                    total += int(line.split()[1])
        return total / 1024

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def fluxgate(build, model_dir, config="", **env):
    """Our gateway over one directory of models; config is added to the file."""
    port = free_port()
    path = build / f"bench-{port}.yaml"
    path.write_text(f"models:\n  directories: [{model_dir}]\n{config}")
    command = [str(build / "bin/fluxgate"), "serve", "--config", str(path), "--port", str(port)]
    clean = {key: value for key, value in os.environ.items() if not key.startswith("OLLAMA_")}
    return command, port, dict(clean, **env)


def stream_chat(port, model, prompt, tokens):
    """One streamed chat of exactly `tokens` tokens; (first token s, whole s, chunks)."""
    body = json.dumps({"model": model, "stream": True, "max_tokens": tokens, "temperature": 0,
                       "ignore_eos": True, "cache_prompt": False,
                       "messages": [{"role": "user", "content": prompt}]})
    began = time.monotonic()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    connection.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
    reply = connection.getresponse()
    if reply.status != 200:
        raise RuntimeError(f"status {reply.status}: {reply.read()[:300]}")
    first, chunks, done = None, 0, False
    for line in reply:
        if line.startswith(b"data: [DONE]"):
            done = True
        elif line.startswith(b"data: "):
            event = json.loads(line[6:])
            if event.get("choices") and event["choices"][0]["delta"].get("content"):
                first = first or time.monotonic() - began
                chunks += 1
    if not done:
        raise RuntimeError("the stream ended without [DONE]")
    return first, time.monotonic() - began, chunks


WORDS = ("river stone lantern harbour copper winter signal meadow engine violet anchor paper "
         "garden thunder mirror velvet island market shadow timber").split()


def prompt_of(words, salt):
    return f"Story {salt}: " + " ".join(WORDS[(i * 7 + salt * 3) % len(WORDS)] for i in range(words))


def concurrent_chats(port, model, clients, tokens=96, words=42, salt=0):
    """(tokens/s in sum, median first token ms, worst first token ms)"""
    results, errors = [None] * clients, []

    def one(i):
        try:
            results[i] = stream_chat(port, model, prompt_of(words, salt * 100 + i), tokens)
        except (RuntimeError, OSError) as error:
            errors.append(error)

    threads = [threading.Thread(target=one, args=(i,)) for i in range(clients)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    whole = time.monotonic() - began
    first = [1000 * result[0] for result in results]
    return clients * tokens / whole, statistics.median(first), max(first)


def median(values):
    return statistics.median(values)


def row(*cells):
    widths = (46, 12, 12, 8, 8, 8, 8)
    print("  ".join(f"{cell:<{width}}" if i == 0 else f"{cell:>{width}}"
                    for i, (cell, width) in enumerate(zip(cells, widths))), flush=True)


def verdict(ratio, must, goal):
    return "goal" if ratio >= goal else "must" if ratio >= must else "MISS"
