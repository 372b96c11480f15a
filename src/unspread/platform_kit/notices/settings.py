"""The `[notices]` section of platform.toml."""

import re

import msgspec

from unspread.model import MATCH_RADIUS_BITS


class NoticeSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Requests for removal, from anyone."""

    enabled: bool = True
    """Whether the form and its interface are there."""
    platform: str = "this platform"
    """Its name, as the public knows it."""
    hosts: tuple[str, ...] = ()
    """The host names of this platform's content; an address elsewhere is told so. Empty: any."""
    reference_pattern: str = ""
    r"""A regular expression with a group `reference` that finds the reference in an address, such
    as `/post/(?P<reference>\d+)`. Empty: the person who decides types it."""
    copies_radius_bits: int = MATCH_RADIUS_BITS
    """How far a copy may be from what the notice names, in bits of PDQ, inclusive."""
    per_minute: int = 60
    """Notices taken in one minute from everybody together; more are asked to wait."""
    contact: str = ""
    """How the platform itself is reached about notices, for the page."""
    origin: str = ""
    """Where the public reaches the form, `https://forum.example`, for what people are told. Empty:
    where staff reach the pages."""
    complaints: str = ""
    """Where decisions can be disputed outside the platform, for statements of reasons."""

    def __post_init__(self) -> None:
        if not 0 <= self.copies_radius_bits <= 64:
            raise ValueError("notices.copies_radius_bits is 0 to 64")
        if self.reference_pattern:
            try:
                pattern = re.compile(self.reference_pattern)
            except re.error as error:
                raise ValueError(f"notices.reference_pattern: {error}") from None
            if "reference" not in pattern.groupindex:
                raise ValueError("notices.reference_pattern needs (?P<reference>…)")

    def reference_in(self, address: str) -> str | None:
        """The reference that an address leads to, if the settings say how to find it."""
        if not self.reference_pattern:
            return None
        found = re.search(self.reference_pattern, address)
        return found["reference"] if found else None
