#!/usr/bin/env python3
"""Runs a Google Benchmark briefly and fails if any of its checks failed: the library itself exits
with 0 after SkipWithError.

usage: smoke.py BENCHMARK
"""
import json
import subprocess
import sys

done = subprocess.run([sys.argv[1], "--benchmark_min_time=0.001", "--benchmark_format=json"],
                      stdout=subprocess.PIPE, timeout=110, text=True)
if done.returncode != 0:
    sys.exit(f"exit status {done.returncode}")
runs = json.loads(done.stdout)["benchmarks"]
if not runs:
    sys.exit("no benchmark ran")
broken = [f"{run['name']}: {run.get('error_message', '')}" for run in runs
          if run.get("error_occurred")]
print(f"{len(runs)} benchmarks ran")
sys.exit("\n".join(broken) or 0)
