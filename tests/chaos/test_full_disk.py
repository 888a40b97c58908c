#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The disk of the manager's state is full: the request fails with a sentence, nothing changes; with room again it works."""
import os

from lab import NOBODY, Failed, Lab, sh, step, story


def main():
    with Lab() as lab:
        state = f"{lab.dir}/manager"
        os.mkdir(state)
        sh("mount", "-t", "tmpfs", "-o", f"size=256k,uid={NOBODY},gid={NOBODY},mode=0700", "culvert-test", state)
        try:
            lab.up()
            filler = f"{state}/filler"
            step("full")
            lab.run("cluster", "sh", "-c", f"dd if=/dev/zero of={filler} bs=4k status=none", check=False)
            done = lab.culvert("intercept", "shop", "--port", "3000:http", check=False)
            if done.returncode != 1 or "No space left" not in done.stderr:
                raise Failed(f"exit {done.returncode}: {done.stderr}")
            if lab.culvert_json("status")["intercepts"] or "shop pod" not in lab.curl("http://10.96.0.21/", where="client"):
                raise Failed("the refused intercept is there")
            step("room again")
            os.unlink(filler)
            lab.culvert("intercept", "shop", "--port", "3000:http")
            lab.culvert("leave", "shop")
            lab.culvert("quit")
        finally:
            if hasattr(lab, "manager"):
                lab.manager.stop()
            sh("umount", state)


story(main)
