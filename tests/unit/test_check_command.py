"""`unspread check` tells a sound installation from one that computes wrongly."""

import sys

import numpy as np
import pytest
from click.testing import CliRunner

from unspread import check_command
from unspread.cli import unspread
from unspread.errors import StateError
from unspread.fingerprint import pdq
from unspread.match import kernel_name
from unspread.match.numpy_kernel import NumpyKernel


def test_a_sound_installation_says_which_kernel_it_runs():
    done = CliRunner().invoke(unspread, ["check"], catch_exceptions=False)
    assert done.exit_code == 0
    assert f"ok   matching kernel: {kernel_name()}\n" in done.output
    assert "BAD" not in done.output


def loses_a_match(monkeypatch):
    monkeypatch.setattr(NumpyKernel, "search", lambda *_: None)


def finds_too_much(monkeypatch):
    found = (np.array([77]), np.array([31]), False)
    monkeypatch.setattr(NumpyKernel, "search", lambda *_: found)


def fingerprints_wrongly(monkeypatch):
    right = pdq.bits
    monkeypatch.setattr(pdq, "bits", lambda transformed: right(-transformed))


@pytest.mark.parametrize("broken", [loses_a_match, finds_too_much, fingerprints_wrongly])
def test_an_installation_that_computes_wrongly_is_refused(monkeypatch, broken):
    broken(monkeypatch)
    done = CliRunner().invoke(unspread, ["check"])
    assert isinstance(done.exception, StateError)
    assert done.output.count("BAD") == 1


def test_a_machine_without_the_compiled_kernel_is_sound_and_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "unspread.match.compiled_kernel", None)
    lines = [text for is_good, text in check_command.findings() if is_good]
    assert "matching kernel: numpy" in lines
    assert "compiled matching: not built on this machine" in lines
