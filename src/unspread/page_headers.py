"""What a browser may do on each response of the person's pages: strictest where nothing is known.

Pure; for both ends: the clearinghouse sends these headers, `unspread verify-site` looks for them.

A worker takes its policy from its own response, so scripts carry one too; without it a worker
could post pixels anywhere. Which ways out each header closes is held by
tests/journeys/test_leaks.py.
"""

import re
from collections.abc import Mapping
from typing import Final

TRUSTED_TYPES: Final = "require-trusted-types-for 'script'; trusted-types unspread"
PLAIN: Final = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

_PAGE: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "base-uri 'none'; frame-ancestors 'none'; "
)
_SANDBOX: Final = "sandbox allow-scripts allow-forms allow-same-origin allow-downloads allow-modals"

WAY_IN: Final = (
    f"{_PAGE}worker-src 'self'; connect-src 'none'; form-action 'self'; frame-src 'self'; "
    f"{TRUSTED_TYPES}; {_SANDBOX}"
)
"""The page that touches pictures: it connects to nothing; one visible form leaves it."""

INFORMATION: Final = f"{_PAGE}connect-src 'none'; form-action 'none'; {TRUSTED_TYPES}"
STATUS: Final = f"{_PAGE}connect-src 'self'; form-action 'none'; {TRUSTED_TYPES}; {_SANDBOX}"
LETTER: Final = f"{_PAGE}connect-src 'none'; form-action 'none'; {TRUSTED_TYPES}; {_SANDBOX}"

ANSWER: Final = (
    "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'self'; sandbox allow-same-origin"
)
"""Shown in a frame of the way in, which reads the answer from it."""

SCRIPT: Final = "default-src 'none'; script-src 'self'; connect-src 'none'"
DECODER_SCRIPT: Final = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; connect-src 'none'"
)

ALLOWLIST: Final = "(response-origin)"
"""Connection-Allowlist (WICG): also closes navigation and WebRTC, where a browser knows it."""

_POLICIES: Final = (
    (re.compile(r"/page/fingerprint/worker_decoders\.js"), DECODER_SCRIPT, True),
    (re.compile(r"/page/.+\.m?js"), SCRIPT, True),
    (re.compile(r"/page/.+"), PLAIN, True),
    (re.compile(r"/v1/cases"), ANSWER, True),
    (re.compile(r"/[a-z-]+/begin"), WAY_IN, True),
    (re.compile(r"/[a-z-]+/status"), STATUS, True),
    (re.compile(r"/[a-z-]+/letter"), LETTER, True),
    (re.compile(r"/leave"), PLAIN, False),
    (re.compile(r"/([a-z-]+/([a-z]+)?)?"), INFORMATION, False),
)
"""Path → policy, and whether connections are limited to this origin: pages of links are not."""

COMMON: Final = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Robots-Tag": "noarchive",
    "Permissions-Policy": (
        "camera=(), microphone=(), geolocation=(), payment=(), usb=(), serial=(), hid=(), "
        "display-capture=(), screen-wake-lock=(self), "
        "clipboard-write=(self), clipboard-read=()"
    ),
}


def headers_for(path: str) -> Mapping[str, str]:
    """The protective headers of the response to `path`."""
    policy, is_sealed = next(
        (rule[1:] for rule in _POLICIES if rule[0].fullmatch(path)), (PLAIN, True)
    )
    headers = COMMON | {"Content-Security-Policy": policy}
    if is_sealed:
        headers["Connection-Allowlist"] = ALLOWLIST
    return headers
