"""Software of Debian's, installed where a test needs it and may install it."""

import os
import shutil
import subprocess

import pytest


def installed(program: str, *packages: str) -> str:
    """The path of a program, from these packages if it is not there yet. Starts no service."""
    found = shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin")
    if found is not None:
        return found
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        pytest.skip(f"there is no {program} here, and we may not install it")
    # RUNLEVEL=1 keeps a package from starting its service on installation (invoke-rc.d(8)).
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    subprocess.run(["apt-get", "update", "-qq"], check=True, env=quiet)
    install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages]
    subprocess.run(install, check=True, env=quiet)
    found = shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin")
    assert found is not None, f"{packages} have no {program}"
    return found
