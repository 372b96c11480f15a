"""Builds the optional compiled kernels; everything else is in pyproject.toml."""

import sys
from typing import Any

from setuptools import Extension, setup

IS_MSVC = sys.platform == "win32"
FLAGS = ["/O2"] if IS_MSVC else ["-O3", "-g0"]
# Scalars that the compiler packs into vectors would wait for the one unit that can pack.
NO_PACKING = [] if IS_MSVC else ["-fno-tree-slp-vectorize"]

OPTIONAL: dict[str, Any] = {
    "extra_compile_args": FLAGS,
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
            **OPTIONAL | {"extra_compile_args": [*FLAGS, *NO_PACKING]},
        ),
        Extension(
            "unspread.fingerprint._kernel",
            sources=["src/unspread/fingerprint/_kernel.c"],
            **OPTIONAL,
        ),
    ],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
