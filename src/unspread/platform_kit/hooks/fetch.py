"""Fetching media from addresses that others name: from listed hosts alone, never from inside."""

import ipaddress
from collections.abc import Collection
from urllib.parse import urlsplit

import httpx

from unspread.errors import InputError, TransportError


class FetchRefusedError(InputError):
    """The address is not one that may be fetched, or what is there is too large."""


def host_of(url: str) -> str:
    """The host name in an http or https address, in lower case.

    Raises:
        FetchRefusedError: if it is no such address, or holds a password.
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        raise FetchRefusedError("not an address that can be fetched") from None
    if not host or parts.scheme not in {"http", "https"} or parts.username or parts.password:
        raise FetchRefusedError("not an address that can be fetched")
    return host


async def fetch(
    client: httpx.AsyncClient, url: str, hosts: Collection[str], max_bytes: int
) -> bytes:
    """The bytes at an address. Redirects are not followed.

    Args:
        client: without proxies.
        url: from whoever asks.
        hosts: names that may be fetched from. A name must lead outside this network; a numeric
            address among them is taken at its word.
        max_bytes: inclusive.

    Raises:
        FetchRefusedError: if the address is not allowed or more comes than that.
        TransportError: if it cannot be fetched now.
    """
    host = host_of(url)
    if host not in hosts:
        raise FetchRefusedError("nothing is fetched from that host: it is not among those listed")
    try:
        async with client.stream("GET", url, follow_redirects=False) as response:
            _check_peer(response, host)
            return await _read(response, max_bytes)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise TransportError(f"the media cannot be fetched ({type(error).__name__})") from None


def _check_peer(response: httpx.Response, host: str) -> None:
    # The address that was really connected to: a name can be made to lead inside.
    stream = response.extensions.get("network_stream")
    peer = stream.get_extra_info("server_addr") if stream is not None else None
    if peer is not None and not (_is_numeric(host) or _is_outside(str(peer[0]))):
        raise FetchRefusedError("that host leads into this network")


async def _read(response: httpx.Response, max_bytes: int) -> bytes:
    if not response.is_success:
        raise TransportError(f"the media's host answered {response.status_code}")
    parts: list[bytes] = []
    size = 0
    async for part in response.aiter_bytes():
        size += len(part)
        if size > max_bytes:
            raise FetchRefusedError("the media is too large")
        parts.append(part)
    return b"".join(parts)


def _is_numeric(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is_outside(address: str) -> bool:
    try:
        return ipaddress.ip_address(address.partition("%")[0]).is_global
    except ValueError:
        return False
