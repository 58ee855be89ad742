#!/usr/bin/env python3
"""The small hosts of tools/examples, each as a user runs it, against their worker.

Usage     examples_test.py WORKER HOST... ; FERRY_REACTOR chooses the reactor
"""
import pathlib
import subprocess
import sys
import unittest

WORKER, HOSTS = sys.argv[1], {pathlib.Path(host).name: host for host in sys.argv[2:]}
LIMIT_S = 60  # of one run; they take a tenth of a second


class ExamplesTest(unittest.TestCase):
    def check(self, name, *lines):
        """Runs it; the lines may come in any order where several things are under way at once."""
        done = subprocess.run([HOSTS[name], WORKER], capture_output=True, text=True,
                              timeout=LIMIT_S, check=False)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertEqual(sorted(done.stdout.splitlines()), sorted(lines))

    def check_refusal(self, name):
        done = subprocess.run([HOSTS[name], "/nowhere/worker"], capture_output=True, text=True,
                              timeout=LIMIT_S, check=False)
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertTrue(done.stderr.startswith(f"{name}: "), done.stderr)

    def test_poll(self):
        self.check("embed-poll", "20 + 22: 42", "ms of waiting: 100",
                   "primes below 100: 25, the last is 97", "the timer ticked meanwhile: yes")

    def test_asio(self):
        self.check("embed-asio", "20 + 22: 42", "ms of waiting: 100", "primes below 100: 25",
                   "the timer ticked meanwhile: yes")

    def test_thread(self):
        self.check("embed-thread", "1 + 2: 3", "20 + 22: 42", "primes below 100: 25",
                   "(4 + 4) + (4 + 4): 16", "ms of waiting: 100")

    def test_coroutines(self):
        self.check("embed-coroutines", "1 + 2: 3", "20 + 22: 42",
                   "the first primes: 2 3 5 7 11 13 17 19 23 29",
                   "after 20 ms: timeout (2001): no answer before the deadline",
                   "stopped: cancelled (2002): the caller gave up")

    def test_a_worker_that_does_not_exist_is_named(self):
        for name in HOSTS:
            with self.subTest(name):
                self.check_refusal(name)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
