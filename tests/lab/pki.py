# SPDX-License-Identifier: Apache-2.0
"""A cluster's certificates, made by openssl, and kubeconfigs with them."""
import base64
import os

from lab import sh

EC = ("-pkeyopt", "ec_paramgen_curve:P-256")


class Pki:
    def __init__(self, folder, server):
        self.folder, self.server = folder, server

    def path(self, name):
        return os.path.join(self.folder, name)

    def authority(self):
        os.makedirs(self.folder, mode=0o700, exist_ok=True)
        sh("openssl", "req", "-x509", "-newkey", "ec", *EC, "-nodes", "-keyout", self.path("ca.key"), "-out", self.path("ca.crt"),
           "-days", "365", "-subj", "/CN=kubernetes-ca")
        sh("openssl", "genpkey", "-algorithm", "EC", *EC, "-out", self.path("sa.key"))
        sh("openssl", "pkey", "-in", self.path("sa.key"), "-pubout", "-out", self.path("sa.pub"))

    def certificate(self, name, user, groups=(), names=""):
        """NAME.crt and NAME.key of a user with groups; `names` (DNS:..., IP:...) for one that serves."""
        subject = "".join(f"/O={g}" for g in groups) + "/CN=" + user.replace("/", "\\/")
        with open(self.path(f"{name}.ext"), "w") as f:
            f.write("keyUsage=digitalSignature,keyEncipherment\nextendedKeyUsage=serverAuth,clientAuth\n")
            f.write(f"subjectAltName={names}\n" if names else "")
        sh("openssl", "req", "-newkey", "ec", *EC, "-nodes", "-keyout", self.path(f"{name}.key"), "-out", self.path(f"{name}.csr"),
           "-utf8", "-subj", subject)
        sh("openssl", "x509", "-req", "-in", self.path(f"{name}.csr"), "-CA", self.path("ca.crt"), "-CAkey", self.path("ca.key"),
           "-CAcreateserial", "-days", "365", "-out", self.path(f"{name}.crt"), "-extfile", self.path(f"{name}.ext"))

    def base64(self, name):
        with open(self.path(name), "rb") as f:
            return base64.b64encode(f.read()).decode()

    def kubeconfig(self, name, namespace="default"):
        """The text of a kubeconfig with the certificate NAME in it."""
        return f"""apiVersion: v1
kind: Config
clusters:
- name: test
  cluster:
    server: {self.server}
    certificate-authority-data: {self.base64("ca.crt")}
users:
- name: {name}
  user:
    client-certificate-data: {self.base64(f"{name}.crt")}
    client-key-data: {self.base64(f"{name}.key")}
contexts:
- name: test
  context: {{cluster: test, user: {name}, namespace: {namespace}}}
current-context: test
"""
