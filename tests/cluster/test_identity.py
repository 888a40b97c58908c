#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Who may do what, tried by impersonated users on the product's own manifests: the API server alone refuses what is not theirs.

The manager is not needed for it, and so not waited for.
"""
import json
import os

from kube import Kube, cluster
from lab import ROOT, Failed, sh, step, story, wait_for

A, B = "a" * 64, "b" * 64
GROUP = "culvert-test-developers"
CULVERT = os.path.join(os.environ.get("CULVERT_BIN") or f"{ROOT}/build/release", "culvert")
SYSTEM = "culvert-test-system"  # the installation's namespace
MANAGER = f"system:serviceaccount:{SYSTEM}:manager"
NOT_YOURS = "must be your own name"


def session(name, user, key=None, finalizers=()):
    return {"apiVersion": "culvert.dev/v1alpha1", "kind": "Session", "metadata": {"name": name, "finalizers": list(finalizers)},
            "spec": {"user": user, "publicKey": key or name, "client": "laptop"}}


def intercept(space, name, user, owner=None, uid="0", version="culvert.dev/v1alpha1", named=A):
    meta = {"name": name, "namespace": space}
    if owner:
        meta["ownerReferences"] = [{"apiVersion": version, "kind": "Session", "name": owner, "uid": uid}]
    return {"apiVersion": "culvert.dev/v1alpha1", "kind": "Intercept", "metadata": meta,
            "spec": {"user": user, "session": named, "name": "hello", "workloadKind": "Deployment", "workload": "hello", "service": "hello",
                     "mechanism": "tcp", "onDown": "pod",
                     "ports": [{"local": 3000, "name": "http", "port": 80, "target": 8080, "protocol": "TCP"}]}}


class Try:
    def __init__(self, kube):
        self.kube, self.count = kube, 0

    def case(self, what, user, *argv, says, ok=False, stdin=None, group=True):
        """One command of a user; it must succeed or not, and say what is expected."""
        argv = [*argv, *(["--as", user] if user else []), *(["--as-group", GROUP] if user and group else [])]
        done = self.kube.kubectl(*argv, check=False, stdin=json.dumps(stdin) if stdin else None)
        text = (done.stdout + done.stderr).strip()
        if (done.returncode == 0) != ok or says not in text:
            raise Failed(f"{what}: expected {'success' if ok else 'a refusal'} with '{says}', got exit {done.returncode}: {text}")
        self.count += 1
        step(f"{what}: {'may' if ok else 'may not'}")

    def create(self, what, user, thing, says="created", ok=False, group=True):
        self.case(what, user, "create", "-f", "-", says=says, ok=ok, stdin=thing, group=group)

    def patch(self, what, user, kind, name, change, *argv, says, ok=False, group=True):
        self.case(what, user, "patch", kind, name, "--type", "merge", "-p", json.dumps(change), *argv, says=says, ok=ok, group=group)


ROLES = """
apiVersion: v1
kind: Namespace
metadata: {name: culvert-test-shop}
---
apiVersion: v1
kind: Namespace
metadata: {name: culvert-test-other}
"""
SHOP, OTHER = "culvert-test-shop", "culvert-test-other"


def manifests():
    return sh(CULVERT, "install", "--dry-run", "-o", "yaml", "-n", SYSTEM, "--allow-group", GROUP).stdout


def prepare(kube):
    kube.apply(manifests())
    kube.apply(ROLES)
    for user, role in (("ana", "edit"), ("ben", "edit"), ("vic", "view")):
        kube.kubectl("-n", SHOP, "create", "rolebinding", user, "--clusterrole", role, "--user", user)
    for crd in ("sessions", "intercepts"):
        kube.kubectl("wait", f"crd/{crd}.culvert.dev", "--for=condition=Established", "--timeout=30s")
    # The policy and the aggregated roles come into force a moment after they were written.
    forged = json.dumps(session(B, "nobody"))
    wait_for("the policy", lambda: NOT_YOURS in kube.kubectl("create", "--dry-run=server", "-f", "-", stdin=forged, check=False).stderr)
    wait_for("the roles", lambda: kube.kubectl("-n", SHOP, "auth", "can-i", "create", "intercepts.culvert.dev", "--as", "ana"))


def sessions(t):
    t.create("ana creates her session", "ana", session(A, "ana"), ok=True)
    t.create("ana creates one in ben's name", "ana", session(B, "ben"), NOT_YOURS)
    t.create("eve, of no group, creates one", "eve", session(B, "eve"), "cannot create resource", group=False)
    t.create("ben takes ana's key for his", "ben", session(B, "ben", key=A), "named by its public key")
    t.create("ana creates one with a finalizer", "ana", session(B, "ana", finalizers=["culvert.dev/x"]), "finalizers")
    t.patch("ana adds one later", "ana", "session", A, {"metadata": {"finalizers": ["culvert.dev/x"]}}, says="finalizers")
    renew = {"spec": {"renewTime": "2026-11-23T05:00:00Z"}}
    t.patch("ana renews her session", "ana", "session", A, renew, says="patched", ok=True)
    t.patch("ben renews ana's session", "ben", "session", A, {"spec": {"renewTime": "2026-11-23T06:00:00Z"}}, says="belongs to ana")
    t.patch("ana changes her key", "ana", "session", A, {"spec": {"publicKey": B}}, says="only renewTime can be changed")
    t.patch("ana changes her laptop's name", "ana", "session", A, {"spec": {"client": "other"}}, says="only renewTime can be changed")
    t.patch("ana writes its status", "ana", "session", A, {"status": {"phase": "Connected"}}, "--subresource", "status", says="sessions/status")
    t.case("ben deletes ana's session", "ben", "delete", "session", A, says="belongs to ana")


def intercepts(t):
    uid = t.kube.get("session", A)["metadata"]["uid"]
    t.create("ana intercepts in shop", "ana", intercept(SHOP, "hello", "ana", A, uid), ok=True)
    t.create("ana intercepts in ben's name", "ana", intercept(SHOP, "h2", "ben", A, uid), NOT_YOURS)
    t.create("ana intercepts where she may not edit", "ana", intercept(OTHER, "hello", "ana", A, uid), "cannot create resource")
    t.create("vic, who may view, intercepts", "vic", intercept(SHOP, "vic", "vic", A, uid), "cannot create resource")
    t.case("vic lists", "vic", "-n", SHOP, "get", "intercepts", says="hello", ok=True)
    owned = "owned by the Session that its spec names"
    t.create("an intercept without an owner", "ana", intercept(SHOP, "h2", "ana"), owned)
    t.create("one with an owner of another version", "ana", intercept(SHOP, "h2", "ana", A, uid, "culvert.dev/v9"), owned)
    t.create("one owned by another session than it names", "ana", intercept(SHOP, "h2", "ana", "foo", uid), owned)
    t.case("ben deletes ana's intercept", "ben", "-n", SHOP, "delete", "intercept", "hello", says="belongs to ana")
    t.case("ben deletes all of them at once", "ben", "-n", SHOP, "delete", "intercepts", "--all", says="belongs to ana")
    change = {"spec": {"workload": "x"}}
    t.patch("ana changes hers (no verb)", "ana", "intercept", "hello", change, "-n", SHOP, says="cannot patch")
    t.patch("the administrator changes its spec", None, "intercept", "hello", change, "-n", SHOP, says="spec cannot be changed")
    t.patch("the manager sets its status", MANAGER, "intercept", "hello", {"status": {"phase": "Active"}}, "-n", SHOP,
            "--subresource", "status", says="patched", ok=True, group=False)
    t.patch("ana sets its status", "ana", "intercept", "hello", {"status": {"phase": "Active"}}, "-n", SHOP,
            "--subresource", "status", says="intercepts/status")
    t.patch("the manager sets a phase that is none", MANAGER, "intercept", "hello", {"status": {"phase": "Fine"}}, "-n", SHOP,
            "--subresource", "status", says="Unsupported value", group=False)


def owner_of_the_namespace(t):
    """Zoe may do whatever there is in it, as who owns a namespace often may: not in ana's name, and not in the manager's."""
    uid = t.kube.get("session", A)["metadata"]["uid"]
    t.kube.kubectl("-n", SHOP, "create", "role", "owner", "--verb=*", "--resource=*.culvert.dev")
    t.kube.kubectl("-n", SHOP, "create", "rolebinding", "zoe", "--role", "owner", "--user", "zoe")
    t.kube.kubectl("-n", SHOP, "create", "rolebinding", "zoe-edits", "--clusterrole", "edit", "--user", "zoe")
    t.case("zoe deletes ana's intercept", "zoe", "-n", SHOP, "delete", "intercept", "hello", says="belongs to ana")
    t.patch("zoe sets the status of ana's", "zoe", "intercept", "hello", {"status": {"phase": "Conflict"}}, "-n", SHOP,
            "--subresource", "status", says="belongs to ana")
    t.create("zoe intercepts", "zoe", intercept(SHOP, "zoes", "zoe", A, uid), ok=True)
    t.patch("zoe gives hers a preview", "zoe", "intercept", "zoes", {"status": {"preview": {"url": "https://evil.example.com/"}}}, "-n", SHOP,
            "--subresource", "status", says="only the manager writes status")
    t.patch("zoe sets the status of hers", "zoe", "intercept", "zoes", {"status": {"phase": "Active"}}, "-n", SHOP,
            "--subresource", "status", says="only the manager writes status")
    t.patch("zoe keeps hers when its session ends", "zoe", "intercept", "zoes", {"metadata": {"ownerReferences": []}}, "-n", SHOP,
            says="owned by the Session that its spec names")
    t.case("zoe deletes hers", "zoe", "-n", SHOP, "delete", "intercept", "zoes", says="deleted", ok=True)


HTTP = {"mechanism": "http", "id": "2f6c00112233445566778899aabbccdd", "match": {"mode": "auto"}}


def schema(t):
    """What the API server refuses before anybody of ours reads it."""
    uid = t.kube.get("session", A)["metadata"]["uid"]
    good = intercept(SHOP, "h3", "ana", A, uid)
    port = good["spec"]["ports"][0]
    condition = {"name": "x-user", "pattern": "ana"}
    for what, change, says in (
            ("a kind of workload that is none", {"workloadKind": "Job"}, "Unsupported value"),
            ("no port", {"ports": []}, "should have at least 1 items"),
            ("seventeen ports", {"ports": [{**port, "port": n} for n in range(1, 18)]}, "must have at most 16 items"),
            ("port 0", {"ports": [{**port, "local": 0}]}, "should be greater than or equal to 1"),
            ("SCTP", {"ports": [{**port, "protocol": "SCTP"}]}, "Unsupported value"),
            ("another mechanism", {"mechanism": "quic"}, "Unsupported value"),
            ("requests without a match", {"mechanism": "http", "id": "0" * 32}, "mechanism http needs id and match"),
            ("requests without an id", {"mechanism": "http", "match": {"mode": "auto"}}, "mechanism http needs id and match"),
            ("a match, of all connections", {"match": {"mode": "auto"}}, "mechanism http needs id and match"),
            ("answers tagged, of all connections", {"tagResponses": False}, "mechanism http needs id and match"),
            ("requests over UDP", {**HTTP, "ports": [{**port, "protocol": "UDP"}]}, "mechanism http is for TCP ports"),
            ("an id in capitals", {**HTTP, "id": "A" * 32}, "spec.id"),
            ("no mode", {**HTTP, "match": {}}, "spec.match.mode: Required value"),
            ("headers and no condition", {**HTTP, "match": {"mode": "headers"}}, "conditions are for mode headers"),
            ("all and a condition", {**HTTP, "match": {"mode": "all", "conditions": [condition]}}, "conditions are for mode headers"),
            ("nine conditions", {**HTTP, "match": {"mode": "headers", "conditions": [condition] * 9}}, "must have at most 8 items"),
            ("a header in capitals", {**HTTP, "match": {"mode": "headers", "conditions": [{**condition, "name": "X-User"}]}}, "name in body should match"),
            ("an empty pattern", {**HTTP, "match": {"mode": "headers", "conditions": [{**condition, "pattern": ""}]}}, "at least 1 chars long"),
            ("a pattern of 513", {**HTTP, "match": {"mode": "headers", "conditions": [{**condition, "pattern": "a" * 513}]}}, "Too long"),
            ("a path with a query", {**HTTP, "match": {"mode": "auto", "pathPrefix": "/a?b"}}, "pathPrefix in body should match"),
            ("a session that is no key", {"session": "x"}, "spec.session"),
            ("a name of 128 characters", {"name": "x" * 128}, "Too long")):
        t.create(f"an intercept with {what}", "ana", {**good, "spec": {**good["spec"], **change}}, says)
    for name, match in (("h4", {"mode": "auto"}), ("h5", {"mode": "all", "pathPrefix": "/api"}),
                        ("h6", {"mode": "headers", "conditions": [condition] * 8})):
        made = intercept(SHOP, name, "ana", A, uid)
        t.create(f"an intercept of requests, {match['mode']}", "ana", {**made, "spec": {**made["spec"], **HTTP, "match": match}}, ok=True)
    status = {"match": "all HTTP requests", "header": "x-culvert-intercept-id: 0:h4",
              "preview": {"url": "https://x/", "ingress": {"host": "h", "port": 443, "tls": True, "l5Host": "h", "verify": True},
                          "shares": [{"hash": "0" * 64, "expires": 2000000000}]}}
    t.patch("the manager gives one a preview", MANAGER, "intercept", "h4", {"status": status}, "-n", SHOP, "--subresource", "status",
            says="patched", ok=True, group=False)
    kept = t.kube.get("-n", SHOP, "intercept", "h4")["status"]
    if kept != status:
        raise Failed(f"of its status is kept: {kept}")
    t.patch("a share that is no hash", MANAGER, "intercept", "h4", {"status": {"preview": {"shares": [{"hash": "x", "expires": 1}]}}}, "-n", SHOP,
            "--subresource", "status", says="shares[0].hash", group=False)
    line = t.kube.kubectl("-n", SHOP, "get", "intercepts", "h4").stdout
    if "all HTTP requests" not in line or "https://x/" not in line:
        raise Failed(f"match and preview are not shown: {line}")
    t.create("a session whose key is none", "ana", session("A" * 64, "ana"), "spec.publicKey")


def may(t, user, verb, what, ok, group=True):
    """`what` is RESOURCE, RESOURCE/NAME or RESOURCE/NAME/SUBRESOURCE; the name may be empty."""
    resource, name, sub = [*what.split("/"), "", ""][:3]
    t.case(f"{user}: {verb} {what}", user, "auth", "can-i", verb, f"{resource}/{name}" if name else resource, "-n", SYSTEM,
           *(["--subresource", sub] if sub else []), says="yes" if ok else "no", ok=ok, group=group)


def manager(t):
    """What its role leaves out, asked of the API server itself."""
    for verb, what in (("get", "secrets"), ("list", "secrets"), ("create", "pods"), ("delete", "pods"), ("create", "pods//exec"),
                       ("create", "pods//portforward"), ("create", "pods//eviction"), ("patch", "deployments.apps"),
                       ("update", "statefulsets.apps"), ("delete", "replicasets.apps"), ("create", "sessions.culvert.dev"),
                       ("create", "intercepts.culvert.dev"), ("patch", "mutatingwebhookconfigurations.admissionregistration.k8s.io"),
                       ("create", "serviceaccounts//token"), ("get", "nodes//proxy"), ("get", "services//proxy"),
                       ("escalate", "clusterroles.rbac.authorization.k8s.io"), ("impersonate", "users")):
        may(t, MANAGER, verb, what, False, group=False)
    may(t, MANAGER, "patch", "configmap/culvert", True, group=False)
    may(t, MANAGER, "patch", "configmap/culvert-config", False, group=False)


def connecting(t):
    """What a member of the group may do in the manager's namespace, and nobody else."""
    for verb, what, ok in (("get", "configmap/culvert", True), ("get", "services/culvert:overlay/proxy", True), ("list", "pods", True),
                           ("create", "pods//portforward", True), ("get", "services/culvert:webhook/proxy", False),
                           ("get", "configmap/culvert-config", False), ("get", "secret/culvert-manager", False),
                           ("patch", "configmap/culvert", False), ("create", "pods//exec", False)):
        may(t, "ana", verb, what, ok)
        may(t, "eve", verb, what, False, group=False)


def end(t):
    t.case("ana deletes her session", "ana", "delete", "session", A, says="deleted", ok=True)
    # The garbage collector learns of new kinds every 30 s.
    wait_for("the end of its intercept", lambda: not t.kube.get("-n", SHOP, "intercepts")["items"], 90)
    step("what it owned was collected")


def clean(kube):
    for name in (SHOP, OTHER):
        kube.kubectl("delete", "namespace", name, "--ignore-not-found", check=False, timeout=120)
    kube.kubectl("delete", "--ignore-not-found", "-f", "-", stdin=f"{manifests()}\n---\n{ROLES}", check=False, timeout=120)


def main():
    kube = cluster()
    with kube:
        kube.up()
        try:
            prepare(kube)
            t = Try(kube)
            sessions(t)
            intercepts(t)
            owner_of_the_namespace(t)
            schema(t)
            manager(t)
            connecting(t)
            end(t)
            step(f"{t.count} cases")
        finally:
            if not isinstance(kube, Kube):
                clean(kube)


story(main)
