#!/usr/bin/env python3
"""Checks doorbell.pml with SPIN: every state, no error; then each mutant, which must show one.

Usage: run_spin.py [--full] [--cc cc] doorbell.pml
--full adds the largest search (longer runs with death at any step: 20 million states, 1 GB).
Exit 1 if a search finds an error, is cut short, or a mutant goes unnoticed.
"""
import argparse
import pathlib
import re
import subprocess
import sys
import tempfile

MEMORY_LIMIT_MB = 2000
DEPTH_LIMIT = 20_000
SEARCH_LIMIT_S = 600

# What is searched, as macros of the model. Together: death at every step, news of both kinds, three
# batches from two threads, the count of rings, and glances.
SOUND = [["MORE=0"], ["NO_DEATH"], ["NO_DEATH", "COUNT_RINGS"], ["MORE=0", "NO_DEATH", "GLANCE"]]
FULL = [["MORE=1"]]
MUTANTS = [
    ["NO_SLEEPER_FENCE"],
    ["NO_RINGER_FENCE"],
    ["NO_SECOND_LOOK"],
    ["BELL_READ_LATE"],
    ["SPLIT_FUTEX"],
    ["SPLIT_EXCHANGE", "COUNT_RINGS", "NO_DEATH"],
    ["FILTER_AFTER_EXCHANGE", "NO_DEATH"],
    ["GLANCE", "GLANCE_ONLY", "MORE=0"],
    ["NO_SOCKET_WATCH"],
    ["NO_SLICE_ON_DEATH"],
]
CUT_SHORT = ("max search depth", "reached -DMEMLIM", "out of memory", "hash table full",
             "VECTORSZ", "Search not completed")


def search(model, compiler, macros):
    """Returns (number of errors, states, whether the search was cut short)."""
    with tempfile.TemporaryDirectory() as folder:
        defines = [f"-D{m}" for m in macros]
        subprocess.run(["spin", "-a", *defines, str(model)], cwd=folder, check=True,
                       stdout=subprocess.DEVNULL)
        subprocess.run([compiler, "-O2", "-w", "-DSAFETY", "-DCOLLAPSE",
                        f"-DMEMLIM={MEMORY_LIMIT_MB}", "-o", "pan", "pan.c"],
                       cwd=folder, check=True)
        out = subprocess.run(["./pan", f"-m{DEPTH_LIMIT}", "-w22"], cwd=folder, text=True,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                             timeout=SEARCH_LIMIT_S).stdout
    errors = re.search(r"errors: (\d+)", out)
    states = re.search(r"(\d+) states, stored", out)
    if not errors or not states:
        sys.exit(f"{' '.join(macros)}: cannot read pan's answer:\n{out}")
    return int(errors[1]), int(states[1]), any(sign in out for sign in CUT_SHORT)


def main():
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("model", type=pathlib.Path)
    args.add_argument("--full", action="store_true")
    args.add_argument("--cc", default="cc")
    args = args.parse_args()
    model = args.model.resolve()
    failed = 0
    for macros in SOUND + (FULL if args.full else []):
        errors, states, cut_short = search(model, args.cc, macros)
        good = errors == 0 and not cut_short
        failed += not good
        print(f"{'ok  ' if good else 'FAIL'} {' '.join(macros):40} {states:>9} states, "
              f"errors: {errors}{', cut short' if cut_short else ''}", flush=True)
    for macros in MUTANTS:
        errors, states, _ = search(model, args.cc, macros)
        failed += errors == 0
        print(f"{'ok  ' if errors else 'FAIL'} mutant {' '.join(macros):33} {states:>9} states, "
              f"{'caught' if errors else 'NOT CAUGHT'}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
