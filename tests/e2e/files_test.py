#!/usr/bin/env python3
"""The example programs as a user runs them: files of every kind, workers that die or lie.

Usage     files_test.py FILES_HOST FILES_WORKER LIAR [REACTOR] [unittest's arguments]
Checks    digests against hashlib, messages, exit statuses. Nothing waits for a fixed time: a run
          is disturbed when its own output says that it is at work.
"""
import contextlib
import hashlib
import json
import os
import pathlib
import pty
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import unittest

HOST, WORKER, LIAR = sys.argv[1:4]
REACTOR = sys.argv[4] if len(sys.argv) > 4 else "auto"
LIMIT_S = 60           # of one run; they take a second or so
BIG_BYTES = 16 << 20   # of the file whose run is disturbed
BIG_TIMES = 100        # how often it is sent then
NOBODY = 65534


def sha256(path):
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()


def checksums(output):
    """The lines of --print as {name: digest}, with sha256sum's escapes undone."""
    out = {}
    for line in output.split(b"\n")[:-1]:
        escaped = line.startswith(b"\\")
        digest, name = line[escaped:].split(b"  ", 1)
        if escaped:
            name = re.sub(rb"\\(.)", lambda m: {b"n": b"\n", b"r": b"\r"}.get(m[1], m[1]), name)
        out[os.fsdecode(name)] = digest.decode()
    return out


class FilesTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.stack = contextlib.ExitStack()
        cls.dir = pathlib.Path(cls.stack.enter_context(tempfile.TemporaryDirectory()))
        cls.dir.chmod(0o755)
        # Copies: both programs beside each other, where any user may run them.
        for program in (HOST, WORKER):
            shutil.copy(program, cls.dir)
        cls.host = str(cls.dir / pathlib.Path(HOST).name)
        cls.big = cls.file("big", os.urandom(1 << 20) * (BIG_BYTES >> 20))
        cls.normal = cls.file("normal", b"all work and no play\n" * 1000)

    @classmethod
    def tearDownClass(cls):
        cls.stack.close()

    @classmethod
    def file(cls, name, content=b""):
        path = cls.dir / name
        path.write_bytes(content)
        return str(path)

    def run_host(self, *args, status=0, **how):
        """Runs to the end; checks the status; gives stdout and stderr."""
        done = subprocess.run([self.host, "--reactor", REACTOR, *args], capture_output=True,
                              timeout=LIMIT_S, check=False, **how)
        said = done.stderr.decode(errors="replace")
        self.assertEqual(done.returncode, status, said)
        return done.stdout, said

    def run_json(self, *args, status=0, **how):
        out, said = self.run_host("--json", *args, status=status, **how)
        found = json.loads(out)
        self.assertEqual(found["status"], status)
        return found, said

    @contextlib.contextmanager
    def disturbed(self, *args, **how):
        """A long run, as a process and the lines it says."""
        with subprocess.Popen([self.host, "--reactor", REACTOR, "-v", *args] +
                              [self.big] * BIG_TIMES, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, **how) as process:
            watchdog = threading.Timer(LIMIT_S, process.kill)
            watchdog.start()
            try:
                yield process, iter(process.stderr.readline, "")
            finally:
                watchdog.cancel()
                process.kill()

    # --- files ------------------------------------------------------------------------------------

    def test_every_digest_is_that_of_the_file(self):
        names = [self.file(name, content) for name, content in {
            "with spaces": b"x", "line\nfeed": b"y", "back\\slash": b"z", "ret\rurn": b"r",
            "größe-日本": "ü".encode() * 5000, "-dash": b"-", "binary": os.urandom(3_000_001),
            "just-inline": b"i" * 2048, "just-lent": b"l" * 2049, "no bytes": b"",
        }.items()]
        names += [self.file(f"small-{i}", os.urandom(i * 37)) for i in range(300)]
        out, said = self.run_host("--print", "--", *names)
        self.assertEqual(checksums(out), {name: sha256(name) for name in names})
        self.assertIn("verified   310", said)  # the summary leaves stdout to the digests
        if shutil.which("sha256sum"):
            subprocess.run(["sha256sum", "--check", "--strict", "--quiet"], input=out, check=True)

    def test_names_relative_to_the_current_folder(self):
        self.file("-dash", b"-")
        out, _ = self.run_host("--print", "--", "-dash", cwd=self.dir)
        self.assertEqual(list(checksums(out)), ["-dash"])

    def test_files_that_cannot_be_sent_are_named_and_the_rest_goes_on(self):
        missing, folder, fifo = (str(self.dir / n) for n in ("missing", "folder", "fi\nfo"))
        os.mkdir(folder)
        os.mkfifo(fifo)
        bound = str(self.dir / "socket")
        self.stack.enter_context(socket.socket(socket.AF_UNIX)).bind(bound)
        huge = self.file("huge")
        os.truncate(huge, 3 << 30)
        found, said = self.run_json(missing, folder, self.normal, fifo, bound, "/dev/null", huge,
                                    self.normal + "/below", self.normal, status=1)
        self.assertEqual((found["files"], found["verified"]), (2, 2))
        self.assertEqual([(p["name"], p["reason"]) for p in found["problems"]], [
            (missing, "missing"), (folder, "directory"), (fifo, "not a regular file"),
            (bound, "not a regular file"), ("/dev/null", "not a regular file"),
            (huge, "too large"), (self.normal + "/below", "missing")])
        self.assertEqual(said.splitlines(), [
            f"files-host: {missing}: no such file",
            f"files-host: {folder}: is a directory",
            "files-host: " + fifo.replace("\n", "\\n") + ": is a FIFO, not a regular file",
            f"files-host: {bound}: is a socket, not a regular file",
            "files-host: /dev/null: is a device, not a regular file",
            f"files-host: {huge}: is too large: {3 << 30} bytes, --max-body allows {1 << 30}",
            f"files-host: {self.normal}/below: no such file"])

    def test_a_file_without_permission_is_named(self):
        secret = self.file("secret", b"s")
        os.chmod(secret, 0)
        who = {}
        if os.geteuid() == 0:  # root may read everything
            who = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
            try:
                subprocess.run([self.host, "--help"], stdout=subprocess.DEVNULL, check=True, **who)
            except (OSError, subprocess.SubprocessError) as why:
                print(f"not tested: permissions, since no other user can run this: {why}")
                return
        found, said = self.run_json(secret, self.normal, status=1, **who)
        self.assertEqual(found["problem_counts"], {"unreadable": 1})
        self.assertEqual(found["verified"], 1)
        self.assertEqual(said, f"files-host: {secret}: permission denied\n")

    def test_an_empty_file_is_processed_and_mentioned_when_asked(self):
        empty = self.file("empty")
        out, said = self.run_host("--print", "-v", empty)
        self.assertEqual(checksums(out), {empty: hashlib.sha256().hexdigest()})
        self.assertIn(f"{empty}: verified, though empty", said)
        found, said = self.run_json(empty)
        self.assertEqual((found["files"], found["empty"], said), (1, 1, ""))

    def test_a_file_that_grows_is_named(self):
        growing = self.file("growing", b"g" * (32 << 20))
        ended = threading.Event()

        def append():
            with open(growing, "ab", buffering=0) as file:
                while not ended.wait(0.0002):
                    file.write(b"more")

        writer = threading.Thread(target=append)
        writer.start()
        try:
            found, said = self.run_json(growing, status=1)
        finally:
            ended.set()
            writer.join()
        self.assertRegex(said, r"growing: grew while it was read: \d+ of now \d+ bytes\n")
        self.assertEqual((found["files"], found["verified"]), (1, 1))

    def test_a_file_of_another_size_than_it_says_is_named(self):
        # The kernel's own files: some give 0 for their size, some a page, whatever they hold.
        _, said = self.run_host("/proc/self/status", status=1)
        self.assertIn("status: holds more than the 0 bytes of its size", said)
        attribute = "/sys/kernel/mm/transparent_hugepage/enabled"
        if os.path.exists(attribute):
            found, said = self.run_json(attribute, status=1)
            self.assertRegex(said, r"enabled: shrank while it was read: \d+ bytes came instead of")
            self.assertEqual((found["files"], found["verified"]), (1, 1))

    def test_a_read_error_is_named(self):
        found, said = self.run_json("/proc/self/mem", self.normal, status=1)
        self.assertIn("/proc/self/mem: Input/output error", said)
        self.assertEqual((found["problem_counts"], found["verified"]), ({"read error": 1}, 1))

    def test_memory_that_is_refused_is_named_with_its_limit(self):
        def limit():
            resource.setrlimit(resource.RLIMIT_FSIZE, (12 << 20, 12 << 20))
        found, said = self.run_json(self.normal, self.big, self.normal, status=1, preexec_fn=limit)
        self.assertEqual((found["problem_counts"], found["verified"]), ({"no memory": 1}, 2))
        self.assertRegex(said, rf"big: no memory for its {BIG_BYTES} bytes: limit: RLIMIT_FSIZE")

    def test_few_bytes_in_flight_only_make_it_wait(self):
        found, _ = self.run_json("--in-flight-bytes", "1MiB", "--in-flight", "64", self.big,
                                 *[self.normal] * 200, self.big)
        self.assertEqual(found["verified"], 202)

    # --- other jobs -------------------------------------------------------------------------------

    def test_words_are_counted(self):
        text = self.file("text", b" one two\tthree\n\nfour\x00five\x0bsix \n")
        out, _ = self.run_host("--job", "wc", "--print", text, self.normal)
        self.assertEqual(out.decode(), f"3 5 {os.path.getsize(text)}  {text}\n"
                         f"1000 5000 {os.path.getsize(self.normal)}  {self.normal}\n")

    def test_a_pattern_is_found(self):
        text = self.file("text", b"aaaa needle needleneedle")
        empty = self.file("empty")
        for pattern, answer in (("needle", "3 5"), ("aa", "2 0"), ("nothing", "0 -")):
            out, _ = self.run_host("--job", "search", "--pattern", pattern, "--print", text, empty)
            self.assertEqual(out.decode(), f"{answer}  {text}\n0 -  {empty}\n")

    # --- the worker -------------------------------------------------------------------------------

    def test_a_worker_that_is_killed_is_replaced_and_nothing_is_lost(self):
        with self.disturbed("--json") as (process, lines):
            worker = re.search(r"worker (\d+) serves", next(lines))[1]
            next(line for line in lines if "verified" in line)
            os.kill(int(worker), signal.SIGKILL)
            out, said = process.communicate()
        found = json.loads(out)
        self.assertEqual(process.returncode, 0, said)
        self.assertEqual((found["verified"], found["relaunches"]), (BIG_TIMES, 1))
        self.assertIn("lost the worker: ", said)
        self.assertIn("killed by signal 9", said)
        self.assertIn(f"{self.big}: was with the lost worker, is sent again", said)

    def test_a_worker_that_dies_again_and_again_ends_the_run(self):
        found, said = self.run_json("--worker", f"{LIAR} die", self.normal, self.big, self.normal,
                                    status=3)
        self.assertEqual((found["relaunches"], found["verified"]), (3, 0))
        self.assertEqual(len(found["problems"]) + found["not_sent"], 3)
        self.assertIn(f"{self.normal}: was with the lost worker", said)
        self.assertIn("gave up on the worker after 3 relaunches", said)

    def test_a_worker_that_hangs_is_replaced(self):
        found, said = self.run_json("--worker", f"{LIAR} hang", "--timeout", "1", self.normal,
                                    status=3)
        self.assertEqual(found["relaunches"], 3)
        self.assertIn("timeout (2001)", said)

    def test_answers_are_checked(self):
        for how, reason, text in (
                ("wrong", "wrong answer", "the worker answers 000000"),
                ("short", "wrong answer", "the worker's answer makes no sense"),
                ("refuse", "call failed", "invalid params (1001): not to my taste"),
                ("silent", "call failed", "execution failed (2000)")):
            with self.subTest(how):
                found, said = self.run_json("--worker", f"{LIAR} {how}", self.normal, status=1)
                self.assertEqual((found["problem_counts"], found["verified"]), ({reason: 1}, 0))
                self.assertEqual(found["failed"], int(reason == "wrong answer"))
                self.assertIn(text, said)

    def test_a_worker_that_cannot_start_is_status_3(self):
        for command, text in (("/nowhere/worker", "No such file"), ("false", "exit status 1"),
                              (f"{LIAR} ignorant", "the worker cannot do 'sha256'")):
            with self.subTest(command):
                out, said = self.run_host("--worker", command, self.normal, status=3)
                self.assertEqual(out, b"")
                self.assertIn(text, said)

    # --- the user ---------------------------------------------------------------------------------

    def test_ctrl_c_ends_with_a_summary(self):
        def foreground():  # a shell starts what runs in the background with SIGINT ignored
            signal.signal(signal.SIGINT, signal.SIG_DFL)
        with self.disturbed("--json", start_new_session=True,
                            preexec_fn=foreground) as (process, lines):
            next(line for line in lines if ": verified" in line)
            os.killpg(process.pid, signal.SIGINT)  # a terminal's Ctrl-C reaches the worker, too
            out, said = process.communicate()
        found = json.loads(out)
        self.assertEqual((process.returncode, found["status"]), (130, 130), said)
        self.assertGreater(found["not_sent"], 0)
        self.assertEqual(found["verified"] + found["not_sent"] + len(found["problems"]), BIG_TIMES)
        self.assertNotIn("lost the worker", said)

    def test_the_bar_is_for_terminals_only(self):
        _, said = self.run_host(self.normal)
        self.assertEqual(said, "")
        ours, theirs = pty.openpty()
        with subprocess.Popen([self.host, "--reactor", REACTOR, self.big, "missing"],
                              stdout=subprocess.DEVNULL, stderr=theirs) as process:
            os.close(theirs)
            seen = b""
            with contextlib.suppress(OSError), os.fdopen(ours, "rb", buffering=0) as screen:
                while piece := screen.read(4096):
                    seen += piece
        self.assertEqual(process.returncode, 1)
        self.assertRegex(seen, rb"\d/2 files .* GB/s  ETA")
        self.assertIn(b"\r\033[Kfiles-host: missing: no such file", seen)  # on a line of its own

    def test_wrong_usage_is_status_2(self):
        for args in (["--job", "sing"], ["--in-flight", "0"], ["--in-flight", "many"],
                     ["--max-body", "-1"], ["--max-body", "1000TiB"], ["--job", "search"],
                     ["--pattern", "x"], ["--json", "--print"], ["--reactor", "fission"],
                     ["--no-such-option"], ["--job", "search", "--pattern", "x" * 70000]):
            with self.subTest(args=[arg[:20] for arg in args]):
                out, said = self.run_host(*args, self.normal, status=2)
                self.assertEqual(out, b"")
                self.assertTrue(said.startswith("files-host: "), said)

    def test_help_has_examples(self):
        out, _ = self.run_host("--help")
        self.assertIn(b"Examples:", out)
        self.assertIn(b"Exit status:", out)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[5:])
