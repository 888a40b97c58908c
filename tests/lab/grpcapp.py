# SPDX-License-Identifier: Apache-2.0
"""The gRPC service and client of tests/grpc, as a pod's image and as a program for laptops and nodes."""
import collections
import os

from lab import ROOT, sh

KINDS = ("unary", "client-stream", "server-stream", "bidi")


def program():
    return sh(os.path.join(ROOT, "tests/grpc/build"), timeout=600).stdout.strip()


def image(kube):
    return kube.image("grpc", {"/grpc": program()}, ["/grpc"])


def serve(address, name):
    return ["serve", "--listen", address, "--name", name]


def ask(to, kind, count, *fields, at_once=8):
    """argv of so many calls, over several connections; each of `fields` is NAME=VALUE."""
    return [program(), "call", "--to", to, "-n", str(count), "-c", str(min(at_once, count)), "--keep", "--timeout", "60s", *[f for field in fields for f in ("-H", field)], kind]


def said(text):
    """{who served: how often}."""
    found = collections.Counter()
    for line in text.splitlines():
        _, who, count = line.split()
        found[who] += int(count)
    return found
