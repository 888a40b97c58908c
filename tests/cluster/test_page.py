#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""tests/cluster/page: no line of it may fail."""
import os
import sys

page = os.path.join(os.path.dirname(os.path.abspath(__file__)), "page")
os.execv(sys.executable, [sys.executable, page])
