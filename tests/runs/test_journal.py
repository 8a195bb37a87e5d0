"""The journal keeps what it was given, whatever happened to the file."""

import builtins
import json
import os
import pickle

import pytest

from nglkeras import Journal, UserError
from nglkeras.runs.trial import TrialResult


def result(key="a", status="ok", accuracy=0.5):
    return TrialResult(key=key, trial={"loss": "NGL"}, status=status, accuracy=accuracy)


@pytest.fixture
def journal(tmp_path):
    reports = []
    journal = Journal(tmp_path / "deep" / "journal.jsonl", report=reports.append)
    journal.reports = reports
    return journal


def test_rows_come_back(journal):
    rows = [result("a"), result("b", "non_finite", None)]
    for row in rows:
        journal.append(row)
    assert list(journal.results().values()) == rows
    assert Journal(journal.path).results() == journal.results()


def test_later_rows_replace_earlier_ones(journal):
    journal.append(result("a", "crashed", None))
    journal.append(result("a"))
    assert journal.results() == {"a": result("a")}
    assert len(journal.path.read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("statuses", "counts"),
    [
        (("ok", "timeout"), "ok"),
        (("timeout", "ok", "lost"), "ok"),
        (("ok", "stopped"), "ok"),
        (("exploded", "crashed"), "exploded"),
        (("crashed", "timeout"), "timeout"),
        (("stopped", "non_finite"), "non_finite"),
    ],
)
def test_a_failure_does_not_replace_a_result(journal, statuses, counts):
    """The lines of two machines may stand in any order."""
    for status in statuses:
        journal.append(result(status=status))
    assert journal.results()["a"].status == counts


def test_a_row_is_a_line_of_json(journal):
    journal.append(result("ä\n"))
    (line,) = journal.path.read_text().splitlines()
    assert json.loads(line)["key"] == "ä\n"


@pytest.mark.parametrize("damage", ['{"key": "x", "sta', "\xff\xfe", "[]", "null", '{"key": "x"}'])
def test_damaged_line_is_reported_and_passed_over(journal, damage):
    journal.append(result("a"))
    with journal.path.open("a", encoding="latin-1") as file:
        file.write(damage + "\n")
    journal.append(result("b"))
    before = journal.path.read_bytes()
    assert set(journal.results()) == {"a", "b"}
    assert len(journal.reports) == 1
    assert f"{journal.path}, line 2" in journal.reports[0]
    assert journal.path.read_bytes() == before


def test_half_a_last_line_does_not_swallow_the_next(journal):
    journal.append(result("a"))
    with journal.path.open("a") as file:
        file.write('{"key": "b", "stat')
    journal.append(result("c"))
    assert set(journal.results()) == {"a", "c"}


def test_columns_of_a_later_version_are_passed_over(journal):
    journal.append(result("a"))
    row = json.loads(journal.path.read_text()) | {"key": "b", "colour": "blue"}
    with journal.path.open("a") as file:
        file.write(json.dumps(row) + "\n")
    assert set(journal.results()) == {"a", "b"}
    assert journal.reports == []


def test_a_damaged_line_is_reported_once(journal):
    journal.path.write_text("damage\n")
    journal.results()
    journal.results()
    assert len(journal.reports) == 1


def test_nan_becomes_null(journal):
    row = TrialResult(key="a", trial={}, status="non_finite", history=[{"loss": float("nan")}])
    journal.append(row)
    assert "NaN" not in journal.path.read_text()
    assert journal.results()["a"].history == [{"loss": None}]


def test_a_message_with_a_name_that_is_no_text_comes_back(journal):
    # As Python reads file names that are not UTF-8; `msgspec` alone would refuse the line.
    row = TrialResult(key="a", trial={}, status="crashed", message="no file \udcff.png")
    journal.append(row)
    assert journal.results() == {"a": row}
    assert journal.reports == []


def test_whole_numbers_stay_whole(journal):
    metrics = {"parameters": 25557032, "top5": 1.0}
    journal.append(TrialResult(key="a", trial={}, status="ok", seconds=3, metrics=metrics))
    row = journal.results()["a"]
    assert str(row.metrics) == str(metrics)
    assert str(row.seconds) == "3"


def test_append_reaches_the_disk(journal, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", synced.append)
    journal.append(result())
    assert len(synced) == 1


def test_full_disk_is_a_line_for_the_user(journal, monkeypatch):
    journal.append(result("a"))

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="No space left on device; once it can be written"):
        journal.append(result("b"))
    assert "a" in journal.results()


def test_unwritable_place(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write to"):
        Journal(tmp_path / "file" / "journal.jsonl")
    with pytest.raises(UserError, match="cannot write to"):
        Journal("/proc/nowhere/journal.jsonl")


def test_can_be_sent_to_a_process_where_print_was_replaced(tmp_path, monkeypatch):
    # Ray's driver does.
    journal = Journal(tmp_path / "journal.jsonl")
    monkeypatch.setattr(builtins, "print", lambda *_, **__: None)
    assert pickle.loads(pickle.dumps(journal)).path == journal.path
