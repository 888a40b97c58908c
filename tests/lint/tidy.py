#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""clang-tidy over every source file of ours; .clang-tidy gives each disabled check its reason.

tidy.py ROOT BUILD [FILE...]     BUILD holds compile_commands.json; prints what it finds and exits 1

It takes minutes, so a file that passed is not looked at again until its bytes, those of a header it includes, its compile command, the
checks or clang-tidy itself are others: the sums of what passed are kept in ~/.cache/culvert/tidy.
"""
import concurrent.futures
import functools
import hashlib
import json
import os
import shlex
import subprocess
import sys
import time

CACHE = os.path.expanduser("~/.cache/culvert/tidy")
# gcc's own flags are unknown to clang: not an error of ours.
TIDY = ["clang-tidy", "--quiet", "--warnings-as-errors=*", "--extra-arg=-Wno-unknown-warning-option"]


@functools.cache
def content(path):
    with open(path, "rb") as f:
        return hashlib.sha256(f.read()).hexdigest()


class Checker:
    def __init__(self, root, build):
        self.root, self.build = os.path.abspath(root), os.path.abspath(build)
        version = subprocess.run(["clang-tidy", "--version"], capture_output=True, text=True, check=True).stdout
        self.common = [version, *TIDY, content(f"{self.root}/.clang-tidy")]
        self.commands = {}
        with open(f"{self.build}/compile_commands.json") as f:
            for entry in json.load(f):
                self.commands.setdefault(entry["file"], []).append(entry)

    def anywhere(self, text):
        """The same in every clone."""
        return text.replace(self.build, "BUILD").replace(self.root, "ROOT")

    def told(self, entry):
        """What the outcome depends on, of one way to compile it."""
        argv = [a for a in shlex.split(entry["command"]) if a != "ccache"]
        for flag in ("-o", "-MF"):
            if flag in argv:
                argv[argv.index(flag):argv.index(flag) + 2] = []
        argv = [a for a in argv if a not in ("-c", "-MD", "-MMD")]
        rule = subprocess.run([*argv, "-M", "-MT", "x"], cwd=entry["directory"], capture_output=True, text=True, check=True).stdout
        deps = sorted({os.path.normpath(os.path.join(entry["directory"], d)) for d in rule.replace("\\\n", " ").split()[1:]})
        return [self.anywhere(a) for a in argv[1:]] + [f"{self.anywhere(d)} {content(d)}" for d in deps]

    def sum(self, path):
        told = self.common + [line for entry in self.commands[path] for line in self.told(entry)]
        return hashlib.sha256("\n".join(told).encode()).hexdigest()

    def check(self, path):
        """What clang-tidy says of it; nothing, when it passes."""
        passed = f"{CACHE}/{self.sum(path)}" if path in self.commands else None  # this build leaves it out
        if passed and os.path.exists(passed):
            os.utime(passed)
            return ""
        done = subprocess.run([*TIDY, "-p", self.build, path], capture_output=True, text=True)
        if done.returncode:
            return done.stdout + done.stderr + f"{path}: clang-tidy's exit code is {done.returncode}\n"
        if passed:
            with open(passed, "w"):
                pass
        return ""


def main(root, build, *files):
    checker = Checker(root, build)
    files = files or subprocess.run(["git", "ls-files", "*.c", ":!third_party", ":!tests", ":!bench"], cwd=root, capture_output=True, text=True,
                                    check=True).stdout.split()
    os.makedirs(CACHE, exist_ok=True)
    for old in os.scandir(CACHE):
        if old.stat().st_mtime < time.time() - 30 * 86400:
            os.unlink(old)
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        found = "".join(pool.map(checker.check, [os.path.join(checker.root, f) for f in files]))
    print(found, end="")
    return 1 if found or not files else 0


sys.exit(main(*sys.argv[1:]))
