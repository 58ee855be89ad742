#!/usr/bin/env python3
"""Counts what `meson test` ran, one per test case, and shows what failed with the end of its log.

Usage     tests/count_tests.py BUILD_DIR [--name VARIANT] [--tally FILE]    or --self-test
Input     BUILD_DIR/meson-logs/testlog.json (one line a program: how it ended, what it printed) and
          testlog.junit.xml (the cases of the GoogleTest programs);
          BUILD_DIR/meson-info/intro-tests.json (which programs are GoogleTest programs).
Counting  a GoogleTest case is one; any other program is one. A program that crashed, timed out or
          ended badly although no case of it failed adds one failure. A skipped or disabled test
          is a failure unless its message begins with `expected:`; then it counts as nothing.
Output    FILE gets `PASSED FAILED`. Nothing ran: that is one failure.
Exit      0 nothing failed; 1 something did; 2 wrong usage.
"""
import argparse
import json
import pathlib
import re
import sys
import tempfile
import xml.etree.ElementTree as xml

TAIL_LINES = 40        # of a program that broke
MESSAGE_LINES = 20     # of one failed case
SHOWN_FAILURES = 50    # in full; more are only named
EXPECTED = re.compile(r"^\s*expected:", re.MULTILINE)


class Count:
    def __init__(self, name):
        self.name, self.passed, self.failed, self.skipped = name, 0, 0, 0
        self.lines = []

    def fail(self, what, log, limit):
        self.failed += 1
        self.lines.append(f"FAIL [{self.name}] {what}")
        if self.failed <= SHOWN_FAILURES:
            self.lines += [f"    {line}" for line in log.rstrip().splitlines()[-limit:]]

    def skip(self, what, message):
        if EXPECTED.search(message):
            self.skipped += 1
            reason = message[EXPECTED.search(message).end():].strip().splitlines()
            self.lines.append(f"skip [{self.name}] {what}: {reason[0] if reason else ''}")
        else:
            self.fail(f"{what}: skipped, and its message does not begin with `expected:`",
                      message, MESSAGE_LINES)


def cases_of(report, programs):
    """Test cases by program. Meson names a suite project.program.suite."""
    found = {name: [] for name in programs}
    longest_first = sorted(programs, key=len, reverse=True)
    for suite in report.iter("testsuite"):
        _, _, rest = suite.get("name", "").partition(".")
        owner = next((name for name in longest_first if rest.startswith(name + ".")), None)
        if owner is not None:
            found[owner] += suite.findall("testcase")
    return found


def text_of(nodes):
    return "\n".join(node.get("message") or node.text or "" for node in nodes)


def count_case(count, program, case):
    what = f"{program}: {case.get('classname')}.{case.get('name')}"
    broken = case.findall("failure") + case.findall("error")
    if broken:
        count.fail(what, text_of(broken), MESSAGE_LINES)
    elif case.find("skipped") is not None:
        count.skip(what, text_of(case.findall("skipped")))
    elif case.get("status") == "notrun":
        count.skip(what, "disabled")
    else:
        count.passed += 1


def count_program(count, run, cases, is_gtest):
    before = count.failed
    for case in cases:
        count_case(count, run["name"], case)
    log = run.get("stdout", "") + "\n" + run.get("stderr", "")
    ended, status = run["result"], run.get("returncode")
    if ended == "SKIP" and not is_gtest:
        count.skip(run["name"], log)
    elif ended not in ("OK", "EXPECTEDFAIL"):
        if count.failed == before:
            seconds = run.get("duration") or 0
            count.fail(f"{run['name']}: {ended}, exit status {status}, after {seconds:.1f} s", log,
                       TAIL_LINES)
    elif is_gtest and not cases:
        count.fail(f"{run['name']}: lists no test case", log, TAIL_LINES)
    elif not is_gtest:
        count.passed += 1


def count_all(folder, name):
    count = Count(name)
    logs = pathlib.Path(folder) / "meson-logs"
    try:
        runs = [json.loads(line) for line in (logs / "testlog.json").read_text().splitlines()]
    except (OSError, ValueError) as problem:
        count.fail(f"meson test left no log: {problem}", "", 0)
        return count
    if not runs:
        count.fail("no test ran", "", 0)
        return count
    try:
        report = xml.parse(logs / "testlog.junit.xml").getroot()
        known = json.loads((pathlib.Path(folder) / "meson-info/intro-tests.json").read_text())
    except (OSError, ValueError, xml.ParseError) as problem:
        count.fail(f"meson test left no list of cases: {problem}", "", 0)
        return count
    gtests = {test["name"] for test in known if test["protocol"] == "gtest"}
    cases = cases_of(report, {run["name"] for run in runs})
    for run in runs:
        # A test with a suite is logged as `project:suite / name`.
        is_gtest = run["name"].rpartition(" / ")[2] in gtests
        count_program(count, run, cases[run["name"]], is_gtest)
    return count


def self_test():
    def run(name, result, status, printed=""):
        return {"name": name, "result": result, "returncode": status, "stdout": printed}

    runs = [
        run("unit-a", "FAIL", 1), run("ferry:unit / unit-b", "OK", 0),
        run("unit-crash", "FAIL", -11, "x"), run("unit-leak", "FAIL", 1, "leak"),
        run("unit-empty", "OK", 0), run("slow", "TIMEOUT", -9), run("plain", "OK", 0),
        run("shy", "SKIP", 77, "no"),
        run("honest", "SKIP", 77, "a line\nexpected: no such kernel\n"),
    ]
    known = [{"name": name, "protocol": "gtest" if name.startswith("unit") else "exitcode"}
             for name in (one["name"].rpartition(" / ")[2] for one in runs)]
    report = """<testsuites>
      <testsuite name="ferry.unit-a.s">
        <testcase classname="s" name="good" status="run"/>
        <testcase classname="s" name="bad" status="run"><failure message="1 != 2"/></testcase>
        <testcase classname="s" name="shy" status="run"><skipped message="why"/></testcase>
        <testcase classname="s" name="honest" status="run">
          <skipped message="a.cc:1&#x0A;expected: denied here"/></testcase>
        <testcase classname="s" name="DISABLED_off" status="notrun"/>
      </testsuite>
      <testsuite name="ferry.ferry:unit / unit-b.s">
        <testcase classname="s" name="good"/><testcase classname="s" name="better"/></testsuite>
      <testsuite name="ferry.unit-leak.s"><testcase classname="s" name="good"/></testsuite>
      <testsuite name="ferry"><testcase classname="ferry" name="plain"/></testsuite>
    </testsuites>"""
    with tempfile.TemporaryDirectory() as folder:
        logs = pathlib.Path(folder) / "meson-logs"
        assert count_all(folder, "x").failed == 1  # nothing there
        logs.mkdir()
        (pathlib.Path(folder) / "meson-info").mkdir()
        (pathlib.Path(folder) / "meson-info/intro-tests.json").write_text(json.dumps(known))
        (logs / "testlog.json").write_text("\n".join(map(json.dumps, runs)))
        assert count_all(folder, "x").failed == 1  # no list of cases
        (logs / "testlog.junit.xml").write_text(report)
        count = count_all(folder, "x")
        print("\n".join(count.lines))
        # failed: bad, shy, DISABLED_off; crash; leak; empty; slow; shy
        assert (count.passed, count.failed, count.skipped) == (5, 8, 2), vars(count)
        (logs / "testlog.json").write_text("")
        assert count_all(folder, "x").failed == 1  # nothing ran
    print("self-test passed")
    return 0


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build_dir", nargs="?")
    parser.add_argument("--name", default="tests")
    parser.add_argument("--tally")
    parser.add_argument("--self-test", action="store_true")
    options = parser.parse_args()
    if options.self_test:
        return self_test()
    if options.build_dir is None:
        parser.error("BUILD_DIR is missing")
    count = count_all(options.build_dir, options.name)
    if count.lines:
        print("\n".join(count.lines))
    if options.tally:
        pathlib.Path(options.tally).write_text(f"{count.passed} {count.failed}\n")
    return 1 if count.failed else 0


if __name__ == "__main__":
    sys.exit(main())
