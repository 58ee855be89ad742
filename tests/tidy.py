#!/usr/bin/env python3
"""Checks what a reviewer should not have to: the rules of this tree that a program can see.

Usage     tests/tidy.py [ROOT]      prints `file:line: problem`; exit 1 when there is any
          tests/tidy.py --self-test   plants one breach of each rule and demands that it is found
Rules     includes    shm <- ring <- engine <- {worker, supervisor} <- tools; never into tests/ or
                      perf/ from elsewhere; by path from the root; a .cc's own header comes first
          sync()      a tag stands at both ends: on two lines or more outside the tests, and an
                      acquire wherever there is a release; in ring/*.h every order stronger than
                      relaxed and every full fence has its tag within 6 lines
          headers     begin with their manual, a comment, and have #pragma once
          meson       every .cc is listed in the meson.build of its folder or of one above
          text        100 columns, no tabs, no trailing blanks, a newline at the end, no notes to do
                      later, no path of somebody's machine and no host of a private network
          size        500 lines, or a line that begins with `// long:` and says why
"""
import os
import pathlib
import re
import sys
import tempfile

MAX_COLUMNS = 100
MAX_LINES = 500
SYNC_REACH = 6  # lines between a tag's comment and its operation

LEFT_OF = {
    "shm": set(),
    "ring": {"shm"},
    "engine": {"shm", "ring"},
    "worker": {"shm", "ring", "engine"},
    "supervisor": {"shm", "ring", "engine"},
    "tools": {"shm", "ring", "engine", "worker", "supervisor"},
}
LEFT_OF["tests"] = LEFT_OF["perf"] = set(LEFT_OF) | {"tests", "perf"}

CPP = {".h", ".cc"}
# Our own text of which every line is somebody's to read; data, licences and foreign code are not.
CODE = CPP | {".py", ".sh", ".pml", ".build"}
TEXT = CODE | {".md", ".txt", ".json", ".yml", ".yaml", ".toml"}
CODE_NAMES = {"meson_options.txt", "meson.options"}
SKIPPED_FOLDERS = {"build", "__pycache__", "node_modules", "vendor", "subprojects"}

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')
SYNC = re.compile(r"(?<!\w)sync\(([a-z][\w]*(?:\.\w+)+)\)(?:\s+(acquire|release|acq_rel)\b)?")
ORDER = re.compile(r"\bmemory_order(?:_|::)(?:acquire|release|acq_rel|seq_cst|consume)\b"
                   r"|\bfull_fence\(\)")
# Written in pieces, so that this file does not break its own rules.
NOTE = re.compile(r"\b(?:TO" r"DO|FIX" r"ME|X" r"XX)\b")
MACHINE_PATH = re.compile(r"(?<![\w.])/(?:ho" r"me|Us" r"ers)/\w|(?<![\w.])/ro" r"ot/")
PRIVATE_HOST = re.compile(
    r"://(?:[\w.-]+@)?(?:10\.\d+|192\.168|172\.(?:1[6-9]|2\d|3[01]))\.\d+"
    r"|[\w-]+\.(?:internal|corp|intranet|lan)(?=[:/\s\"']|$)"
    r"|\b(?:artif" r"actory|dev" r"pi|verd" r"accio)\b|--(?:extra-)?index-u" r"rl|\bGOPR" r"OXY=")
QUOTED = re.compile(r"#.*|'([^'\n]*)'")  # a comment may hold an apostrophe


class Checker:
    def __init__(self, root):
        self.root = pathlib.Path(root)
        self.problems = []
        self.sync_lines = {}  # tag: [(path, line number, role)]

    def report(self, path, line, problem):
        self.problems.append((str(path.relative_to(self.root)), line, problem))

    def files(self):
        for folder, folders, names in os.walk(self.root):
            here = pathlib.Path(folder)
            folders[:] = sorted(
                name for name in folders
                if name not in SKIPPED_FOLDERS and (not name.startswith(".") or name == ".ci")
                and not (here / name / "meson-private").exists())
            yield from (here / name for name in sorted(names) if not (here / name).is_symlink())

    def check(self):
        for path in self.files():
            try:
                head = path.open("rb").read(2)
            except OSError as why:
                self.report(path, 0, f"cannot be read: {why.strerror}")
                continue
            is_script = path.suffix == "" and head == b"#!"
            is_code = path.suffix in CODE or path.name in CODE_NAMES or is_script
            if not is_code and path.suffix not in TEXT:
                continue
            try:
                text = path.read_text(encoding="utf-8")
            except UnicodeDecodeError:
                self.report(path, 0, "is not UTF-8")
                continue
            lines = text.split("\n")
            if lines[-1] == "":
                lines.pop()
            self.check_text(path, text, lines, is_code)
            if path.suffix in CPP:
                self.check_cpp(path, lines)
        self.check_sync_pairs()
        return sorted(self.problems)

    def check_text(self, path, text, lines, is_code):
        if text and not text.endswith("\n"):
            self.report(path, len(lines), "no newline at the end")
        for number, line in enumerate(lines, 1):
            if NOTE.search(line):
                self.report(path, number, "a note to do later: do it, or open an issue")
            if MACHINE_PATH.search(line):
                self.report(path, number, "a path of somebody's machine")
            if PRIVATE_HOST.search(line):
                self.report(path, number, "a registry or a host of a private network")
            if not is_code:
                continue
            if len(line) > MAX_COLUMNS:
                self.report(path, number, f"{len(line)} columns, more than {MAX_COLUMNS}")
            if "\t" in line:
                self.report(path, number, "a tab")
            if line != line.rstrip():
                self.report(path, number, "blanks at the end")
        if is_code and len(lines) > MAX_LINES:
            if not any(re.match(r"\s*(?://|#) long: \S", line) for line in lines):
                self.report(path, MAX_LINES, f"{len(lines)} lines: find the second idea in it, or "
                                             "say why in a line `// long: reason`")

    def check_cpp(self, path, lines):
        inside = path.relative_to(self.root)
        folder = inside.parts[0] if len(inside.parts) > 1 else ""
        self.check_includes(path, inside, folder, lines)
        for number, line in enumerate(lines, 1):
            for tag, role in SYNC.findall(line):
                self.sync_lines.setdefault(tag, []).append((path, number, role))
        if path.suffix == ".h":
            if not lines or not lines[0].startswith("//"):
                self.report(path, 1, "a header begins with its manual, a comment")
            if not any(line.strip() == "#pragma once" for line in lines):
                self.report(path, 1, "no #pragma once")
            if folder == "ring":
                self.check_orders(path, lines)
        else:
            self.check_listed(path)

    def check_includes(self, path, inside, folder, lines):
        own = inside.with_suffix(".h").as_posix()
        needs_own = path.suffix == ".cc" and path.with_suffix(".h").exists()
        for number, line in enumerate(lines, 1):
            match = INCLUDE.match(line)
            if not match:
                continue
            quoted, target = match.group(1) == '"', match.group(2)
            if needs_own and target != own:
                self.report(path, number, f'"{own}" must be the first include')
            needs_own = False
            where = target.split("/")[0]
            if "/" in target and where in LEFT_OF:
                if where != folder and where not in LEFT_OF.get(folder, LEFT_OF["tools"]):
                    self.report(path, number, f"{folder or 'this file'} must not include {where}/")
            elif quoted:
                self.report(path, number, f'"{target}": include by path from the root')
        if needs_own:
            self.report(path, 1, f'"{own}" must be the first include')

    def check_orders(self, path, lines):
        for number, line in enumerate(lines, 1):
            if not ORDER.search(line.split("//")[0]):
                continue
            near = lines[max(0, number - 1 - SYNC_REACH):number]
            if not any(SYNC.search(one) for one in near):
                self.report(path, number, "a memory order or fence without its sync(tag)")

    def check_sync_pairs(self):
        for tag, all_ends in sorted(self.sync_lines.items()):
            ends = [end for end in all_ends
                    if end[0].relative_to(self.root).parts[0] not in ("tests", "perf")]
            path, number, _ = (ends or all_ends)[0]
            roles = {role for _, _, role in ends if role}
            if not ends:
                self.report(path, number, f"sync({tag}) stands only in tests")
            elif len(ends) < 2:
                self.report(path, number, f"sync({tag}) has no other end")
            elif roles in ({"acquire"}, {"release"}):
                other = "release" if roles == {"acquire"} else "acquire"
                self.report(path, number, f"sync({tag}) has no {other}")

    def check_listed(self, path):
        folder = path.parent
        while True:
            build = folder / "meson.build"
            if build.exists() and is_listed(path.relative_to(folder).as_posix(),
                                            set(QUOTED.findall(build.read_text()))):
                return
            if folder == self.root:
                break
            folder = folder.parent
        self.report(path, 1, "no meson.build lists it")


def is_listed(name, strings):
    """Whether a meson.build's strings name the file, as a whole or as in `stem + '_test.cc'`."""
    if name in strings:
        return True
    for cut in range(1, len(name)):
        stem, rest = name[:cut], name[cut:]
        if stem in strings and (rest in strings or "@0@" + rest in strings):
            return True
    return False


ONCE = "// Manual.\n#pragma once\n"

# A tree without fault; each breach below replaces or adds one file and names the complaint.
GOOD = {
    "meson.build": "subdir('ring')\n",
    "ring/meson.build": "# it's\nfiles('ring.cc')\n"
                        "foreach one : ['spin']\n  files(one + '_loop.cc')\n",
    "ring/ring.h": ONCE + '#include <atomic>\n#include "shm/result.h"\n'
                   "// sync(ring.data) release: pairs with pop.\n"
                   "x.store(1, std::memory_order_release);\n"
                   "// sync(ring.data) acquire: pairs with push.\n"
                   "x.load(std::memory_order_acquire);\n",
    "ring/ring.cc": '#include "ring/ring.h"\n\n#include <vector>\nfsync(fd.get());\n',
    "ring/spin_loop.cc": '#include "shm/result.h"\nauto name = "/tmp/ferry.XXXXXX";\n',
    "shm/result.h": ONCE,
    "worker/worker.h": ONCE + '#include "engine/client/client.h"\n',
    "engine/client/client.h": ONCE + '#include "ring/ring.h"\n',
    "tests/meson.build": "files('a_test.cc')\n",
    "tests/a_test.cc": '#include <gtest/gtest.h>\n#include "tools/verb.h"\n#include "perf/x.h"\n',
    "tools/go": "#!/bin/sh\necho go\n",
    "README.md": "# Ferry\n" + "long " * 40 + "line\n",
    "build/junk.cc": "\t \n",
}
BREACHES = [
    ("shm/result.h", ONCE + '#include "ring/ring.h"\n', "shm must not include ring/"),
    ("worker/worker.h", ONCE + '#include "supervisor/launch.h"\n',
     "worker must not include supervisor/"),
    ("engine/client/client.h", ONCE + "#include <worker/worker.h>\n",
     "engine must not include worker/"),
    ("tools/verb.h", ONCE + '#include "tests/support.h"\n', "tools must not include tests/"),
    ("tools/verb.h", ONCE + '#include "perf/measure.h"\n', "tools must not include perf/"),
    ("engine/client/client.h", ONCE + '#include "driver.h"\n', "include by path from the root"),
    ("ring/ring.cc", '#include <vector>\n#include "ring/ring.h"\n', "must be the first include"),
    ("ring/ring.cc", "int x;\n", "must be the first include"),
    ("ring/ring.h", ONCE + "// sync(ring.data) release\nx.store(1, std::memory_order_release);\n",
     "sync(ring.data) has no other end"),
    ("ring/ring.h", ONCE + "// sync(ring.data) release\n" * 2, "sync(ring.data) has no acquire"),
    ("tests/a_test.cc", "// sync(ring.other)\n" * 2, "sync(ring.other) stands only in tests"),
    ("ring/claim.h", ONCE + "x.load(std::memory_order_acquire);\n", "without its sync(tag)"),
    ("ring/claim.h", ONCE + "Atomics::full_fence();\n", "without its sync(tag)"),
    ("ring/claim.h", ONCE + "// sync(ring.data)\n" + "\n" * 6 + "Atomics::full_fence();\n",
     "without its sync(tag)"),
    ("shm/result.h", "#pragma once\n// Late.\n", "begins with its manual"),
    ("shm/result.h", "// A result.\n", "no #pragma once"),
    ("ring/lost.cc", "int x;\n", "no meson.build lists it"),
    ("ring/meson.build", "files('ring.cc', 'spin_loop.h')\n", "no meson.build lists it"),
    ("shm/result.h", ONCE + "//" + "x" * 99 + "\n", "101 columns"),
    ("tools/go", "#!/bin/sh\n\techo\n", "a tab"),
    ("ring/meson.build", "files('ring.cc', 'spin_loop.cc') \n", "blanks at the end"),
    ("README.md", "# Ferry", "no newline at the end"),
    ("README.md", "# Ferry TO" "DO\n", "a note to do later"),
    ("tools/go", "#!/bin/sh\n# FIX" "ME: later\n", "a note to do later"),
    ("tools/go", "#!/bin/sh\nls /ho" "me/someone\n", "a path of somebody's machine"),
    ("README.md", "see /ro" "ot/ferry\n", "a path of somebody's machine"),
    ("README.md", "curl http://10.1" ".2.3:8081/apt\n", "a host of a private network"),
    ("README.md", "pip install --index" "-url x\n", "a host of a private network"),
    ("README.md", "see https://packages.example.inter" "nal/x\n", "a host of a private network"),
    ("shm/long.h", ONCE + "int x;\n" * 500, "502 lines"),
    ("shm/odd.h", b"// \xff\n#pragma once\n", "is not UTF-8"),
]


def check_tree(tree):
    with tempfile.TemporaryDirectory() as folder:
        for name, text in tree.items():
            path = pathlib.Path(folder) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return Checker(folder).check()


def self_test():
    bad = [f"a tree without fault: {problem}" for problem in check_tree(GOOD)]
    excused = GOOD | {"shm/long.h": ONCE + "// long: a table.\n" + "int x;\n" * 500}
    bad += [f"an excused file: {problem}" for problem in check_tree(excused)]
    for name, text, complaint in BREACHES:
        found = check_tree(GOOD | {name: text})
        if not any(complaint in problem for _, _, problem in found):
            bad.append(f"not caught: {name}: {complaint}; but {found}")
    print("\n".join(bad) if bad else f"self-test passed: {len(BREACHES)} breaches caught")
    return 1 if bad else 0


def main(arguments):
    if arguments == ["--self-test"]:
        return self_test()
    if len(arguments) > 1 or (arguments and arguments[0].startswith("-")):
        print(__doc__)
        return 0 if arguments[0] in ("-h", "--help") else 2
    root = arguments[0] if arguments else pathlib.Path(__file__).resolve().parent.parent
    problems = Checker(root).check()
    for name, line, problem in problems:
        print(f"{name}:{line}: {problem}")
    print(f"tidy: {len(problems)} problems" if problems else "tidy: clean")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
