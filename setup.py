"""Builds the optional compiled kernels; everything else is in pyproject.toml."""

import sys
from typing import Any

from setuptools import Extension, setup

OPTIONAL: dict[str, Any] = {
    "extra_compile_args": ["/O2"] if sys.platform == "win32" else ["-O3", "-g0"],
    "define_macros": [("Py_LIMITED_API", "0x030B0000")],
    "py_limited_api": True,
    # Without a compiler numpy gives the same answers.
    "optional": True,
}

setup(
    ext_modules=[
        Extension(
            "unspread.match._kernel",
            sources=["src/unspread/match/_kernel.c"],
            depends=["src/unspread/match/_kernel.h", "src/unspread/match/_kernel_isa.h"],
            **OPTIONAL,
        ),
        Extension(
            "unspread.fingerprint._kernel",
            sources=["src/unspread/fingerprint/_kernel.c"],
            **OPTIONAL,
        ),
    ],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
