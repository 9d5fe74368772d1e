#!/usr/bin/env python3
"""fg-plugin-check over openai.so; a real gateway with the fake backend is its server. Prints TAP.

usage: openai_test.py BUILD

So the client, its threads and its jobs walk through the contract under the sanitizers as well.
"""
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import urllib.request

BUILD = pathlib.Path(sys.argv[1]).resolve()
FAKE = {"models": ["plain"], "max_running": 512}
CAN = ["chat", "complete", "embed", "logprobs"]


def start(place):
    conf = pathlib.Path(place) / "fluxgate.yaml"
    conf.write_text(json.dumps({
        "listen": [{"address": "127.0.0.1", "port": 0}],
        "models": {"directories": [], "stores": []},
        "backends": [{"name": "fake", "isolate": False, "options": FAKE}]}))
    server = subprocess.Popen([BUILD / "bin/fluxgate", "serve", "--config", conf],
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    url = "http://" + server.stdout.readline().decode().split("http://")[1].strip()
    for _ in range(500):
        if b"plain" in urllib.request.urlopen(url + "/v1/models", timeout=10).read():
            break
        time.sleep(0.02)
    return server, url


def main():
    module = BUILD / "lib/fluxgate/openai.so"
    runs = {"kept connections": {}, "a connection for each request": {"keep_connections": 0}}
    print(f"1..{len(runs)}")
    failed = 0
    with tempfile.TemporaryDirectory() as place:
        server, url = start(place)
        try:
            for number, (name, options) in enumerate(runs.items(), 1):
                config = dict(options, base_url=url + "/v1", max_running=64, can=CAN)
                done = subprocess.run(
                    [BUILD / "bin/fg-plugin-check", module, "--config", json.dumps(config),
                     "--model", "plain:latest"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                    stdin=subprocess.DEVNULL, timeout=600, check=False)
                text = done.stdout.decode(errors="replace")
                kept = len(re.findall(r"^ok \d+ - (?!.*# SKIP)", text, re.M))
                good = done.returncode == 0 and kept >= 40
                failed += not good
                print(f"{'ok' if good else 'not ok'} {number} - openai keeps the contract with {name}")
                if not good:
                    print("".join(f"# {line}\n" for line in text.splitlines()[-60:]))
        finally:
            server.terminate()
            code = server.wait(60)
    sys.exit(1 if failed or code else 0)


main()
