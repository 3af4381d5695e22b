"""The drivers of kills and bad inputs, in small; their own files say how to run the whole."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

import bad_inputs
import kills


@pytest.mark.slow
def test_killed_stages_complete_when_they_are_run_again(tmp_path):
    assert kills.kills(3, seed=0, root=tmp_path) == []


@pytest.mark.slow
def test_a_new_store_outlives_a_kill(tmp_path):
    assert kills.new_stores(2, seed=0, root=tmp_path) == []


@pytest.mark.slow
def test_bad_inputs_get_one_line(tmp_path):
    assert bad_inputs.try_cases(bad_inputs.draw(20, seed=1), tmp_path) == []
