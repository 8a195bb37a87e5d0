"""`make verify`: documents are what their templates give, and every way to fail names the place."""

import json
import re
import shutil
import time
from pathlib import Path

import pytest
from conftest import ROOT, run_python

from nglkeras.errors import UserError
from nglkeras.experiments.verification import documents

TEMPLATES = (
    *("README.md", "docs/which-loss.md", "results/DATASHEET.md", "results/README.md"),
    "results/REPORT.md",
)


@pytest.fixture
def project(tmp_path):
    """A copy of the documents and their templates; rows are those of the project, by links."""
    folder = tmp_path / "project"
    for name in ("docs", "results"):
        (folder / name).mkdir(parents=True)
    for name in TEMPLATES:
        for ending in ("", ".j2"):
            shutil.copy(ROOT / f"{name}{ending}", folder / f"{name}{ending}")
    for path in (ROOT / "results").iterdir():
        if path.is_dir() or path.suffix == ".toml":
            (folder / "results" / path.name).symlink_to(path)
    return folder


def own(project, place):
    """Give the project a copy of a folder of results, and return it."""
    top = place.split("/")[0]
    (project / "results" / top).unlink()
    shutil.copytree(ROOT / "results" / top, project / "results" / top)
    return project / "results" / place


def replaced(path, before, after):
    """Replace the only occurrence of a text in a file; returns the number of its line."""
    text = path.read_text(encoding="utf-8")
    assert text.count(before) == 1, before
    path.write_text(text.replace(before, after), encoding="utf-8")
    return text[: text.index(before)].count("\n") + 1


def test_committed_documents_agree_with_their_rows(script):
    code, out, err = script("verify", ROOT)
    assert (code, err) == (0, "")
    assert [line.rpartition("/")[2] for line in out.splitlines()] == (
        [f"{Path(name).name} agrees with the rows" for name in TEMPLATES]
    )


# One digit each, in several kinds of places.
CHANGES = [
    ("results/README.md", "(CE 73.9 %,", "(CE 73.8 %,"),
    ("results/README.md", "**37.2 ± 1.3**", "**37.2 ± 1.4**"),
    ("results/README.md", "| 64 | 92 s |", "| 64 | 82 s |"),
    ("results/README.md", "371 trained", "372 trained"),
    ("results/README.md", "0.9628 [0.9598,", "0.9629 [0.9598,"),
    ("results/README.md", "| 0.9700 |", "| 0.9701 |"),
    ("results/README.md", "CE, 2e-4 for", "CE, 3e-4 for"),
    ("results/README.md", "| 0.9716 |", "| 0.9717 |"),
    ("results/README.md", "17.8 % and", "17.9 % and"),
    ("results/README.md", "| 88 | 2 | 1 |", "| 88 | 2 | 2 |"),
    ("results/README.md", "306,413", "306,414"),
    ("results/README.md", "| **0.95** | 1.04 |", "| 0.95 | 1.04 |"),
    ("results/README.md", "(4.7 times)", "(4.8 times)"),
    ("results/README.md", "−13.1 points", "−13.2 points"),
    ("README.md", "costs 0.95 to 1.14", "costs 0.95 to 1.15"),
    ("results/REPORT.md", "+0.34 | +0.30 [0.25,", "+0.34 | +0.31 [0.25,"),
    ("results/REPORT.md", "−2.42 % | −0.41", "−2.43 % | −0.41"),
    ("README.md", "0 of 21 small", "1 of 21 small"),
    ("docs/which-loss.md", "would need 926 times", "would need 925 times"),
    ("results/DATASHEET.md", "| CamVid | 28 | 28 |", "| CamVid | 28 | 27 |"),
]


def test_each_changed_digit_fails_and_its_line_is_named(project, script):
    """All at once: one computation takes seconds."""
    expected = {}
    for document, before, after in CHANGES:
        path = project / document
        originals = path.read_text(encoding="utf-8").splitlines()
        number = replaced(path, before, after)
        # Another change may be on the same line.
        recomputed = expected.get((path, number), [originals[number - 1]])[-1]
        expected[path, number] = [originals[number - 1].replace(before, after), recomputed]
    code, out, _ = script("verify", project)
    assert code == 1
    for (path, number), (found, recomputed) in expected.items():
        assert [line for line in out.splitlines() if line.startswith(f"{path}:{number}:")] == [
            f"{path}:{number}: found      {found}",
            f"{path}:{number}: recomputed {recomputed}",
        ]
    named = [line for line in out.splitlines() if ": found      " in line]
    assert len(named) == len(expected)


def test_a_changed_accuracy_of_a_journal_fails(project, script):
    journal = own(project, "glo/mnist") / "journal.jsonl"
    first, *others = journal.read_text().splitlines(keepends=True)
    row = json.loads(first)
    assert (row["trial"]["loss"], row["trial"]["run"]) == ("CE", 0)
    row["validation_accuracy"] += 0.005
    journal.write_text("".join([json.dumps(row) + "\n", *others]))
    code, out, _ = script("verify", project)
    assert code == 1
    assert re.search(r"README.md:\d+: found +\| measured, five networks \| 0.9628 ", out)
    assert re.search(r"README.md:\d+: recomputed \| measured, five networks \| 0.9638 ", out)


def test_a_sentence_that_is_no_longer_true_is_named(project, script):
    path = own(project, "rediscovery/full") / "rediscovery.csv"
    path.write_text(re.sub(r",no,", ",yes,", path.read_text(), count=1))
    code, _, err = script("verify", project)
    assert (code, err.count("\n")) == (2, 1)
    assert re.search(r"\.md\.j2:\d+: no longer true, write it anew: '", err)


def test_rows_that_no_text_speaks_of_change_counts_only(project, script):
    """A further run, another seed and another learning rate, as trainings add them."""
    journal = own(project, "glo/mnist") / "journal.jsonl"
    row = json.loads(journal.read_text().splitlines()[0]) | {"validation_accuracy": 0.1}
    changes = {"run": 5}, {"seed": 1}, {"schedule": row["trial"]["schedule"] | {"learning_rate": 1}}
    with journal.open("a") as file:
        for i, change in enumerate(changes):
            added = row | {"key": f"added{i}", "trial": row["trial"] | change}
            file.write(json.dumps(added) + "\n")
    code, out, _ = script("verify", project)
    assert code == 1
    differ = [line for line in out.splitlines() if ": recomputed " in line]
    sheet = project / "results" / "DATASHEET.md"
    assert differ
    assert [line for line in differ if not line.startswith(f"{sheet}:")] == []


def test_a_missing_journal_is_named_with_the_line_of_the_template(project, script):
    (own(project, "glo/mnist") / "journal.jsonl").unlink()
    code, _, err = script("verify", project)
    assert code == 2
    journal = project / "results/glo/mnist/journal.jsonl"
    assert f"README.md.j2:5: cannot read {journal}: No such file or directory" in err
    assert err.count("\n") == 1


def test_a_missing_row_is_an_error(project, script):
    journal = own(project, "table4/unet_camvid") / "journal.jsonl"
    journal.write_text("".join(journal.read_text().splitlines(keepends=True)[:-1]))
    code, _, err = script("verify", project)
    assert code == 2
    assert "journal.jsonl: wanted are the runs 0 1 2 of NGL, there are 0 1" in err


def test_a_row_that_cannot_be_read_is_said(project, script):
    journal = own(project, "table4/unet_camvid") / "journal.jsonl"
    with journal.open("a") as file:
        file.write('{"key": "half')
    code, _, err = script("verify", project)
    assert code == 0
    assert err.count(f"{journal}, line 13: cannot be read, passed over") == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{{ glu.CE }}", "2: 'glu' is undefined; the functions are: accuracies, best_rates, gl"),
        ("{{ 1 | fixd }}", "2: No filter named 'fixd'."),
        ("{% for %}", "2: Expected"),
        ("{{ paper('glo', 'nothing', 'CE') }}", "2: unknown row of the printed glo 'nothing'; cho"),
        ("{{ paper('table9', 'CE', 'CE') }}", "2: no printed table 'table9'"),
        ("{{ table('nothing.csv') }}", "2: cannot read"),
        ("{{ confirmation('search/small_cnn_mnist') }}", "2: cannot read the confirmation in"),
        ("{{ 1 + 'a' }}", "2: unsupported operand"),
        (
            "{{ glo('glo/mnist', 'test', runs=7, steps=20000).CE.maen }}",
            "2: 'nglkeras.experiments.glo.tables.GLOCell object' has no attribute 'maen'",
        ),
        (
            "{{ glo('glo/mnist', 'test', runs=7, steps=20000).nothing.mean }}",
            "steps=20000: wanted are the runs 0 1 2 3 4 5 6 of nothing, there are none",
        ),
        (
            "{{ glo('glo/mnist', 'test', runs=[0, 999], steps=20000).CE.mean }}",
            "wanted are the runs 0 999 of CE, there are 0\n",
        ),
        (
            "{{ glo('glo/mnist', 'test', runs=3, steps=2000).CE.mean }}",
            "wanted are the runs 0 1 2 of CE, there are 0 0",
        ),
        (
            "{{ glo('glo/mnist', 'test', runs=3, step=2000).CE.mean }}",
            "2: unknown setting 'step'; choose from: steps, class_reduction, ",
        ),
        ("{{ glo('glo/mnist', 'tset', runs=3).CE }}", "2: unknown part 'tset'; choose from: test"),
    ],
)
def test_a_fault_of_a_template_names_file_line_and_fault(text, message, project, script):
    template = project / "results" / "README.md.j2"
    template.write_text(f"# What has been measured\n{text}\n")
    code, _, err = script("verify", project)
    assert code == 2
    assert f"error: {template}:2: " in err
    assert message in err
    assert err.count("\n") == 1


def test_write_and_verify_again(project, script):
    before = {name: (project / name).read_text() for name in TEMPLATES}
    replaced(project / "README.md", "0 of 21 small", "0 of 29 small")
    document = project / "results/README.md"
    replaced(document, "371 trained", "372 trained")
    # A line too few, and one too many.
    replaced(document, "| `NGL` | 1.05 | 1.14 | **0.95** | 1.04 |\n", "")
    replaced(document, "| ResNet152 |", "| ResNet |\n| ResNet152 |")
    code, out, _ = script("verify", project)
    assert code == 1
    assert out.count("found      (no such line)") == 1
    assert out.count("recomputed (no such line)") == 1
    code, out, _ = script("verify", project, "--write")
    assert code == 0
    assert out.count("written: ") == 2
    assert {name: (project / name).read_text() for name in TEMPLATES} == before
    assert script("verify", project)[0] == 0


class TestParts:
    """A rendering that begins with a heading stands for the part under it."""

    def documents(self, folder, document, template):
        (folder / "a.md").write_text(document)
        (folder / "a.md.j2").write_text(template)
        return documents.Documents(folder), folder / "a.md.j2"

    def test_other_parts_may_be_anything(self, tmp_path):
        text = "# A\n\n## B\n\nfound\n\n```\n## no heading\n```\n\n### C\n\nc\n\n## D\n\nd\n"
        made = "## B\n\n{{ 'made' }}\n\n```\n## no heading\n```\n\n### C\n\nc\n"
        found, template = self.documents(tmp_path, text, made)
        assert found.differences(template) == [documents.Difference(5, "found", "made")]
        found.write(template)
        assert (tmp_path / "a.md").read_text() == text.replace("found", "made")

    @pytest.mark.parametrize("made", ["## Missing\n", "no heading\n", ""])
    def test_a_missing_heading_is_an_error(self, made, tmp_path):
        found, template = self.documents(tmp_path, "# A\n\nno heading\n", made)
        with pytest.raises(UserError, match=r"a\.md has no heading '.*', with which its template"):
            found.differences(template)

    def test_a_missing_document_is_an_error(self, tmp_path):
        found, template = self.documents(tmp_path, "", "# A\n")
        (tmp_path / "a.md").unlink()
        with pytest.raises(UserError, match=r"cannot read .*a\.md"):
            found.differences(template)

    def test_a_folder_without_templates_is_an_error(self, tmp_path, mistake):
        assert mistake("verify", tmp_path, out=None).startswith("no template *.md.j2 in ")


def test_needs_no_keras_and_no_backend_and_little_time():
    code = f"""
import runpy, sys

class Blocker:
    def find_spec(name, path=None, target=None):
        if name in ("keras", "tensorflow", "jax", "torch"):
            raise ImportError(f"{{name}} is imported")

sys.meta_path.insert(0, Blocker)
sys.argv = ["verify.py", {str(ROOT)!r}]
runpy.run_path({str(ROOT / "reproduce" / "verify.py")!r}, run_name="__main__")
"""
    started = time.perf_counter()
    run = run_python(code)
    assert time.perf_counter() - started < 60
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.count("agrees with the rows") == len(TEMPLATES)
