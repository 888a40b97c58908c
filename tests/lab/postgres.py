# SPDX-License-Identifier: Apache-2.0
"""A PostgreSQL out of Debian's packages, fetched and unpacked but not installed: an image for a pod, and its client for a laptop.

The packages are kept in ~/.cache/culvert; what they are linked with comes from them, else from this machine, a Debian of the same release.
"""
import os
import re
import shutil
import tempfile

from kube import image
from lab import Failed, sh

PACKAGES = ("postgresql-15", "postgresql-client-15", "libpq5", "libicu72", "libldap-2.5-0", "libsasl2-2", "libxml2")
CACHE = os.path.expanduser("~/.cache/culvert/postgresql-15")
UID = 999

START = """#!/bin/sh
# An unsynced database: it lives as long as its pod.
set -e
bin=/usr/lib/postgresql/15/bin
$bin/initdb --pgdata=/data/db --username=shop --auth=trust --no-locale --encoding=UTF8 --no-sync
echo "host all all all trust" >>/data/db/pg_hba.conf
exec $bin/postgres -D /data/db -h 0.0.0.0 -k /tmp -c fsync=off -c wal_level=minimal -c max_wal_senders=0 -c shared_buffers=32MB -c jit=off
"""

POD = """
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: {space}, labels: {{app: {name}}}}}
spec:
  terminationGracePeriodSeconds: 0
  securityContext: {{runAsNonRoot: true, runAsUser: 999, fsGroup: 999, seccompProfile: {{type: RuntimeDefault}}}}
  containers:
  - name: postgres
    image: {image}
    ports: [{{name: postgres, containerPort: 5432}}]
    readinessProbe: {{exec: {{command: [/usr/lib/postgresql/15/bin/pg_isready, -h, 127.0.0.1, -U, shop]}}, periodSeconds: 1, timeoutSeconds: 10}}
    securityContext: {{allowPrivilegeEscalation: false, capabilities: {{drop: [ALL]}}}}
    volumeMounts: [{{name: data, mountPath: /data}}]
  volumes: [{{name: data, emptyDir: {{}}}}]
---
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: {space}}}
spec:
  selector: {{app: {name}}}
  ports: [{{name: postgres, port: 5432, targetPort: postgres}}]
"""


def unpacked():
    """The folder with the packages' files."""
    if os.path.isdir(CACHE):
        return CACHE
    os.makedirs(os.path.dirname(CACHE), exist_ok=True)
    folder = tempfile.mkdtemp(prefix="postgresql-", dir=os.path.dirname(CACHE))
    try:
        fetched = f"{folder}/packages"
        os.mkdir(fetched)
        done = sh("apt-get", "-o", "APT::Sandbox::User=root", "download", *PACKAGES, cwd=fetched, check=False, timeout=300)
        if done.returncode:
            raise Failed(f"Debian's PostgreSQL could not be fetched (apt-get update first?): {done.stderr}")
        for package in sorted(os.listdir(fetched)):
            sh("dpkg-deb", "-x", f"{fetched}/{package}", f"{folder}/root")
        os.chmod(f"{folder}/root", 0o755)
        os.rename(f"{folder}/root", CACHE)
    finally:
        shutil.rmtree(folder)
    return CACHE


def library_path(root):
    return f"{root}/usr/lib/{os.uname().machine}-linux-gnu"


def libraries(root, *programs):
    """{path: path here} of all that the programs are linked with."""
    env = {**os.environ, "LD_LIBRARY_PATH": library_path(root)}
    found = {}
    for program in programs:
        text = sh("ldd", program, env=env).stdout
        if "not found" in text:
            raise Failed(f"{program} lacks a library on this machine: {text}")
        for path in re.findall(r"(/\S+) \(0x", text):
            found[path.removeprefix(root)] = os.path.realpath(path)
    return found


def postgres_image(kube):
    root = unpacked()
    bin, lib, share = (f"{root}/usr/{d}/postgresql/15/{e}" for d, e in (("lib", "bin"), ("lib", "lib"), ("share", "")))
    programs = [f"{bin}/{p}" for p in ("initdb", "postgres", "pg_isready", "psql")]
    files = libraries(root, *programs)
    for path in programs + [f"{lib}/{so}" for so in ("plpgsql.so", "dict_snowball.so")] + list(tree(share)):
        files[path.removeprefix(root)] = path
    with tempfile.TemporaryDirectory() as made:
        for name, text in (("start", START), ("passwd", f"shop:x:{UID}:{UID}::/tmp:/bin/sh\n")):
            with open(f"{made}/{name}", "w") as f:
                f.write(text)
        os.chmod(f"{made}/start", 0o755)
        applets = sh(image.BUSYBOX, "--list").stdout.split()
        return kube.image("postgres", {**files, image.BUSYBOX: image.BUSYBOX, "/start": f"{made}/start", "/etc/passwd": f"{made}/passwd"},
                          ["/start"], links=image.busybox_links(applets), user=f"{UID}:{UID}")


def tree(top):
    for folder, _, names in os.walk(top):
        for name in names:
            path = os.path.join(folder, name)
            if os.path.isfile(path) and not path.endswith((".7.gz", ".1.gz", ".mo")):
                yield path


def psql():
    """Its argv up to the arguments, for any place of this machine."""
    root = unpacked()
    return ["env", f"LD_LIBRARY_PATH={library_path(root)}", f"{root}/usr/lib/postgresql/15/bin/psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"]
