# SPDX-License-Identifier: Apache-2.0
"""Debian's nginx as an ingress controller: a pod with TLS behind a LoadBalancer Service, and the objects by which anybody finds it.

Its configuration is made here from the Ingresses that are asked for, as a controller would make it: by host, connections to
the services kept open, nothing buffered, upgrades passed through.
"""
import os
import re
import shutil

import workloads
from lab import sh, wait_for

SPACE, SERVICE, CLASS = "ingress-nginx", "ingress-nginx-controller", "nginx"
HTTP, HTTPS = 8080, 8443
LABELS = {"app.kubernetes.io/name": "ingress-nginx", "app.kubernetes.io/component": "controller"}

CONFIG = """
worker_processes 1; daemon off; pid /tmp/nginx.pid; error_log /dev/stderr;
events {{ worker_connections 4096; }}
http {{
    access_log off; client_max_body_size 0; proxy_request_buffering off; proxy_buffering off; large_client_header_buffers 4 64k;
    proxy_read_timeout 600s; proxy_http_version 1.1; proxy_max_temp_file_size 0;
    client_body_temp_path /tmp/body; proxy_temp_path /tmp/proxy; fastcgi_temp_path /tmp/fastcgi; uwsgi_temp_path /tmp/uwsgi; scgi_temp_path /tmp/scgi;
    map $http_upgrade $connection_out {{ default upgrade; "" ""; }}
    ssl_certificate /tls/tls.crt; ssl_certificate_key /tls/tls.key;
    server {{ listen {http} default_server; listen {https} ssl default_server; return 404 "no such host\\n"; }}
{servers}}}
"""

SERVER = """    upstream {name}.backend {{ server {address}:{port}; keepalive 32; }}
    server {{
        listen {http}; listen {https} ssl; server_name {host};
        location / {{
            proxy_pass http://{name}.backend; proxy_set_header Host $http_host; proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_out; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        }}
    }}
"""


def nginx_image(kube):
    program = shutil.which("nginx") or "/usr/sbin/nginx"
    libraries = re.findall(r"(/\S+) \(0x", sh("ldd", program).stdout)
    return kube.image("nginx", {"/nginx": program, **{lib: os.path.realpath(lib) for lib in libraries}}, ["/nginx", "-e", "/dev/stderr", "-c", "/etc/nginx/nginx.conf"],
                      user="65532:65532")


def certificate(kube, hosts):
    """Signed by itself, once; the file of it."""
    folder = f"{kube.dir}/ingress"
    if os.path.exists(f"{folder}/tls.crt"):
        return f"{folder}/tls.crt"
    os.makedirs(folder)
    names = ",".join(f"DNS:{h}" for h in (*hosts, f"{SERVICE}.{SPACE}"))
    sh("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", f"{folder}/tls.key", "-out", f"{folder}/tls.crt",
       "-days", "30", "-subj", "/CN=ingress", "-addext", f"subjectAltName={names}")
    return f"{folder}/tls.crt"


def routes(rules, where, kind, tls=True):
    """The objects by which anybody finds a controller of that namespace, its Service of that kind."""
    return [
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": SERVICE, "namespace": where, "labels": LABELS}, "spec": {
            "type": kind, "selector": LABELS, "ports": [
                {"name": "http", "port": 80, "targetPort": "http"}, {"name": "https", "port": 443, "targetPort": "https"}]}},
        {"apiVersion": "networking.k8s.io/v1", "kind": "IngressClass", "metadata": {"name": CLASS}, "spec": {"controller": "k8s.io/ingress-nginx"}},
        *[{"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": host, "namespace": space}, "spec": {
            "ingressClassName": CLASS, **({"tls": [{"hosts": [host], "secretName": "tls"}]} if tls else {}),
            "rules": [{"host": host, "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": {"service": {
                "name": name, "port": {"number" if isinstance(port, int) else "name": port}}}}]}}]}} for host, (space, name, port) in rules.items()]]


def install(kube, rules, tls=True):
    """`rules`: {host: (namespace, service, port)}. The certificate's file; the Service is SERVICE in SPACE, with ports 80 and 443."""
    pem = certificate(kube, rules)
    servers = ""
    for host, (space, name, port) in rules.items():
        address = kube.get("-n", space, "service", name)["spec"]["clusterIP"]
        servers += SERVER.format(name=host, address=address, port=port, host=host, http=HTTP, https=HTTPS)
    workloads.apply(kube, workloads.namespace(SPACE))
    kube.kubectl("-n", SPACE, "create", "secret", "tls", "tls", f"--cert={pem}", f"--key={os.path.dirname(pem)}/tls.key")
    meta = {"name": SERVICE, "namespace": SPACE, "labels": LABELS}
    pod = {"containers": [{
        "name": "controller", "image": nginx_image(kube), "ports": [{"name": "http", "containerPort": HTTP}, {"name": "https", "containerPort": HTTPS}],
        "readinessProbe": {"tcpSocket": {"port": HTTPS}, "periodSeconds": 1},
        "securityContext": {"runAsNonRoot": True, "allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [{"name": "config", "mountPath": "/etc/nginx"}, {"name": "tls", "mountPath": "/tls"}]}],
        "terminationGracePeriodSeconds": 0,
        "volumes": [{"name": "config", "configMap": {"name": SERVICE}}, {"name": "tls", "secret": {"secretName": "tls"}}]}
    workloads.apply(
        kube, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"nginx.conf": CONFIG.format(servers=servers, http=HTTP, https=HTTPS)}},
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta, "spec": {"selector": {"matchLabels": LABELS}, "template": {
            "metadata": {"labels": LABELS}, "spec": pod}}},
        *routes(rules, SPACE, "LoadBalancer", tls))
    kube.rollout(f"deployment/{SERVICE}", SPACE)
    return pem


def node_port(kube, name="https"):
    """Where it is reached from outside: a port of the node."""
    port = next(p["nodePort"] for p in kube.get("-n", SPACE, "service", SERVICE)["spec"]["ports"] if p["name"] == name)
    wait_for("the node's rules for the ingress", lambda: kube.run("laptop", "curl", "-sSk", "-m", "5", f"{name}://{kube.node_address()}:{port}/"))
    return port
