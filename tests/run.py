#!/usr/bin/env python3
"""Runs tests and counts them one by one.

  run.py suite BUILD       every test that ctest knows of BUILD (cmocka executables, TAP), but those
                           whose name begins as a word of --without does
  run.py tap CMD...        one command that prints TAP
  run.py pytest BUILD DIR  pytest over DIR with FG_TEST_BIN=BUILD
  run.py fuzz BUILD        every libFuzzer target of BUILD/fuzz over its kept corpus
  run.py total DIR         adds the reports up and prints the closing line

Each but the last writes {"passed", "failed", "skipped": [[name, reason]]} to --report.
"""
import argparse
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as xml

ROOT = pathlib.Path(__file__).resolve().parent.parent
TIMEOUT_S = 900


class Tally:
    def __init__(self):
        self.passed, self.failed, self.skipped = 0, [], []

    def tap(self, name, text, code):
        seen = 0
        for line in text.splitlines():
            found = re.match(r"(ok|not ok) \d+ ?-? ?(.*)", line)
            if not found:
                continue
            seen += 1
            title = f"{name}: {found.group(2)}"
            if "# SKIP" in line.upper():
                self.skipped.append([title, reason_of(text, found.group(2))])
            elif found.group(1) == "ok":
                self.passed += 1
            else:
                self.failed.append(title)
        if code != 0 and not any(f.startswith(name + ":") for f in self.failed):
            self.failed.append(f"{name}: ended with {code} after {seen} tests")
        elif seen == 0:
            self.failed.append(f"{name}: ran no test")

    def write(self, path):
        for title in self.failed:
            print("FAILED", title)
        for title, why in self.skipped:
            print("skipped", title, "-", why)
        print(f"{self.passed} passed, {len(self.failed)} failed, {len(self.skipped)} skipped")
        pathlib.Path(path).write_text(json.dumps(
            {"passed": self.passed, "failed": self.failed, "skipped": self.skipped}))
        return 1 if self.failed else 0


def reason_of(text, name):
    """A test that skips prints "skip: NAME: why" or "skip: why" somewhere before."""
    name = name.replace("# SKIP", "").strip()
    for line in text.splitlines():
        if line.lower().startswith("skip:") and (name in line or ":" not in line[5:]):
            return line[5:].strip()
    for line in text.splitlines():
        if line.lower().startswith("skip"):
            return line[5:].strip(" :")
    return "no reason given"


def run(command, env=None, timeout=TIMEOUT_S):
    try:
        done = subprocess.run(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              stdin=subprocess.DEVNULL, timeout=timeout, check=False)
        return done.returncode, done.stdout.decode(errors="replace")
    except subprocess.TimeoutExpired as late:
        return -1, (late.stdout or b"").decode(errors="replace") + "\nno end within the time limit"


def suite(args):
    tally = Tally()
    env = dict(os.environ, CMOCKA_MESSAGE_OUTPUT="TAP", FG_TEST_BIN=str(args.build.resolve()))
    listed = subprocess.run(["ctest", "--show-only=json-v1"], cwd=args.build, check=True,
                            stdout=subprocess.PIPE)
    for test in json.loads(listed.stdout)["tests"]:
        if args.without and test["name"].startswith(tuple(args.without.split(","))):
            continue
        code, text = run(test["command"], env)
        print(f"--- {test['name']}\n{text}")
        tally.tap(test["name"], text, code)
    return tally


def tap(args):
    tally = Tally()
    code, text = run(args.command)
    print(text)
    tally.tap(pathlib.Path(args.command[1]).name, text, code)
    return tally


def pytest(args):
    tally = Tally()
    with tempfile.TemporaryDirectory() as folder:
        report = os.path.join(folder, "junit.xml")
        env = dict(os.environ, FG_TEST_BIN=str(args.build.resolve()))
        code, text = run([args.python, "-m", "pytest", "-q", "-rs", "-x" if args.first else "-q",
                          "-p", "no:cacheprovider", f"--junitxml={report}", str(args.folder)], env)
        print(text)
        if not os.path.exists(report):
            tally.failed.append(f"{args.folder}: pytest ended with {code} and no report")
            return tally
        for case in xml.parse(report).iter("testcase"):
            title = f"{case.get('classname')}: {case.get('name')}"
            skip = case.find("skipped")
            if case.find("failure") is not None or case.find("error") is not None:
                tally.failed.append(title)
            elif skip is not None:
                tally.skipped.append([title, skip.get("message") or "no reason given"])
            else:
                tally.passed += 1
        if tally.passed + len(tally.failed) == 0:
            tally.failed.append(f"{args.folder}: ran no test")
    return tally


def fuzz(args):
    tally = Tally()
    targets = sorted((args.build / "fuzz").glob("fuzz_*"))
    if not targets:
        tally.failed.append("fuzz: no target was built")
    for target in targets:
        kept = ROOT / "tests/fuzz/corpus" / target.name[5:]
        with tempfile.TemporaryDirectory() as work:
            command = [str(target), f"-max_total_time={args.seconds}", "-timeout=10",
                       "-rss_limit_mb=2048", f"-artifact_prefix={work}/", work]
            if kept.is_dir():
                command.append(str(kept))
            code, text = run(command, timeout=args.seconds + 300)
            print(f"--- {target.name}\n{text[-6000:]}")
        if code == 0:
            tally.passed += 1
        else:
            tally.failed.append(f"{target.name}: ended with {code}")
    return tally


def total(args):
    passed, failed, skipped = 0, [], []
    for path in sorted(args.folder.glob("*.json")):
        report = json.loads(path.read_text())
        passed += report["passed"]
        failed += [f"{path.stem}: {name}" for name in report["failed"]]
        skipped += [f"{path.stem}: {name}: {why}" for name, why in report["skipped"]]
    for line in skipped:
        print("skipped", line)
    for line in failed:
        print("FAILED", line)
    print(f"{passed} passed, {len(failed)} failed, {len(skipped)} skipped")
    return 1 if failed or not passed else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    for name in ("suite", "tap", "pytest", "fuzz"):
        verb = verbs.add_parser(name)
        verb.add_argument("--report", required=True)
        if name == "tap":
            verb.add_argument("command", nargs=argparse.REMAINDER)
        else:
            verb.add_argument("build", type=pathlib.Path)
        if name == "suite":
            verb.add_argument("--without", default="")
        if name == "pytest":
            verb.add_argument("folder")
            verb.add_argument("--python", default=sys.executable)
            verb.add_argument("--first", action="store_true")
        if name == "fuzz":
            verb.add_argument("--seconds", type=int, default=20)
    verbs.add_parser("total").add_argument("folder", type=pathlib.Path)
    args = parser.parse_args()
    if args.verb == "total":
        return total(args)
    return globals()[args.verb](args).write(args.report)


sys.exit(main())
