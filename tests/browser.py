"""Install a browser for the journeys: Debian's package when root, else Playwright's Chromium."""

import os
import shutil
import subprocess
import sys
from typing import Final

_CHROMIUM: Final = "chromium"
_FONTS: Final = (
    "fonts-alee",
    "fonts-droid-fallback",
    "fonts-lohit-beng-bengali",
    "fonts-lohit-deva",
)
"""Letters of the languages that no font of a bare system has: hollow boxes are of another width."""


def main(*packages: str) -> None:
    """Install it; other browsers than Chromium come from Debian alone."""
    if os.geteuid() == 0 and shutil.which("apt-get"):
        environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run(["apt-get", "update", "-qq"], check=True, env=environment)
        subprocess.run(
            ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages],
            check=True,
            env=environment,
        )
    elif _CHROMIUM in packages:
        subprocess.run([sys.executable, "-m", "playwright", "install", _CHROMIUM], check=True)


if __name__ == "__main__":
    main(*(sys.argv[1:] or [_CHROMIUM, *_FONTS]))
