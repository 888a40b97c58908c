# SPDX-License-Identifier: Apache-2.0
"""culvert in a cluster of our own: its images from the binaries under test, and `culvert install` as the administrator."""
import os
import re

from lab import Failed, sh

PARTS = ("manager", "agent")


def image(kube, part):
    """A program with the libraries that it is linked with, whichever way it was built."""
    program = f"{kube.bin}/culvert-{part}"
    libraries = re.findall(r"(/\S+) \(0x", sh("ldd", program, check=False).stdout)
    return kube.image(part, {f"/culvert-{part}": program, **{lib: os.path.realpath(lib) for lib in libraries}}, [f"/culvert-{part}"],
                      user="65532:65532")


def administrator(kube, *argv, timeout=200, check=True):
    """culvert on the laptop with the administrator's kubeconfig."""
    config = kube.kubectl_environment()["KUBECONFIG"]
    return kube.run("laptop", "env", f"KUBECONFIG={config}", "NO_COLOR=1", f"{kube.bin}/culvert", *argv, check=check, timeout=timeout)


def install(kube, *flags, group="developers"):
    """Who is of `group` may connect then. What install said."""
    images = {part: image(kube, part) for part in PARTS + (("gateway",) if any(f.startswith("--preview-") for f in flags) else ())}
    done = administrator(kube, "install", "--allow-group", group, *[f"--{part}-image={name}" for part, name in images.items()], *flags)
    if "culvert" not in kube.kubectl("get", "namespaces", "-o", "name").stdout:
        raise Failed(f"install said it was done, but made no namespace: {done.stdout}{done.stderr}")
    return done.stdout + done.stderr
