"""Private keys in the data directory: made once, mode 0600, never printed."""

import fcntl
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from unspread.clearinghouse.settings import Settings
from unspread.crypto import HandleKey, PostQuantumSigningKey, SigningKey
from unspread.errors import StateError


class DataDirectoryError(StateError):
    """The data directory cannot be used as it is."""


def prepare(settings: Settings) -> None:
    """Make the data directory, readable by nobody else.

    Raises:
        DataDirectoryError: if it cannot be written to.
    """
    try:
        for directory in (settings.data, settings.keys, settings.blobs, settings.private_blobs):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise DataDirectoryError(
            f"cannot write to the data directory {settings.data}: {error.strerror}"
        ) from None


def _once(path: Path, make: Callable[[], bytes]) -> bytes:
    """The file's content; made first if it is not there. A crash leaves all of it or nothing."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        pass
    except OSError as error:
        raise DataDirectoryError(f"cannot read {path.name}: {error.strerror}") from None
    content = make()
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        # link, not replace: of two processes that start at once one wins and both read its key.
        try:
            os.link(temporary, path)
        except FileExistsError:
            return path.read_bytes()
        finally:
            temporary.unlink()
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as error:
        raise DataDirectoryError(f"cannot write {path.name}: {error.strerror}") from None
    return content


def log_key(settings: Settings) -> SigningKey:
    """The key that signs the log. Whoever has it can speak for this clearinghouse."""
    seed = _once(settings.keys / "log.key", lambda: secrets.token_hex(32).encode())
    try:
        return SigningKey(bytes.fromhex(seed.decode()))
    except ValueError:
        raise DataDirectoryError("keys/log.key is damaged: restore it from a backup") from None


def post_quantum_log_key(settings: Settings) -> PostQuantumSigningKey:
    """The key that signs the log's checkpoints a second time, by ML-DSA-44."""
    seed = _once(settings.keys / "log-ml-dsa.key", lambda: secrets.token_hex(32).encode())
    try:
        return PostQuantumSigningKey(bytes.fromhex(seed.decode()))
    except ValueError:
        raise DataDirectoryError("keys/log-ml-dsa.key is damaged: restore it") from None


def canary_key(settings: Settings) -> bytes:
    """The seed of each epoch of canaries follows from it; 32 bytes."""
    content = _once(settings.keys / "canaries.key", lambda: secrets.token_hex(32).encode())
    return bytes.fromhex(content.decode())


def log_origin(settings: Settings) -> str:
    """The log's name: that of the first start, for ever, whatever the address is today."""
    return _once(settings.keys / "log.origin", settings.log_origin.encode).decode().strip()


def django_key(settings: Settings) -> str:
    """Signs staff sessions."""
    return _once(settings.keys / "sessions.key", lambda: secrets.token_hex(32).encode()).decode()


def exchange_key(settings: Settings) -> bytes:
    """Keys the digests by which a value's listings are found; 32 bytes."""
    content = _once(settings.keys / "exchange.key", lambda: secrets.token_hex(32).encode())
    return bytes.fromhex(content.decode())


def handle_key(settings: Settings) -> HandleKey:
    """Makes the opaque handles of lookups."""
    content = _once(settings.keys / "handles.key", lambda: secrets.token_hex(32).encode())
    return HandleKey(bytes.fromhex(content.decode()))


def oprf_key(settings: Settings) -> bytes:
    """Blinds lookups; 32 bytes, the seed of RFC 9497's DeriveKeyPair."""
    content = _once(settings.keys / "lookup.key", lambda: secrets.token_hex(32).encode())
    return bytes.fromhex(content.decode())


@contextmanager
def sole_publisher(settings: Settings) -> Iterator[None]:
    """Hold the data directory for this process.

    Raises:
        DataDirectoryError: if another process serves from it.
    """
    path = settings.data / "publisher.lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise DataDirectoryError(
            f"a clearinghouse already runs on {settings.data}: stop it, or give another --data"
        ) from None
    try:
        yield
    finally:
        os.close(descriptor)
