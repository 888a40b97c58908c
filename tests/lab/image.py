# SPDX-License-Identifier: Apache-2.0
"""Container images without a container engine: one layer of given files, as an archive that containerd and skopeo read.

The same files give the same bytes, and so the same image.
"""
import hashlib
import io
import json
import os
import tarfile

BUSYBOX = "/bin/busybox"


def entry(path, kind=tarfile.REGTYPE, mode=0o755):
    info = tarfile.TarInfo(path.strip("/"))
    info.type, info.mode = kind, mode
    return info


def layer(files, links):
    """A tar of `files` {path in the image: path here} and `links` {path in the image: target}, with their folders."""
    out = io.BytesIO()
    folders = set()
    for path in list(files) + list(links):
        while os.path.dirname(path) not in ("", "/"):
            path = os.path.dirname(path)
            folders.add(path)
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path in sorted(folders | {"/tmp"}):
            tar.addfile(entry(path, tarfile.DIRTYPE, 0o1777 if path == "/tmp" else 0o755))
        for path, source in sorted(files.items()):
            info = entry(path, mode=0o755 if os.access(source, os.X_OK) else 0o644)
            info.size = os.path.getsize(source)
            with open(source, "rb") as f:
                tar.addfile(info, f)
        for path, target in sorted(links.items()):
            info = entry(path, tarfile.SYMTYPE, 0o777)
            info.linkname = target
            tar.addfile(info)
    return out.getvalue()


def write(archive, reference, files, entrypoint, links=None, env=None, user=""):
    """Writes the image `reference` to the file `archive`; returns the reference."""
    data = layer(files, links or {})
    digest = hashlib.sha256(data).hexdigest()
    env = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", **(env or {})}
    config = json.dumps({
        "architecture": {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine), "os": "linux",
        "config": {"Entrypoint": entrypoint, "Env": [f"{k}={v}" for k, v in env.items()], "User": user, "WorkingDir": "/"},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]}}).encode()
    name = hashlib.sha256(config).hexdigest() + ".json"
    manifest = json.dumps([{"Config": name, "RepoTags": [reference], "Layers": [f"{digest}.tar"]}]).encode()
    with tarfile.open(archive, "w") as tar:
        for path, content in ((f"{digest}.tar", data), (name, config), ("manifest.json", manifest)):
            info = entry(path, mode=0o644)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return reference


def busybox_links(applets):
    """Links for busybox' commands, so that a pod has a shell, wget, nslookup and the rest."""
    return {f"/bin/{a}": "busybox" for a in applets if a != "busybox"}
