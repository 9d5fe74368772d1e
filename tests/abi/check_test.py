#!/usr/bin/env python3
"""fg-plugin-check over good and over wicked plugins. Prints TAP.

usage: check_test.py BUILD

The template and the fake plugin keep every rule; each breaks_*.c breaks one, and the check that its
first comment names must catch it, with a text that says what was due.
"""
import pathlib
import re
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
BUILD = pathlib.Path(sys.argv[1]).resolve()
CHECK = BUILD / "bin/fg-plugin-check"
MODULES = BUILD / "lib/fluxgate"
results = 0
failed = 0


def told(name, problem, skip=None):
    global results, failed
    results += 1
    failed += bool(problem)
    if skip:
        print(f"skip: {name}: {skip}")
    print(f"{'not ok' if problem else 'ok'} {results} - {name}{' # SKIP' if skip else ''}", flush=True)
    for line in (problem or "").splitlines():
        print("#", line)


def check(module, *options):
    done = subprocess.run([CHECK, module, *options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          stdin=subprocess.DEVNULL, timeout=900, check=False)
    return done.returncode, done.stdout.decode(errors="replace")


def good(name, module, *options):
    if not module.exists():
        told(name, None, f"{module.name} was not built")
        return
    code, text = check(module, *options)
    kept = len(re.findall(r"^ok \d+ - (?!.*# SKIP)", text, re.M))
    told(name, None if code == 0 and kept > 30 else f"exit code {code}\n{text[-4000:]}")


def wicked(source):
    comment = source.read_text().split("*/")[0]
    rule = re.sub(r"\s*\n \*\s*", " ", comment).split("Caught by: ")[1].strip().rstrip(".")
    name = f"{source.stem} is caught by: {rule}"
    module = BUILD / "tests/breaks" / f"{source.stem}.so"
    if not module.exists():
        told(name, "it was not built")
        return
    code, text = check(module, "--only", rule, "--timeout", "8")
    if rule == "nobody":
        code, text = check(module)
        told(f"{source.stem} is caught by nobody", None if code == 0 else text[-4000:])
    elif code != 1 or not re.search(r"^not ok 1 - " + re.escape(rule) + r"\n#   \S", text, re.M):
        told(name, f"exit code {code}\n{text[-4000:]}")
    else:
        told(name, None)


good("the template keeps every rule", MODULES / "echo.so")
fake = MODULES / "fake.so"
good("the fake plugin keeps every rule", fake)
good("it keeps them from its own thread", fake, "--config", '{"thread": true, "max_running": 3}')
good("it keeps them at a pace", fake, "--config",
     '{"tokens_per_s": 2000, "first_ms": 2, "chunk": 3, "text": "\u00e4h \U0001f600 x y"}')
good("it keeps them where it echoes bytes", fake, "--config", '{"echo": true, "chunk": 2}')
for one in sorted(HERE.glob("breaks_*.c")):
    if one.name != "breaks_base.c":
        wicked(one)

code, text = check(MODULES / "no-such-module.so")
told("a module that is not there is told in one line",
     None if code == 2 and text.count("\n") == 1 else text)
code, text = check(CHECK)
told("a file that is no module is a broken rule, not a crash of the checker",
     None if code == 1 and "cannot be loaded" in text else text[-2000:])
print(f"1..{results}")
sys.exit(failed != 0)
