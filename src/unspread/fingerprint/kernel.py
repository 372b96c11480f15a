"""The compiled kernel of this package, where there is one."""

from types import ModuleType

compiled: ModuleType | None
"""None without a compiler when it was installed: slower, not different."""
try:
    from unspread.fingerprint import _kernel
except ImportError:
    compiled = None
else:
    compiled = _kernel
