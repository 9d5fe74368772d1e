#!/usr/bin/env python3
"""The CPU engine beside llama.cpp on the same files, in alternating runs.

Ratios are ours to theirs for tokens/s and theirs to ours for time and memory, so that more is
better everywhere. Peers that are not built are left out with one line.
"""
import argparse
import json
import os
import pathlib
import re
import subprocess
import time
import urllib.request

from common import (CACHE, PEER, Server, concurrent_chats, fluxgate, free_port, median, peer_env,
                    prompt_of, row, verdict)

SMOL = CACHE / "models/SmolLM2-135M-Instruct.Q4_1.gguf"
GEMMA = CACHE / "models/gemma-3-270m-q4_k_m.gguf"
GOALS = {  # (must, goal) of tg128 and pp512
    SMOL: ((1.3, 1.6), (2.0, 4.0)),
    GEMMA: ((1.2, 1.5), (1.3, 1.8)),
}
OTHERS = ((1.0, 1.3), (1.0, 1.5))


def ours(build, model, threads):
    done = subprocess.run([str(build / "bin/fg-cpu-bench"), "-m", str(model), "-p", "512", "-n",
                           "128", "-t", str(threads)], capture_output=True, text=True, check=True)
    return {name: float(value) for name, value in
            re.findall(r"^(pp\d+|tg\d+).*tokens_per_s=([\d.]+)", done.stdout, re.M)}


def theirs(model, threads):
    done = subprocess.run([str(PEER / "llama-bench"), "-m", str(model), "-p", "512", "-n", "128",
                           "-r", "1", "-t", str(threads), "-o", "json"], env=peer_env(),
                          capture_output=True, text=True, check=True)
    return {("pp512" if test["n_prompt"] else "tg128"): test["avg_ts"]
            for test in json.loads(done.stdout)}


def speed(build, models, rounds, thread_counts):
    row("tokens/s: model, threads, test", "fluxgate", "llama.cpp", "ratio", "must", "goal")
    for model in models:
        for threads in thread_counts:
            mine, other = [], []
            for _ in range(rounds):
                mine.append(ours(build, model, threads))
                other.append(theirs(model, threads))
            for test, (must, goal) in zip(("tg128", "pp512"), GOALS.get(model, OTHERS)):
                us = median([run[test] for run in mine])
                them = median([run[test] for run in other])
                row(f"{model.stem}, {threads}, {test}", f"{us:.1f}", f"{them:.1f}",
                    f"{us / them:.2f}", must, goal, verdict(us / them, must, goal))


def streams(build, model, rounds):
    peer_port = free_port()
    command, port, env = fluxgate(build, model.parent, "")
    peer = [str(PEER / "llama-server"), "-m", str(model), "-t", "2", "-np", "8", "-c", "8192",
            "--jinja", "--no-webui", "--port", str(peer_port)]
    name = model_name(model)
    with Server(command, port, "/", env) as us, Server(peer, peer_port, "/health", peer_env()) as them:
        concurrent_chats(port, name, 1, tokens=8)
        concurrent_chats(peer_port, name, 1, tokens=8)
        for clients in (1, 4, 8):
            mine, other = [], []
            for turn in range(rounds):
                mine.append(concurrent_chats(port, name, clients, salt=turn))
                other.append(concurrent_chats(peer_port, name, clients, salt=turn))
            us_sum, them_sum = median([r[0] for r in mine]), median([r[0] for r in other])
            us_first, them_first = median([r[1] for r in mine]), median([r[1] for r in other])
            goals = (1.5, 2.3) if clients == 8 else (1.0, 1.5)
            row(f"{model.stem}: {clients} streams, tokens/s in sum", f"{us_sum:.1f}",
                f"{them_sum:.1f}", f"{us_sum / them_sum:.2f}", *goals,
                verdict(us_sum / them_sum, *goals))
            row(f"  first token, ms (median of {clients})", f"{us_first:.0f}", f"{them_first:.0f}",
                f"{them_first / us_first:.2f}", 2.0, 3.33, verdict(them_first / us_first, 2.0, 3.33))
        row("  resident MB after 8 streams, gateway and child", f"{us.resident_mb():.0f}",
            f"{them.resident_mb():.0f}", f"{them.resident_mb() / us.resident_mb():.2f}", 1.0, "",
            verdict(them.resident_mb() / us.resident_mb(), 1.0, 9))


def model_name(model):
    stem = model.stem.lower()
    return {"smollm2-135m-instruct.q4_1": "smollm2-135m-instruct:q4_1",
            "gemma-3-270m-q4_k_m": "gemma-3-270m:q4_k_m"}.get(stem, stem)


def ask(port, path, body):
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", json.dumps(body).encode())
    with urllib.request.urlopen(request, timeout=120) as reply:
        return json.load(reply)


def start_to_ready(build, model, rounds, must_s, goal_s):
    times, peers = [], []
    for _ in range(rounds):
        command, port, env = fluxgate(build, model.parent)
        with Server(command, port, "/", env) as server:
            ask(port, "/api/generate", {"model": model_name(model), "prompt": "Hi",
                                        "options": {"num_predict": 1}, "stream": False})
            times.append(time.monotonic() - server.began)
        peer_port = free_port()
        with Server([str(PEER / "llama-server"), "-m", str(model), "-t", "2", "--no-webui", "--port",
                     str(peer_port)], peer_port, "/health", peer_env()) as peer:
            peers.append(peer.ready_s)
    us = median(times)
    row(f"{model.stem}: start to first token, s", f"{us:.2f}", f"{median(peers):.2f}",
        f"{median(peers) / us:.2f}", must_s, goal_s, verdict(1 / us, 1 / must_s, 1 / goal_s))


def cached_prefix(build, model, rounds):
    command, port, env = fluxgate(build, model.parent)
    name = model_name(model)
    with Server(command, port, "/", env):
        ratios = []
        for turn in range(rounds):
            body = {"model": name, "prompt": prompt_of(360, turn), "stream": False, "raw": True,
                    "options": {"num_predict": 32, "temperature": 0}}
            ask(port, "/api/generate", body)
            again = ask(port, "/api/generate", body)
            step = again["eval_duration"] / max(1, again["eval_count"] - 1)
            ratios.append(again["prompt_eval_duration"] / step)
    value = median(ratios)
    row(f"{model.stem}: cached prefix of {again['prompt_eval_count']}, steps to first token",
        f"{value:.2f}", "", "", 1.5, 1.1, verdict(1 / value, 1 / 1.5, 1 / 1.1))


def busy_neighbour(build, model, rounds):
    alone, beside = [], []
    for _ in range(rounds):
        alone.append(ours(build, model, 1)["tg128"])
        neighbour = subprocess.Popen(["sh", "-c", "while :; do :; done"])
        try:
            beside.append(ours(build, model, 2)["tg128"])
        finally:
            neighbour.kill()
            neighbour.wait()
    ratio = median(beside) / median(alone)
    row(f"{model.stem}: 2 threads beside a busy one / 1 alone", f"{median(beside):.1f}",
        f"{median(alone):.1f}", f"{ratio:.2f}", 1.0, 1.3, verdict(ratio, 1.0, 1.3))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("build", type=pathlib.Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="speed, others, streams, load, prefix, neighbour")
    args = parser.parse_args()
    build = args.build.resolve()
    models = [model for model in (SMOL, GEMMA) if model.exists()]
    peer = (PEER / "llama-bench").exists()
    if not peer:
        print("llama.cpp is not built (script/setup --bench): only our own figures can be had")
        return
    wanted = args.only.split(",") if args.only else ["speed", "others", "streams", "load", "prefix",
                                                     "neighbour"]
    if "speed" in wanted:
        speed(build, models, args.rounds, (1, 2))
    if "others" in wanted:
        speed(build, sorted((CACHE / "quants").glob("*.gguf")), args.rounds, (2,))
    for model in models:
        if "streams" in wanted:
            streams(build, model, args.rounds)
        if "load" in wanted:
            start_to_ready(build, model, args.rounds, *((0.4, 0.15) if model == SMOL else (0.8, 0.4)))
        if "prefix" in wanted:
            cached_prefix(build, model, args.rounds)
        if "neighbour" in wanted:
            busy_neighbour(build, model, args.rounds)


main()
