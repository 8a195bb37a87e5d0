"""What is run, what is taken from the journal, what is tried again."""

from dataclasses import replace

import pytest

from nglkeras import Journal, run_trials
from nglkeras.executors import Local
from nglkeras.experiments.classification.protocol import TABLE2_SCALES
from nglkeras.experiments.classification.trial import plan
from nglkeras.runs.runner import run_missing
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
        measured = {"accuracy": 0.5} if trial.test else {"validation_accuracy": 0.5}
        return TrialResult(key=trial.key, trial={}, status=self.status, **measured)


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
    # These trials have no bars by which they could be stopped.
    again = status in ("timeout", "out_of_memory", "crashed", "stopped")
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


class CountingJournal(Journal):
    reads = 0

    def results(self):
        self.reads += 1
        return super().results()


class TestRunMissing:
    """`run_missing`: what experiments run their trials with."""

    @pytest.fixture
    def journal(self, tmp_path):
        return CountingJournal(tmp_path / "journal.jsonl")

    def run(self, journal, laboratory=None, **settings):
        self.prepared, self.asked = [], []

        def make_run(missing):
            self.asked += missing
            return laboratory or Laboratory()

        settings = {"executor": Local(), "prepare": self.prepared.extend} | settings
        return run_missing(TRIALS, journal, make_run, **settings)

    def test_reads_the_journal_once_before_and_once_under_the_lock(self, journal):
        self.run(journal)
        assert journal.reads == 2
        self.run(journal)
        assert journal.reads == 3

    def test_does_not_read_again_what_the_caller_has_read(self, journal):
        self.run(journal, results={})
        assert journal.reads == 1
        rows = Journal(journal.path).results()
        assert self.run(journal, results=rows) == rows
        assert journal.reads == 1

    def test_only_missing_trials_are_prepared_and_run(self, journal, capsys):
        run_trials(TRIALS[:4], journal, Laboratory(), quiet=True)
        laboratory = Laboratory()
        rows = self.run(journal, laboratory)
        assert laboratory.seen == self.prepared == self.asked == TRIALS[4:]
        assert list(rows) == [trial.key for trial in TRIALS]
        assert f"2 of 6 trials to run; rows go to {journal.path}" in capsys.readouterr().out

    def test_prepares_nothing_when_nothing_is_missing(self, journal, capsys):
        run_trials(TRIALS, journal, Laboratory(), quiet=True)
        assert len(self.run(journal)) == 6
        assert self.prepared == self.asked == []
        assert capsys.readouterr().out == ""

    def test_rows_that_another_process_added_meanwhile_are_not_run_again(self, journal):
        laboratory = Laboratory()

        def prepare(missing):
            run_trials(TRIALS[:5], Journal(journal.path), Laboratory(), quiet=True)

        self.run(journal, laboratory, prepare=prepare)
        assert laboratory.seen == TRIALS[5:]

    def test_returns_no_rows_of_other_trials(self, journal):
        run_trials(TRIALS, journal, Laboratory(), quiet=True)
        rows = run_missing(TRIALS[:1], journal, None, executor=Local())
        assert list(rows) == [TRIALS[0].key]


def test_progress_names_trial_epoch_accuracy_and_count(journal, capsys):
    run_trials(TRIALS[:2], journal, Laboratory())
    captured = capsys.readouterr()
    epoch = "epoch 1/15, validation accuracy 0.500"
    assert f"digits, small_cnn, f5 (NGL) at 0.001, run 1: {epoch}" in captured.err
    assert "2/2" in captured.err
    assert "digits, small_cnn, CE at 0.001, run 1: 50.00 % in" in captured.out


def test_a_network_without_test_shows_what_it_is_chosen_by(journal, capsys):
    run_trials([replace(TRIALS[0], test=False)], journal, Laboratory())
    shown = "digits, small_cnn, CE at 0.001, run 1: 50.00 % of the validation images in"
    assert shown in capsys.readouterr().out
