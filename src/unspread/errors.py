"""Every error a caller may meet, grouped by who must act.

UnspreadError
├── InputError       the caller sent something malformed: fix it, do not retry
│   ├── MalformedFingerprintError
│   ├── MalformedReceiptError
│   └── UnreadableMediaError      the file cannot be read as a picture or a video
├── StateError       well formed, but not possible now
├── TrustError       a signature or proof does not hold: stop and call a person
└── TransportError   the other side did not answer: retry with back-off

Narrower errors live beside what raises them and derive from one of the four.
A message never holds a receipt, a fingerprint, a key, a file name or an address of a person.
"""


class UnspreadError(Exception):
    """Anything that this package refuses or cannot do."""


class InputError(UnspreadError):
    """The caller sent something malformed: fix it, do not retry."""


class MalformedFingerprintError(InputError):
    """Not a fingerprint in canonical form."""


class MalformedReceiptError(InputError):
    """Not a receipt: mistyped, cut short, or something else."""


class UnreadableMediaError(InputError):
    """Not a picture or video that can be fingerprinted; the text says why and what to try."""


class StateError(UnspreadError):
    """Well formed, but not possible now."""


class TrustError(UnspreadError):
    """A signature or proof does not hold: keep the last trusted state and call a person."""


class TransportError(UnspreadError):
    """The other side did not answer, or not in time: retry with back-off."""
