"""Folders that were begun with the settings of an earlier version go on with them."""

from dataclasses import replace

import pytest

from nglkeras.experiments import earlier
from nglkeras.experiments.classification import pretraining
from nglkeras.experiments.classification.experiment import TABLE_2
from nglkeras.experiments.classification.protocol import TABLE2_SCALES
from nglkeras.experiments.classification.trial import plan
from nglkeras.experiments.earlier import CHANGES, Earlier
from nglkeras.experiments.script import chosen_settings

TRIALS = plan(TABLE2_SCALES["demo"], ["CE", "f1"])
EACH = [(change,) for change in CHANGES]


def keys(trials):
    return {trial.key for trial in trials}


@pytest.mark.parametrize("changes", [(), *EACH, CHANGES, CHANGES[:2]])
def test_the_settings_are_those_of_the_rows(changes):
    trials = TRIALS
    before = [Earlier(changes)(trial) for trial in trials]
    found = earlier.settings_of(trials, keys(before))
    assert found.changes == changes
    assert [found(trial) for trial in trials] == before


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.name)
def test_every_change_is_noted(change):
    assert change.note in Earlier((change,)).notes[0]
    assert Earlier().notes == []


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.name)
def test_what_the_user_has_chosen_stays(change):
    before = [change.undo(trial) for trial in TRIALS]
    assert earlier.settings_of(TRIALS, keys(before), chosen=[change.name]) == Earlier()


def test_only_an_option_of_its_own_keeps_a_setting():
    parser = TABLE_2.parser()
    for options, chosen in (
        ([], []),
        (["--formula", "mine=y_pred"], []),
        (["--splits", "random"], ["splits"]),
    ):
        assert chosen_settings(parser.parse_args(options)) == chosen


@pytest.mark.parametrize(("chosen", "same"), [([], True), (["splits"], False)])
def test_pre_trained_weights_of_an_earlier_version_are_found(chosen, same, tmp_path):
    trials = pretraining.pretraining(0, 2)
    before = [Earlier(CHANGES)(trial) for trial in trials]
    files = {tmp_path / f"turned_digits_{trial.key}.weights.h5" for trial in before}
    for file in files:
        file.touch()
    found = pretraining.weights_of(trials, tmp_path, chosen)
    assert (set(found) == files) == same
    assert all(trial.key in path.name for path, trial in found.items())


def test_a_part_of_the_rows_is_enough():
    before = [Earlier(CHANGES)(trial) for trial in TRIALS]
    assert earlier.settings_of(TRIALS, keys(before[1:2])).changes == CHANGES


def test_no_more_is_undone_than_the_rows_show():
    ce = [trial for trial in TRIALS if trial.loss == "CE"]
    before = [Earlier(CHANGES)(trial) for trial in ce]
    assert "reconstructions" not in {
        c.name for c in earlier.settings_of(TRIALS, keys(before)).changes
    }


def test_most_rows_decide():
    before = [Earlier(CHANGES)(trial) for trial in TRIALS]
    assert earlier.settings_of(TRIALS, keys(TRIALS[:4]) | keys(before[4:])) == Earlier()


def test_rows_of_other_trials_say_nothing():
    other = [replace(trial, seed=7) for trial in TRIALS]
    assert (
        earlier.settings_of(TRIALS, keys(Earlier(CHANGES)(trial) for trial in other)) == Earlier()
    )
