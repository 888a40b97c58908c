#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Holds every #include to docs/layers.txt: direction, front door only, third-party headers at their owner only.

layers.py ROOT        checks the tree; prints each violation as FILE:LINE and exits 1
layers.py --self-test checks the checker on violations made for it
"""
import os
import re
import sys
import tempfile

INCLUDE = re.compile(r'^\s*#\s*include\s*(["<])([^">]+)[">]')
# Headers of libc, POSIX and Linux are free; what is owned is named in layers.txt.
THIRD_PARTY = ("event2", "sodium", "lwip", "lwip_hooks", "jansson", "libfyaml", "llhttp", "nghttp2", "curl", "wslay",
               "openssl", "pcre2", "systemd", "linux/if_tun", "linux/rtnetlink", "linux/virtio_net", "cmocka")


def read_layers(path):
    layers = {}
    for number, line in enumerate(open(path), 1):
        line = line.split("#")[0].rstrip()
        if not line.strip():
            continue
        name, may, third = (part.split() for part in line.split(":"))
        for other in may:
            if other not in layers:
                raise SystemExit(f"{path}:{number}: {name[0]} names {other}, which does not stand above it")
        layers[name[0]] = (set(may), set(third))
    return layers


def front_door(folder, header):
    return folder == "base" or header == f"{folder}/{folder}.h"


def owner_key(header):
    for key in THIRD_PARTY:
        if header == key or header.startswith((key + "/", key + ".")):
            return key
    return None


def check_include(layers, folder, kind, header):
    """None, or what is wrong with this #include in a file of this folder."""
    may, third = layers[folder]
    if kind == '"':
        other = header.split("/")[0]
        if "/" not in header:
            return "write the folder into the path"
        if other not in layers:
            return f"{other}/ is not in docs/layers.txt"
        if other == folder:
            return None
        if other not in may:
            return f"{folder}/ may not include {other}/"
        if not front_door(other, header):
            return f"only the front door {other}/{other}.h may be included"
        return None
    key = owner_key(header)
    if key and key not in third:
        return f"<{header}> is not for {folder}/"
    return None


def check_tree(root, layers):
    bad, seen = [], 0
    for folder in layers:
        top = os.path.join(root, folder)
        if not os.path.isdir(top):
            continue
        for name in sorted(os.listdir(top)):
            if not name.endswith((".c", ".h")):
                continue
            seen += 1
            for number, line in enumerate(open(os.path.join(top, name)), 1):
                found = INCLUDE.match(line)
                if not found:
                    continue
                wrong = check_include(layers, folder, *found.groups())
                if wrong:
                    bad.append(f"{folder}/{name}:{number}: {line.strip()}: {wrong}")
    for name in sorted(os.listdir(root)):
        has_code = os.path.isdir(os.path.join(root, name)) and any(
            f.endswith(".c") for f in os.listdir(os.path.join(root, name)))
        if has_code and name not in layers and name not in ("tests", "bench", "build"):
            bad.append(f"{name}/: a folder with code that docs/layers.txt does not name")
    return bad, seen


def self_test(layers):
    wrong = [("crypto", '"', "overlay/overlay.h"), ("node", '"', "overlay/trie.h"), ("overlay", "<", "event2/event.h"),
             ("base", "<", "sodium.h"), ("daemon", '"', "manager/manager.h"), ("relay", "<", "lwip/tcp.h"),
             ("cli", '"', "nowhere/x.h"), ("cli", '"', "plain.h")]
    right = [("node", '"', "overlay/overlay.h"), ("node", '"', "base/pkt.h"), ("overlay", '"', "overlay/trie.h"),
             ("crypto", "<", "sodium.h"), ("base", "<", "stdio.h")]
    for case in wrong:
        assert check_include(layers, *case), f"not found: {case}"
    for case in right:
        assert not check_include(layers, *case), f"refused: {case}"
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as f:
        f.write("a : b :\nb : :\n")
        f.flush()
        try:
            read_layers(f.name)
        except SystemExit:
            pass
        else:
            raise AssertionError("an upward name was accepted")


def main():
    root = os.path.abspath(sys.argv[1])
    layers = read_layers(os.path.join(root, "docs/layers.txt"))
    self_test(layers)
    bad, seen = check_tree(root, layers)
    print("\n".join(bad) if bad else f"{seen} files keep to docs/layers.txt")
    return 1 if bad or not seen else 0


sys.exit(main())
