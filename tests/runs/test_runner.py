"""What is run, what is taken from the journal, what is tried again."""

import pytest

from nglkeras import Journal, run_trials
from nglkeras.experiments.classification.protocol import TABLE2_SCALES
from nglkeras.experiments.classification.trial import plan
from nglkeras.runs.trial import TrialResult
from nglkeras.training.outcome import STATUSES

TRIALS = plan(TABLE2_SCALES["demo"], ["CE", "NGL"])


class Laboratory:
    """Stands in for `run_trial`: remembers what it was asked for."""

    def __init__(self, status="ok"):
        self.seen = []
        self.status = status

    def __call__(self, trial, on_epoch):
        on_epoch(1, {"val_accuracy": 0.5})
        self.seen.append(trial)
        return TrialResult(key=trial.key, trial={}, status=self.status, accuracy=0.5)


@pytest.fixture
def journal(tmp_path):
    return Journal(tmp_path / "journal.jsonl")


def test_runs_in_order_and_returns_every_row(journal):
    laboratory = Laboratory()
    rows = run_trials(TRIALS, journal, laboratory, quiet=True)
    assert laboratory.seen == TRIALS
    assert list(rows) == [trial.key for trial in TRIALS]
    assert rows == journal.results()


def test_second_call_runs_nothing(journal):
    run_trials(TRIALS, journal, Laboratory(), quiet=True)
    laboratory = Laboratory()
    assert len(run_trials(TRIALS, journal, laboratory, quiet=True)) == 6
    assert laboratory.seen == []


def test_a_deleted_line_runs_one_trial(journal):
    run_trials(TRIALS, journal, Laboratory(), quiet=True)
    lines = journal.path.read_text().splitlines(keepends=True)
    journal.path.write_text("".join(lines[:2] + lines[3:]))
    laboratory = Laboratory()
    run_trials(TRIALS, journal, laboratory, quiet=True)
    assert laboratory.seen == [TRIALS[2]]


def test_same_trial_twice_runs_once(journal):
    laboratory = Laboratory()
    run_trials(TRIALS + TRIALS, journal, laboratory, quiet=True)
    assert len(laboratory.seen) == 6


@pytest.mark.parametrize("status", STATUSES)
def test_only_what_may_end_otherwise_is_tried_again(journal, status):
    run_trials(TRIALS[:1], journal, Laboratory(status), quiet=True)
    laboratory = Laboratory()
    run_trials(TRIALS[:1], journal, laboratory, quiet=True)
    again = status in ("timeout", "out_of_memory", "crashed")
    assert len(laboratory.seen) == again


def test_interruption_loses_only_the_running_trial(journal):
    laboratory = Laboratory()

    def interrupted(trial, on_epoch):
        if len(laboratory.seen) == 3:
            raise KeyboardInterrupt
        return laboratory(trial, on_epoch)

    with pytest.raises(KeyboardInterrupt):
        run_trials(TRIALS, journal, interrupted, quiet=True)
    assert list(journal.results()) == [trial.key for trial in TRIALS[:3]]
    run_trials(TRIALS, journal, laboratory, quiet=True)
    assert laboratory.seen == TRIALS


def test_progress_names_trial_epoch_accuracy_and_count(journal, capsys):
    run_trials(TRIALS[:2], journal, Laboratory())
    captured = capsys.readouterr()
    assert (
        "digits, small_cnn, f5 (NGL), run 1: epoch 1/15, validation accuracy 0.500" in captured.err
    )
    assert "2/2" in captured.err
    assert "digits, small_cnn, CE, run 1: 50.00 %" in captured.out
