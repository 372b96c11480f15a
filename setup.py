"""Builds the optional compiled kernel; everything else is in pyproject.toml."""

import sys

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            "unspread.match._kernel",
            sources=["src/unspread/match/_kernel.c"],
            depends=["src/unspread/match/_kernel.h", "src/unspread/match/_kernel_isa.h"],
            extra_compile_args=["/O2"] if sys.platform == "win32" else ["-O3", "-g0"],
            define_macros=[("Py_LIMITED_API", "0x030B0000")],
            py_limited_api=True,
            # Without a compiler the numpy kernel gives the same answers.
            optional=True,
        )
    ],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
