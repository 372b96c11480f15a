#!/usr/bin/env python3
"""A command action for Matrix: quarantines media in Synapse that was matched after it was posted.

Standard input: an action as JSON. Environment: SYNAPSE_URL, SYNAPSE_TOKEN_FILE (an admin's token).
Admin API: https://element-hq.github.io/synapse/latest/admin_api/media_admin_api.html
"""

import json
import os
import sys
import urllib.error
import urllib.request
from pathlib import Path

NEVER = 100


def main() -> int:
    """0 done, 100 never possible, anything else: try again."""
    action = json.load(sys.stdin)
    reference = action["reference"]
    server, _, media = reference.removeprefix("mxc://").partition("/")
    if not reference.startswith("mxc://") or not media:
        return NEVER
    verb = "unquarantine" if action["action"] == "release" else "quarantine"
    address = os.environ["SYNAPSE_URL"].rstrip("/")
    token = Path(os.environ["SYNAPSE_TOKEN_FILE"]).read_text().strip()
    request = urllib.request.Request(  # noqa: S310 - the operator's own address
        f"{address}/_synapse/admin/v1/media/{verb}/{server}/{media}",
        method="POST",
        data=b"{}",
        headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
    )
    try:
        urllib.request.urlopen(request, timeout=30).close()  # noqa: S310 - as above
    except urllib.error.HTTPError as error:
        return 0 if error.code == 404 else 1  # 404: it is gone already
    return 0


if __name__ == "__main__":
    sys.exit(main())
