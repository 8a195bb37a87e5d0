"""What a run is doing, as those who look on see it."""

import json
import time
from dataclasses import asdict

import pytest

from nglkeras import Journal, UserError
from nglkeras.executors import Local
from nglkeras.executors.base import Running
from nglkeras.experiments.classification.protocol import TABLE2_SCALES
from nglkeras.experiments.classification.trial import plan
from nglkeras.runs import status
from nglkeras.runs.live_status import StatusWriter, seconds_left
from nglkeras.runs.trial import TrialResult

TRIALS = plan(TABLE2_SCALES["demo"], ["CE", "NGL"])


def result(trial, outcome="ok", seconds=3.0, **fields):
    return TrialResult(
        key=trial.key,
        trial=json.loads(json.dumps(asdict(trial))),
        status=outcome,
        seconds=seconds,
        accuracy=0.5 if outcome == "ok" else None,
        **fields,
    )


@pytest.fixture
def journal(tmp_path):
    return Journal(tmp_path / "journal.jsonl")


def shown(folder, **settings):
    (path,) = status.find(folder)
    return status.describe(status.read(path), **settings)


class TestRead:
    def test_what_is_done_failed_and_why(self, journal, tmp_path):
        journal.append(result(TRIALS[0]))
        journal.append(result(TRIALS[1], "crashed", message="it broke\nbadly", attempts=4))
        text = shown(tmp_path)
        assert "1 ok, 1 crashed; 0:00:06 of training" in text
        assert "digits, small_cnn, NGL at 0.001, run 1: crashed (it broke badly)" in text
        assert "3 times a worker was lost" in text
        assert text.endswith("not running")

    def test_the_last_row_of_a_trial_counts(self, journal, tmp_path):
        journal.append(result(TRIALS[0], "timeout"))
        journal.append(result(TRIALS[0]))
        assert "1 ok; 0:00:03" in shown(tmp_path)

    def test_only_the_last_failures_are_named(self, journal, tmp_path):
        for trial in TRIALS:
            journal.append(result(trial, "exploded", message="far"))
        text = shown(tmp_path, failures=2)
        assert text.count("exploded (far)") == 2
        assert "and 4 failed ones before" in text

    def test_while_it_runs_and_after_it_was_killed(self, journal, tmp_path):
        executor = Local()
        row = {"loss": 0.25, "val_accuracy": 0.5}
        executor.running = [Running(TRIALS[0], 0, time.time() - 61, 2, (4, row))]
        summary = {"total": 6, "done": 2, "seconds_left": 3725}
        with journal.writing(), StatusWriter(journal.path, executor, lambda: summary):
            journal.append(result(TRIALS[1]))
            for _ in range(100):
                if (tmp_path / "journal.status.json").exists():
                    break
                time.sleep(0.02)
            text = shown(tmp_path)
            left = (tmp_path / "journal.status.json").read_text()
        assert "running: process" in text
        assert "2 of 6 done, about 1:02:05 left, 1 workers (local)" in text
        line = "worker 0: digits, small_cnn, CE at 0.001, run 1, epoch 4/15, loss 0.25, 0:01:0"
        assert line in text
        assert "attempt 2" in text
        # A run that ends deletes its live status; one that is killed does not.
        assert "not running" in shown(tmp_path)
        assert "same command" not in shown(tmp_path)
        (tmp_path / "journal.status.json").write_text(left)
        assert "the same command goes on" in shown(tmp_path)

    @pytest.mark.parametrize(
        "board",
        [
            "{",
            "[]",
            '"x"',
            '{"running": [5]}',
            '{"running": [{"task": "\\u001b[2J"}]}',
            '{"total": "many"}',
            '{"running": [{"task": 1, "worker": 0, "seconds": 1, "attempt": 1, "progress": ""}]}',
            "[" * 100_000,
        ],
    )
    def test_a_board_from_elsewhere(self, journal, tmp_path, board):
        (tmp_path / "journal.status.json").write_text(board)
        with journal.writing():
            text = shown(tmp_path)
        assert "running" in text
        assert "\x1b" not in text

    def test_a_folder_that_may_not_be_written(self, journal, tmp_path):
        journal.append(result(TRIALS[0]))
        before = sorted(path.name for path in tmp_path.iterdir())
        shown(tmp_path)
        assert sorted(path.name for path in tmp_path.iterdir()) == before

    def test_nothing_there(self, tmp_path):
        with pytest.raises(
            UserError, match=r"no journal.jsonl, trials.jsonl, search.jsonl or confirm.jsonl in"
        ):
            status.find(tmp_path)


class TestSecondsLeft:
    def test_by_what_the_like_have_taken(self):
        short, long = TRIALS[0], next(t for t in _of_two_models() if t.model == "head")
        known = {t.key: result(t, seconds=s) for t, s in ((short, 10.0), (long, 100.0))}
        assert seconds_left([TRIALS[1]], known, Local()) == 10
        assert seconds_left([long, TRIALS[1]], known, Local()) == 110

    def test_several_at_a_time(self):
        executor = Local()
        executor.workers = 4
        known = {TRIALS[0].key: result(TRIALS[0], seconds=10.0)}
        assert seconds_left(TRIALS[:2], known, executor) == 10
        assert seconds_left([*TRIALS, *TRIALS], known, executor) == 30

    def test_nothing_is_known(self):
        assert seconds_left(TRIALS, {}, Local()) is None
        assert seconds_left(TRIALS, {"a": result(TRIALS[0], "timeout")}, Local()) is None


def _of_two_models():
    from dataclasses import replace

    return plan(replace(TABLE2_SCALES["demo"], models=("small_cnn", "head")), ["CE"])


def test_the_script(script, mistake, journal, tmp_path):
    journal.append(result(TRIALS[0]))
    code, out, _ = script("status", tmp_path)
    assert code == 0
    assert "1 ok" in out
    assert "no journal.jsonl" in mistake("status", tmp_path / "nowhere", out=None)
    assert json.loads(journal.path.read_text())["status"] == "ok"
