"""What was found for a file, kept under a digest of the code, so that a stopped run goes on."""

import json
from collections.abc import Callable, Iterator
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from benchmarks.recall import pictures


def kept(kind: str, file: bytes, make: Callable[[], Any]) -> Any:
    """What `make` gives, as JSON has it: from the last run if file and code are the same."""
    path = pictures.cache() / f"recall-{_version()}" / f"{kind}-{sha256(file).hexdigest()}.json"
    if path.exists():
        return json.loads(path.read_text())
    answer = make()
    path.parent.mkdir(parents=True, exist_ok=True)
    # Whole or not at all: a run may be stopped while it writes.
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(answer))
    partial.rename(path)
    return json.loads(path.read_text())


@cache
def _version() -> str:
    digest = sha256()
    for path in _sources(Path(__file__).parents[2]):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _sources(root: Path) -> Iterator[Path]:
    for folder in ("benchmarks/recall", "src/unspread/fingerprint", "src/unspread/match"):
        for pattern in ("*.py", "*.c"):
            yield from sorted((root / folder).rglob(pattern))
