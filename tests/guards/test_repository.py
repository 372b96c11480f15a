"""Rules about the repository itself."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "unspread"


def tracked(*patterns: str) -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--", *patterns], cwd=ROOT, capture_output=True, check=True
    )
    return [ROOT / each.decode() for each in listed.stdout.split(b"\0") if each]


PROMISES_NEVER_MADE = [
    r"hash(es)? cannot be turned back",
    r"fingerprints? cannot be turned back",
    r"irreversible",
    r"(completely|totally|fully|100 ?%) anonymous",
    r"untraceable",
    r"removed everywhere",
    r"we guarantee",
    r"edited copies are always",
    r"no false matches",
    r"starts the (legal )?48",
    r"tamper-?proof",
    r"zero[- ]knowledge",
    r"military[- ]grade",
]


@pytest.mark.parametrize("promise", PROMISES_NEVER_MADE)
def test_no_text_promises_what_is_not_so(promise):
    texts = tracked("*.md", "*.html", "*.js", "*.po", "src/*.py", "*.toml", "*.json")
    found = [
        str(path.relative_to(ROOT))
        for path in texts
        if path.exists() and re.search(promise, path.read_text(errors="ignore"), re.IGNORECASE)
    ]
    assert found == []


def test_no_data_of_a_running_program_is_kept_here():
    kept = tracked("*.sqlite3", "*.sqlite3-*", "*.key", "*.log", "*.tmp")
    assert [str(path.relative_to(ROOT)) for path in kept if path.exists()] == []


def test_no_module_is_named_for_nothing():
    vague = {"utils", "util", "common", "helpers", "base", "manager", "impl", "misc"}
    assert [path for path in PACKAGE.rglob("*.py") if path.stem in vague] == []


def test_every_module_and_public_name_says_what_it_is():
    silent = []
    for path in PACKAGE.rglob("*.py"):
        if "migrations" in path.parts:
            continue
        tree = ast.parse(path.read_text())
        if not ast.get_docstring(tree) and path.read_text().strip():
            silent.append(f"{path.relative_to(ROOT)}")
        for node in tree.body:
            public = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            if public and not node.name.startswith("_") and not ast.get_docstring(node):
                silent.append(f"{path.relative_to(ROOT)}: {node.name}")
    assert silent == []


def test_no_error_is_caught_without_a_name():
    caught = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in [*PACKAGE.rglob("*.py"), *(ROOT / "tests").rglob("*.py")]
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ExceptHandler) and node.type is None
    ]
    assert caught == []


def test_every_decision_states_its_context_and_its_price():
    records = sorted((ROOT / "docs" / "decisions").glob("[0-9]*.md"))
    assert records
    for record in records:
        text = record.read_text().lower()
        missing = [each for each in ("context", "decision", "price") if each not in text]
        assert not missing, f"{record.name} lacks {missing}"


def test_every_link_in_a_document_leads_somewhere():
    broken = []
    for path in tracked("*.md"):
        for target in re.findall(r"\]\(([^)#\s]+)", path.read_text()):
            if "://" in target or target.startswith("mailto:"):
                continue
            if not (path.parent / target).exists():
                broken.append(f"{path.relative_to(ROOT)}: {target}")
    assert broken == []


def test_the_architecture_fits_on_two_pages():
    assert len((ROOT / "ARCHITECTURE.md").read_text().split()) <= 1300


def test_the_hashed_requirements_are_those_of_the_lock():
    exported = subprocess.run(
        [
            str(ROOT / ".tools" / "bin" / "uv"),
            *("export", "--frozen", "--quiet", "--extra", "demo", "--no-emit-project"),
            *("--no-dev", "--no-header"),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert (ROOT / "requirements.lock").read_text() == exported.stdout, "run `make lock`"
