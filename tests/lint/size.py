#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The size budget of the house: functions of at most 100 lines, files of at most 800, headers with a title comment."""
import re
import subprocess
import sys

root = sys.argv[1]
files = subprocess.run(["git", "-C", root, "ls-files", "*.c", "*.h", ":!third_party"], check=True, text=True,
                       capture_output=True).stdout.split()
bad = []
for name in files:
    lines = open(f"{root}/{name}").read().split("\n")
    if len(lines) > 801:
        bad.append(f"{name}: {len(lines)} lines; would two names say it better?")
    if "SPDX-License-Identifier: Apache-2.0" not in lines[0]:
        bad.append(f"{name}:1: the licence line is missing")
    if not any(line.startswith(("/*", " *")) for line in lines[1:3]):
        bad.append(f"{name}:2: the title comment is missing")
    start = None
    for number, line in enumerate(lines, 1):
        if line == "{":
            start = number
        elif line == "}" and start:
            if number - start - 1 > 100:
                bad.append(f"{name}:{start}: a function of {number - start - 1} lines")
            start = None
print("\n".join(bad) if bad else f"{len(files)} files within the budget")
sys.exit(1 if bad or not files else 0)
