#!/usr/bin/env python3
"""What no compiler says: include directions, headers that stand alone, one symbol a module.

usage: lint.py BUILD    prints TAP
The directions are those of the design: a folder may include what is listed for it, nothing else.
"""
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
BUILD = pathlib.Path(sys.argv[1])

SDK = {"fluxgate", "util"}
LOOP = SDK | {"obs", "loop"}
BASE = LOOP | {"conf"}
MAY_INCLUDE = {
    "sdk/include": {"fluxgate"},
    "sdk/util": SDK,
    "sdk/template": {"fluxgate"},
    "gateway/obs": SDK | {"obs"},
    "gateway/conf": SDK | {"obs", "conf"},
    "gateway/loop": LOOP,
    "gateway/http": BASE | {"http"},
    "gateway/plugin": BASE | {"plugin"},
    "gateway/store": BASE | {"store"},
    "gateway/gpu": BASE | {"gpu"},
    "gateway/flow": BASE | {"plugin", "store", "gpu", "flow"},
    # api sees conf and plugin/backend.h only through flow/hub.h's types
    "gateway/api": BASE | {"flow", "http", "api", "plugin", "gpu"},
    # the table of cards is pure, and `fluxgate cards` answers without a server
    "gateway/cli": SDK | {"conf", "cli", "gpu/cards.h"},
    "plugins/engine/gguf": SDK | {"engine/gguf"},
    "plugins/engine/token": SDK | {"engine/gguf", "engine/token"},
    "plugins/engine/chat": SDK | {"engine/gguf", "engine/token", "engine/chat"},
    "plugins/engine/sample": SDK | {"engine/sample"},
    "plugins/engine/model": SDK | {"engine/gguf", "engine/model", "engine/device.h"},
    "plugins/engine/sched": SDK | {"engine/gguf", "engine/token", "engine/chat", "engine/sample",
                                   "engine/model", "engine/sched", "engine/device.h"},
    "plugins/engine": SDK | {"engine"},
    "plugins/cpu/kernels": SDK | {"engine/gguf", "cpu/kernels"},
    "plugins/cpu": SDK | {"engine", "cpu"},
    "plugins/tesla": SDK | {"engine", "tesla"},
    "plugins/fake": SDK | {"fake"},
    "plugins/upstream": SDK | {"upstream"},
    "plugins/openai": SDK | {"upstream", "openai"},
}
FORBIDDEN = re.compile(r"\b(strcpy|strcat|sprintf|vsprintf|strtok|atoi|atol|atof|alloca|gets)\s*\(")
PRIVATE = re.compile(r"(^|[\s\"'=(])/(work|farm|root)/")

results = []


def check(name, problems):
    results.append((name, problems))


def tracked(*patterns):
    listed = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard", *patterns],
                            cwd=ROOT, capture_output=True, text=True, check=True)
    return [path for path in listed.stdout.split("\n") if path and (ROOT / path).is_file()]


def text_of(path):
    return (ROOT / path).read_text(errors="replace")


def folder_rule(path):
    parts = path.split("/")[:-1]
    for length in range(len(parts), 0, -1):
        rule = MAY_INCLUDE.get("/".join(parts[:length]))
        if rule is not None:
            return rule
    return None


def known_roots():
    roots = {"fluxgate", "util", "engine", "cpu", "tesla", "fake", "upstream", "openai", "api", "cli"}
    return roots | {path.name for path in (ROOT / "gateway").iterdir() if path.is_dir()}


def include_directions():
    problems, roots = [], known_roots()
    for path in tracked("sdk/*.[ch]", "gateway/*.[ch]", "plugins/*.[ch]"):
        rule = folder_rule(path)
        if rule is None:
            continue
        for target in re.findall(r'^\s*#\s*include\s+["<]([^">]+)[">]', text_of(path), re.M):
            if target.split("/")[0] not in roots or "/" not in target:
                continue
            if not any(target == allowed or target.startswith(allowed + "/") for allowed in rule):
                problems.append(f"{path} may not include {target}")
    check("includes_follow_the_directions", problems)


def headers_alone():
    problems = []
    flags = subprocess.run(["pkg-config", "--cflags", "jansson", "libevent_core"], capture_output=True,
                           text=True, check=True).stdout.split()
    for path in tracked("sdk/*.h", "gateway/*.h", "plugins/*.h"):
        include = path
        for root in ("sdk/include/", "sdk/", "gateway/", "plugins/"):
            if path.startswith(root):
                include = path[len(root):]
                break
        done = subprocess.run(
            ["cc", "-std=gnu17", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-fsyntax-only",
             "-Isdk/include", "-Isdk", "-Igateway", "-Iplugins", *flags, "-x", "c", "-"],
            cwd=ROOT, input=f'#include "{include}"\n', capture_output=True, text=True, check=False)
        if done.returncode:
            problems.append(f"{path} does not compile alone: {done.stderr.strip().splitlines()[0]}")
    check("every_header_compiles_alone", problems)


def one_symbol():
    problems, modules = [], sorted((BUILD / "lib/fluxgate").glob("*.so"))
    if not modules:
        problems.append("no module was built")
    for module in modules:
        listed = subprocess.run(["nm", "-D", "--defined-only", str(module)], capture_output=True,
                                text=True, check=True).stdout
        symbols = [line.split()[-1] for line in listed.splitlines() if line.strip()]
        if symbols != ["fg_plugin_entry"]:
            problems.append(f"{module.name} exports {symbols}")
    check("each_module_exports_one_symbol", problems)


def forbidden_calls():
    problems = []
    for path in tracked("sdk/*.[ch]", "gateway/*.[ch]", "plugins/*.[ch]"):
        for number, line in enumerate(text_of(path).splitlines(), 1):
            code = re.sub(r'"(\\.|[^"\\])*"', '""', line.split("//")[0])
            if FORBIDDEN.search(code) and not code.lstrip().startswith(("*", "/*")):
                problems.append(f"{path}:{number}: {line.strip()}")
    check("no_unbounded_string_functions", problems)


def private_paths():
    problems = []
    for path in tracked():
        if path.startswith("tests/fuzz/corpus") or path == "tests/lint/lint.py":
            continue
        for number, line in enumerate(text_of(path).splitlines(), 1):
            if PRIVATE.search(line):
                problems.append(f"{path}:{number}: {line.strip()[:100]}")
    check("no_machine_paths", problems)


def readmes():
    folders = ["", "sdk", "gateway", "plugins", "tests", "conf", "plugins/engine", "plugins/cpu",
               "gateway/gpu"]
    check("each_top_folder_has_a_readme",
          [f"{folder or '.'} has no README.md" for folder in folders
           if not (ROOT / folder / "README.md").is_file()])


include_directions()
headers_alone()
one_symbol()
forbidden_calls()
private_paths()
readmes()
print(f"1..{len(results)}")
for number, (name, problems) in enumerate(results, 1):
    print(("not ok" if problems else "ok"), number, "-", name)
    for problem in problems:
        print("#", problem)
sys.exit(any(problems for _, problems in results))
