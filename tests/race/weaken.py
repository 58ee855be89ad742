#!/usr/bin/env python3
"""Weakens every memory order of ring/*.h, one at a time, and demands that a test fails each time.

An acquire, release, acq_rel or seq_cst becomes relaxed: the race tests, under the thread sanitizer,
must fail. A call of full_fence() goes away: the explorer of tests/model must find the lost wakeup,
since the thread sanitizer cannot see fences. The order inside full_fence() becomes relaxed: the
barrier must be gone from the machine code. Only scripted tests count, not the free-running ones,
which would catch most of it too, but not every time.

Also checks the comments: each such line has a sync(tag), and each tag has both of its ends.

Usage: weaken.py --source <root of the tree> [--compiler clang++-19] [--jobs 2]
Exit 1 if a weakening escapes, if the code as it is fails, or if a tag or its other end is missing.
"""
import argparse
import collections
import concurrent.futures
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

ORDER = re.compile(r"std::memory_order_(acquire|release|acq_rel|seq_cst)\b")
FENCE_CALL = re.compile(r"\bAtomics::full_fence\(\);")
FENCE_BODY = "std::atomic_thread_fence"
TAG = re.compile(r"sync\(([\w.]+)\)")
BARRIER = re.compile(r"\b(mfence|lock|dmb\s+ish|hwsync|sync|fence\s+rw,\s*rw)\b")
RUN_LIMIT_S = 200

Weakening = collections.namedtuple("Weakening", "header line column end kind tag")


def tag_of(lines, index):
    """The tag in the line itself, or in the comment that ends just above its statement."""
    found = TAG.search(lines[index])
    above = index - 1
    while not found and above >= 0 and above > index - 3 and not is_comment(lines[above]):
        if lines[above].rstrip().endswith((";", "{", "}")):
            return None  # another statement
        above -= 1
    while not found and above >= 0 and is_comment(lines[above]):
        found = TAG.search(lines[above])
        above -= 1
    return found[1] if found else None


def is_comment(line):
    return line.lstrip().startswith("//")


def find_weakenings(ring):
    found = []
    for header in sorted(ring.glob("*.h")):
        lines = header.read_text().splitlines()
        for index, line in enumerate(lines):
            code = line.split("//")[0]
            for match in list(ORDER.finditer(code)) + list(FENCE_CALL.finditer(code)):
                if match.re is FENCE_CALL:
                    kind = "fence"
                else:
                    kind = "barrier" if FENCE_BODY in code else match[1]
                found.append(Weakening(header.name, index, match.start(), match.end(), kind,
                                       tag_of(lines, index)))
    return found


def check_tags(weakenings):
    wrong = [f"{w.header}:{w.line + 1}: {w.kind} without a sync(tag)"
             for w in weakenings if w.tag is None]
    ends = collections.defaultdict(collections.Counter)
    for w in weakenings:
        ends[w.tag].update(["acquire", "release"] if w.kind in ("acq_rel", "seq_cst") else [w.kind])
    for tag, kinds in ends.items():
        paired = kinds["fence"] >= 2 or (kinds["acquire"] and kinds["release"])
        if tag is not None and not paired:
            wrong.append(f"sync({tag}) has one end only: {dict(kinds)}")
    return wrong


def includes(root, path, seen):
    """Every file of the tree that `path` includes, at any depth."""
    for name in re.findall(r'^#include "([^"]+)"', path.read_text(), re.M):
        if name not in seen and (root / name).exists():
            seen.add(name)
            includes(root, root / name, seen)
    return seen


class Bench:
    """Compiles and runs the tests against one copy of ring/."""

    def __init__(self, root, compiler, folder):
        self.root, self.compiler, self.folder = root, compiler, folder
        self.support = {}
        for kind, flags in (("tsan", ["-fsanitize=thread"]), ("plain", [])):
            objects = []
            for name in ("check", "error"):
                objects.append(folder / f"{name}_{kind}.o")
                self.compile(root, ["-c", root / "shm" / f"{name}.cc", "-o", objects[-1], *flags])
            self.support[kind] = objects

    def compile(self, ring_root, more):
        subprocess.run([self.compiler, "-std=c++20", "-O1", "-g1", "-D_GNU_SOURCE",
                        f"-I{ring_root}", f"-I{self.root}", *more], check=True)

    def run_test(self, ring_root, test, kind, only):
        """What went wrong, or None."""
        binary = ring_root / f"{test.stem}_{kind}"
        flags = ["-fsanitize=thread"] if kind == "tsan" else []
        self.compile(ring_root, [test, *self.support[kind], "-o", binary, *flags,
                                 "-lgtest", "-lgtest_main", "-pthread"])
        env = dict(os.environ, TSAN_OPTIONS="halt_on_error=1 exitcode=66 report_bugs=1")
        try:
            done = subprocess.run([binary, f"--gtest_filter={only}", "--gtest_fail_fast"],
                                  text=True, errors="replace", env=env, timeout=RUN_LIMIT_S,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        except subprocess.TimeoutExpired:
            return f"{test.stem}: hangs"
        finally:
            binary.unlink()
        if done.returncode == 0:
            return None
        case = re.findall(r"\[ RUN      \] \S+\.(\S+)", done.stdout)
        if "ThreadSanitizer: data race" in done.stdout:
            return f"thread sanitizer, {test.stem}: {case[-1] if case else '?'}"
        if case:
            return f"{test.stem}: {case[-1]}"
        sys.exit(f"{test.stem} cannot run:\n{done.stdout}")

    def has_barrier(self, ring_root):
        source = ring_root / "barrier.cc"
        source.write_text('#include "ring/atomics.h"\n'
                          "void barrier() { ferry::std_atomics::full_fence(); }\n")
        self.compile(ring_root, ["-g0", "-S", source, "-o", ring_root / "barrier.s"])
        return BARRIER.search((ring_root / "barrier.s").read_text()) is not None


def main():
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("--source", type=pathlib.Path, required=True)
    args.add_argument("--compiler", default="clang++-19")
    args.add_argument("--jobs", type=int, default=2)
    args = args.parse_args()
    root = args.source.resolve()

    weakenings = find_weakenings(root / "ring")
    wrong = check_tags(weakenings)
    for line in wrong:
        print("FAIL", line)

    race_tests = sorted((root / "tests" / "race").glob("*_race_test.cc"))
    explorer = root / "tests" / "model" / "doorbell_explore_test.cc"
    scripted = "-*free_running*"
    explored = "*no_interleaving*:*room_given_back*"
    reads = {test: includes(root, test, set()) for test in race_tests}

    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        bench = Bench(root, args.compiler, folder)

        def copy_of_ring(number):
            copy = folder / str(number)
            shutil.copytree(root / "ring", copy / "ring")
            return copy

        def attempt(number, weakening):
            copy = copy_of_ring(number)
            header = copy / "ring" / weakening.header
            lines = header.read_text().splitlines(keepends=True)
            line = lines[weakening.line]
            instead = ";" if weakening.kind == "fence" else "std::memory_order_relaxed"
            lines[weakening.line] = line[:weakening.column] + instead + line[weakening.end:]
            header.write_text("".join(lines))
            if weakening.kind == "barrier":
                return None if bench.has_barrier(copy) else "machine code: no barrier left"
            if weakening.kind == "fence":
                return bench.run_test(copy, explorer, "plain", explored)
            for test in race_tests:
                if f"ring/{weakening.header}" in reads[test]:
                    caught = bench.run_test(copy, test, "tsan", scripted)
                    if caught:
                        return caught
            return None

        def as_it_is():
            copy = copy_of_ring("as-it-is")
            failures = [bench.run_test(copy, test, "tsan", "*") for test in race_tests]
            failures.append(bench.run_test(copy, explorer, "plain", "*"))
            failures.append(None if bench.has_barrier(copy) else "full_fence() is no barrier")
            return [f for f in failures if f]

        caught_count = 0
        with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
            sound = pool.submit(as_it_is)
            tries = [pool.submit(attempt, i, w) for i, w in enumerate(weakenings)]
            for failure in sound.result():
                wrong.append(failure)
                print("FAIL without any weakening:", failure)
            for w, tried in zip(weakenings, tries):
                caught = tried.result()
                caught_count += caught is not None
                print(f"ring/{w.header}:{w.line + 1} {w.kind:8} {w.tag or '-':16} "
                      f"{'caught by ' + caught if caught else 'ESCAPED'}", flush=True)
    print(f"{len(weakenings)} weakenings, {caught_count} caught")
    return 1 if wrong or caught_count != len(weakenings) or not weakenings else 0


if __name__ == "__main__":
    sys.exit(main())
