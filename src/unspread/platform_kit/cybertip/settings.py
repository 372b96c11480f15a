"""The `[cybertip]` section of platform.toml."""

import msgspec


class CyberTipSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The `[cybertip]` section of platform.toml. docs/platform/cybertip.md."""

    production: bool = False
    """Send to NCMEC for real. Without it reports go to the test environment and are discarded."""
    credentials_file: str = "keys/cybertip"
    """Under the data directory: two lines, the user and the password that NCMEC gave you."""
    first_name: str
    """Of the person NCMEC should ask."""
    last_name: str
    email: str
    address: str = ""
    """Only for tests of this software: another address than NCMEC's."""
