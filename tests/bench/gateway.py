#!/usr/bin/env python3
"""The HTTP side beside nginx: CPU time a request, start, idle memory, many connections.

Ours answers from the fake plugin (no upstream yet), so what it does per request is what the gateway
costs by itself: parse, check, route, queue, job, reply. nginx proxies the same request to a mock
upstream. The load tool and the mock are the project's peers/ (FLUXGATE_PEERS names the folder).
"""
import argparse
import os
import pathlib
import re
import shutil
import socket
import subprocess
import time

from common import Server, fluxgate, free_port, median, row, verdict

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
PEERS = pathlib.Path(os.environ.get("FLUXGATE_PEERS", ROOT.parent / "shared" / "peers"))

NGINX = """
worker_processes 1; daemon off; pid {dir}/nginx.pid; error_log {dir}/error.log crit;
events {{ worker_connections 8192; }}
http {{ access_log off; client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy;
  fastcgi_temp_path {dir}/f; uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s;
  client_max_body_size 32m; client_body_buffer_size 1m; keepalive_requests 1000000;
  upstream mock {{ server 127.0.0.1:9100; keepalive 1024; keepalive_requests 1000000; }}
  server {{ listen 127.0.0.1:{port} backlog=4096;
    location / {{ proxy_pass http://mock; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_buffering off; proxy_request_buffering on; }} }} }}
"""


def fields(line):
    return {key: value for key, value in re.findall(r"(\w+)=([-\d.]+)", line)}


def measure(port, name, metrics, pid, env):
    done = subprocess.run(["bash", str(PEERS / "run.sh"), f"http://127.0.0.1:{port}", name],
                          env=dict(env, METRICS=" ".join(metrics), GWPID=str(pid)),
                          stdout=subprocess.PIPE, check=False)
    found = {}
    for line in done.stdout.decode().splitlines():
        metric = re.search(r"metric=(\w+)", line)
        if metric:
            found[metric.group(1)] = fields(line)
    return found


def compare(build, rounds, work):
    nginx_port = free_port()
    conf = work / "nginx.conf"
    conf.write_text(NGINX.format(dir=work, port=nginx_port))
    config = ("workers: 1\nbackends:\n  - name: fake\n    plugin: fake\n    isolate: false\n"
              "    options: {models: [mock], max_running: 4096, stamps: true, text: \"" + "ten chars. " * 8 + "\"}\n")
    command, port, env = fluxgate(build, work, config)
    metrics = ["c1", "c32", "c256", "b16k", "b256k", "s32", "rss"]
    ours, theirs = [], []
    tools = dict(os.environ, BIN=str(work / "bin"), DUR="2", MODEL="mock")
    binary = shutil.which("nginx") or "/usr/sbin/nginx"
    subprocess.run(["mkdir", "-p", str(work / "bin")], check=True)
    for tool in ("mock", "streamload"):
        subprocess.run(["gcc", "-O2", "-o", str(work / "bin" / tool), str(PEERS / f"{tool}.c")],
                       check=True)
    mock = subprocess.Popen(["taskset", "-c", "0", str(work / "bin/mock"), "9100"])
    try:
        with Server(["taskset", "-c", "1", *command], port, "/", env) as us, \
                Server(["taskset", "-c", "1", binary, "-c", str(conf), "-p", str(work)],
                       nginx_port, "/stats") as them:
            for _ in range(rounds):
                theirs.append(measure(nginx_port, "nginx", metrics, them.process.pid, tools))
                ours.append(measure(port, "fluxgate", metrics, us.process.pid, tools))
    finally:
        mock.terminate()
        mock.wait()
    row("CPU a request, us (gateway / nginx proxy)", "fluxgate", "nginx", "ratio")
    for metric in ("c1", "c32", "c256", "b16k", "b256k"):
        us_cpu = median([float(r[metric]["cpu_us_req"]) for r in ours])
        ng_cpu = median([float(r[metric]["cpu_us_req"]) for r in theirs])
        bad = sum(int(r[metric]["errs"]) + int(r[metric]["non2xx"]) for r in ours)
        row(metric, f"{us_cpu:.1f}", f"{ng_cpu:.1f}", f"{ng_cpu / us_cpu:.2f}",
            f"errors={bad}" if bad else "")
    us_cpu = median([float(r["s32"]["cpu_s_per_Mchunk"]) for r in ours])
    ng_cpu = median([float(r["s32"]["cpu_s_per_Mchunk"]) for r in theirs])
    row("s32: CPU s a million streamed chunks", f"{us_cpu:.2f}", f"{ng_cpu:.2f}",
        f"{ng_cpu / us_cpu:.2f}")


def idle(build, work):
    command, port, env = fluxgate(build, work / "none")
    starts = []
    for _ in range(5):
        with Server(command, port, "/", env) as server:
            starts.append(server.ready_s * 1000)
            time.sleep(1.5)
            pids = server.pids()
            own = int(re.search(r"VmRSS:\s+(\d+)", pathlib.Path(
                f"/proc/{pids[0]}/status").read_text()).group(1)) / 1024
            resident = server.resident_mb()
    start = median(starts)
    row("start to first answer, ms (must 50, goal 20)", f"{start:.1f}", "", "", "", "",
        verdict(1 / start, 1 / 50, 1 / 20))
    row("idle resident MB, gateway (must 10, goal 5)", f"{own:.1f}", "", "", "", "",
        verdict(1 / own, 1 / 10, 1 / 5))
    row("idle resident MB with the engine's child", f"{resident:.1f}")


def many_connections(build, work, count=4000):
    command, port, env = fluxgate(build, work / "none", "limits: {connections: 8192, "
                                  "connections_per_address: 8192}\n")
    with Server(command, port, "/", env) as server:
        before = server.resident_mb()
        held = []
        for _ in range(count):
            held.append(socket.create_connection(("127.0.0.1", port)))
        for one in held:
            one.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        answered = sum(1 for one in held if b"200" in one.recv(4096))
        each = (server.resident_mb() - before) * 1024 / count
        row(f"{count} idle connections, KiB each (must 64)", f"{each:.1f}", "", "",
            f"{answered} served")
        for one in held:
            one.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("build", type=pathlib.Path)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    work = args.build.resolve() / "bench"
    (work / "none").mkdir(parents=True, exist_ok=True)
    idle(args.build.resolve(), work)
    many_connections(args.build.resolve(), work)
    if PEERS.is_dir():
        compare(args.build.resolve(), args.rounds, work)
    else:
        print("the peers' tools are not here (FLUXGATE_PEERS): nginx is not compared")


main()
