#!/usr/bin/env python3
"""Installs Ferry into an empty folder, builds the README's worker and host, listener and connector
against it with nothing but pkg-config, and runs them: what a newcomer does.

An example and its worker too, as they stand in the tree.

usage: package_test.py BUILD_DIR README EXAMPLES_DIR
"""
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time


def run(command, **options):
    done = subprocess.run(command, text=True, capture_output=True, timeout=240, **options)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stdout}\n{done.stderr}")
    return done.stdout


def code_block(readme, name):
    found = re.search(r"```cpp\n(// " + re.escape(name) + r"\b.*?)```", readme, re.S)
    if not found:
        sys.exit(f"README.md shows no {name}")
    return found.group(1)


def check_channels(folder):
    """Runs the README's listener and connector; the listener ends with its only channel."""
    listener = subprocess.Popen(["./listener"], cwd=folder)
    try:
        deadline = time.monotonic() + 60
        while not (pathlib.Path(folder) / "sockets" / "echo").exists():
            if listener.poll() is not None or time.monotonic() > deadline:
                sys.exit("the README's listener does not listen")
            time.sleep(0.01)
        said = run(["./connector"], cwd=folder)
        if said != "hello\n":
            sys.exit(f"the README's connector said {said!r}")
        if listener.wait(timeout=60) != 0:
            sys.exit(f"the README's listener ended with {listener.returncode}")
    finally:
        listener.kill()


def main():
    build, readme = sys.argv[1], pathlib.Path(sys.argv[2]).read_text()
    examples = sys.argv[3]
    with tempfile.TemporaryDirectory(prefix="ferry-package-") as folder:
        root = pathlib.Path(folder) / "root"
        run(["meson", "install", "-C", build, "--no-rebuild", "--destdir", root])
        pc = next(root.rglob("ferry.pc"))
        environment = dict(os.environ, PKG_CONFIG_SYSROOT_DIR=str(root),
                           PKG_CONFIG_PATH=str(pc.parent))
        # The sysroot is put before system folders too, where nothing is: harmless.
        flags = run(["pkg-config", "--cflags", "--libs", "--static", "ferry"],
                    env=environment).split()
        compiler = os.environ.get("CXX", shutil.which("g++") or "c++")
        for name in ("worker.cc", "host.cc", "listener.cc", "connector.cc"):
            source = pathlib.Path(folder) / name
            source.write_text(code_block(readme, name))
            run([compiler, "-std=c++20", "-Wall", "-Wextra", "-Werror", source, *flags,
                 "-o", source.with_suffix("")], cwd=folder)
        said = run(["./host"], cwd=folder)
        if said != "1 + 2 = 3\n":
            sys.exit(f"the README's host said {said!r}")
        check_channels(folder)
        copies = pathlib.Path(folder) / "tools" / "examples"
        shutil.copytree(examples, copies)
        for name in ("embed_worker.cc", "embed_coroutines.cc"):
            source = copies / name
            run([compiler, "-std=c++20", "-Wall", "-Wextra", "-Werror", f"-I{folder}", source,
                 *flags, "-o", source.with_suffix("")], cwd=folder)
        said = run([copies / "embed_coroutines", copies / "embed_worker"], cwd=folder)
        if "20 + 22: 42\n" not in said:
            sys.exit(f"the example said {said!r}")
        version = run([next(root.rglob("bin/ferry")), "version"])
        if "ferry" not in version:
            sys.exit(f"ferry version said {version!r}")


main()
