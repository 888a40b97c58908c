# SPDX-License-Identifier: Apache-2.0
"""Container images without a container engine: one layer of given files, as an archive in OCI's layout that also has
docker's manifest.json: containerd, docker, podman, skopeo and kind read it.

The same files give the same bytes, and so the same image: times are 0, names sorted, owners root.
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


def layer(files, links, tmp):
    """A tar of `files` {path in the image: path here} and `links` {path in the image: target}, with their folders, and /tmp."""
    out = io.BytesIO()
    folders = set()
    for path in list(files) + list(links):
        while os.path.dirname(path) not in ("", "/"):
            path = os.path.dirname(path)
            folders.add(path)
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path in sorted(folders | ({"/tmp"} if tmp else set())):
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


def descriptor(kind, blob):
    return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": f"sha256:{hashlib.sha256(blob).hexdigest()}", "size": len(blob)}


def blob_path(d):
    return "blobs/" + d["digest"].replace(":", "/")


def to_json(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def write(archive, reference, files, entrypoint, links=None, env=None, user="", labels=None, tmp=True):
    """Writes the image `reference` to the file `archive`; returns the reference. `env` None: a PATH alone."""
    data = layer(files, links or {}, tmp)
    env = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"} if env is None else env
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
    content = descriptor("layer.v1.tar", data)
    config = to_json({
        "architecture": machine, "os": "linux", "created": "1970-01-01T00:00:00Z",
        "config": {"Entrypoint": entrypoint, "Env": [f"{k}={v}" for k, v in env.items()], "User": user, "WorkingDir": "/",
                   "Labels": labels or {}},
        "rootfs": {"type": "layers", "diff_ids": [content["digest"]]}})
    about = descriptor("config.v1+json", config)
    manifest = to_json({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": about,
                        "layers": [content]})
    names = {"io.containerd.image.name": reference, "org.opencontainers.image.ref.name": reference.rpartition(":")[2]}
    root = {**descriptor("manifest.v1+json", manifest), "annotations": names, "platform": {"architecture": machine, "os": "linux"}}
    with tarfile.open(archive, "w") as tar:
        for path, blob in ((blob_path(content), data), (blob_path(about), config), (blob_path(root), manifest),
                           ("index.json", to_json({"schemaVersion": 2, "manifests": [root]})),
                           ("manifest.json", to_json([{"Config": blob_path(about), "RepoTags": [reference],
                                                       "Layers": [blob_path(content)]}])),
                           ("oci-layout", to_json({"imageLayoutVersion": "1.0.0"}))):
            info = entry(path, mode=0o644)
            info.size = len(blob)
            tar.addfile(info, io.BytesIO(blob))
    return reference


def busybox_links(applets):
    """Links for busybox' commands, so that a pod has a shell, wget, nslookup and the rest."""
    return {f"/bin/{a}": "busybox" for a in applets if a != "busybox"}
