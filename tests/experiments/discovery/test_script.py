"""The scripts of both papers' searches."""

import json
from dataclasses import asdict
from functools import partial

import pandas as pd
import pytest
from conftest import ROOT
from matplotlib.image import imread
from search_tools import lines

import nglkeras
from nglkeras.experiments import discovery
from nglkeras.expression import Expression
from nglkeras.report.rates import FIRST_NEW
from nglkeras.search import (
    GLO,
    CoefficientSearch,
    GeneticProgramming,
    Record,
    Result,
    Variation,
)

SMALL = ["--model", "head", "--epochs", "1", "--train-images", "64", "--evaluation-images", "32"]


SMALL += ["--population", "4", "--generations", "2", "--confirm-runs", "2"]


class TestScript:
    def test_searches_then_prints_from_the_journals(self, script, tmp_path):
        code, out, _ = script("search", *SMALL, "--out", tmp_path)
        assert code == 0
        for part in (
            "n = 4, T = 2",
            "generation 2: best",
            "left",
            "evaluations asked",
            "The winner: ",
            "LaTeX: ",
            "4 losses x (5 rates x 1 + 2 new runs) = 28 networks",
            ": better than cross entropy at its own best rate: ",
            "Holm's p",
        ):
            assert part in out
        for name in ("convergence", "family", "front", "losses", "winner"):
            assert imread(tmp_path / f"{name}.png").std() > 0.01
        for name in ("best.md", "best.json", "generations.csv", "confirmation.csv"):
            assert (tmp_path / name).stat().st_size > 100
        best = (tmp_path / "best.md").read_text(encoding="utf-8")
        assert "## Is the winner better?" in best
        assert all(f"| `{loss.simplified}` |" in best for loss in Result.load(tmp_path).front)
        names = ("search.jsonl", "trials.jsonl", "confirm.jsonl")
        journals = [(tmp_path / name).read_bytes() for name in names]
        code, again, _ = script("search", *SMALL, "--out", tmp_path)
        assert code == 0
        assert again[again.index("The best") :] == out[out.index("The best") :]
        assert journals == [(tmp_path / name).read_bytes() for name in names]
        rows = [json.loads(line) for line in journals[2].decode().splitlines()]
        trials = {row["key"]: row for row in map(json.loads, journals[1].splitlines())}
        assert {row["key"] for row in rows} <= trials.keys()
        for row in rows:
            trial = trials[row["key"]]["trial"]
            assert trial["schedule"]["learning_rate"] == row["learning_rate"]
            # What chooses a rate has not looked at the test set.
            assert trial["test"] == (row["run"] >= FIRST_NEW) == (row["test"] is not None)
        loss = nglkeras.load_loss(tmp_path / "best.json")
        assert loss.formula in out

    @pytest.mark.slow
    def test_the_papers_search_on_two_sets(self, script, tmp_path):
        code, out, _ = script(
            "search",
            *SMALL,
            *["--experiment", "5", "--datasets", "digits", "digits_turned", "--generations", "1"],
            *["--population", "2", "--compare-runs", "1"],
            *["--no-parsimony", "--scale-free"],
            *["--without", "duplicates", "equals", "gradients", "rejection"],
            *["--draws", "fresh", "--bounds", "1e-4", "1e6", "--out", tmp_path],
        )
        assert code == 0
        assert "In the paper, experiment 5 found f5 = NGL." in out
        best = (tmp_path / "best.md").read_text()
        assert "Every candidate is trained. Every evaluation has a split" in best
        header = json.loads((tmp_path / "search.jsonl").read_text().splitlines()[0])["settings"]
        assert header["screening"]["bounds"] == [1e-4, 1e6]
        assert header["evaluate"]["improvement"] == "errors"
        assert header["distinct"]
        assert header["evaluate"]["scale_free"] is True
        assert "Losses are brought to cross entropy's size." in best
        content = json.loads((tmp_path / "best.json").read_text())
        factor = Result.load(tmp_path).best_losses(1)[0].factor
        assert content["formula"].startswith(f"{factor}*")
        assert "parsimony" not in header
        # One has no gradient that could be brought to any size.
        assert "4 asked, 3 trained, saved 1 rejected" in out
        assert "Digits, turned, winner: " in out
        assert "Measures are means over digits, digits_turned." in best

    def test_on_real_files_through_tfds(self, script, tmp_path, tfds_directory):
        code, out, _ = script(
            "search",
            *["--experiment", "2", "--scale", "reduced", "--model", "small_cnn"],
            *["--image-size", "28", "--epochs", "1", "--population", "2", "--generations", "1"],
            *["--train-images", "40", "--confirm-runs", "0"],
            *["--data-dir", tfds_directory, "--out", tmp_path],
        )
        # 54 tiny images do not fill the paper's batch of 128.
        assert code == 2
        assert "training samples do not fill a batch of 128" in _ + out

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--experiment", "7"], "unknown experiment '7'; choose from: 1, 2, 3, 4, 5"),
            (["--scale", "huge"], "unknown scale 'huge'; choose from: demo, reduced, paper"),
            (["--without", "all"], "unknown check 'all'; choose from: duplicates, equals"),
            (["--screen", "all"], "unknown check 'all'; choose from: duplicates, equals"),
            (["--draws", "new"], "unknown draws 'new'; choose from: shared, fresh"),
            (["--bounds", "2", "1"], "bounds=(2.0, 1.0) are not two finite numbers"),
            (["--datasets", "cats"], "unknown data set 'cats'"),
            (["--model", "LeNet"], "unknown model 'LeNet'"),
            (["--racing", "--epochs", "1"], "there is one epoch of one run"),
            (["--confirm-minutes", "-1"], "--confirm-minutes=-1.0 is not a positive number"),
            (["--confirm-runs", "-1"], "-1 is not a positive number"),
            (["--generations", "0"], "0 is not a positive number"),
            (["--strategy", "all"], "unknown strategy 'all'"),
        ],
    )
    def test_mistakes_end_in_one_line_and_exit_code_2(self, mistake, arguments, message):
        assert message in mistake("search", *arguments)

    def test_nothing_that_could_be_trained(self, mistake):
        """An error that says why, and not a best loss that was rejected."""
        options = ["--population", "1", "--generations", "1", "--bounds", "5e4", "6e4"]
        error = mistake("search", *SMALL, *options)
        assert error.startswith("no loss of this search has a fitness: ")
        assert "discarded, such as: values" in error

    @pytest.mark.slow
    def test_a_search_is_printed_without_its_data(self, script, tmp_path, monkeypatch):
        from nglkeras.data import sources

        options = [*SMALL, "--generations", "1", "--out", tmp_path]
        code, out, _ = script("search", *options)
        assert code == 0
        monkeypatch.setattr(sources, "prepare", lambda *_: pytest.fail("data were asked for"))
        code, again, _ = script("search", *options)
        assert code == 0
        assert again[again.index("The best") :] == out[out.index("The best") :]

    def test_another_search_in_the_same_folder(self, mistake, tmp_path):
        (tmp_path / "search.jsonl").write_text(json.dumps({"settings": {"seed": 5}}) + "\n")
        assert "holds a search with other settings" in mistake("search", *SMALL)

    def test_ctrl_c_says_how_to_go_on(self, script, tmp_path, monkeypatch):
        def stop(*_, **__):
            raise KeyboardInterrupt

        monkeypatch.setattr(discovery.experiments.ExperimentFitness, "each", stop)
        code, _, err = script("search", *SMALL, "--out", tmp_path)
        assert code == 130
        assert "the same command goes on from here" in err


class TestGLOSearch:
    @pytest.mark.slow
    def test_two_stages_and_again_from_the_journals(self, script, tmp_path):
        options = (
            *("--steps", 8, "--population", 40, "--generations", 1, "--coefficient-generations", 1),
            *("--confirm-runs", 2, "--train-images", 200, "--out", tmp_path),
        )
        code, out, err = script("glo_search", *options)
        assert code == 0, err
        assert out.count("better than cross entropy at its own best rate") == 1
        folder = tmp_path / "search"
        (coefficients,) = folder.glob("coefficients_*")
        stages = ("trees", coefficients.name)
        first = {stage: lines(folder / stage) for stage in stages}
        trials = (folder / "trials.jsonl").read_text()
        for stage in first:
            content = json.loads((folder / stage / "best.json").read_text())
            assert content["class_reduction"] == "sum"
            assert nglkeras.load_loss(folder / stage / "best.json").class_reduction == "sum"
            assert imread(folder / stage / "convergence.png").std() > 0.02
            assert "Winner" in (folder / stage / "best.md").read_text()
        assert not (folder / "trees" / "confirm.jsonl").exists()
        confirmed = pd.read_csv(coefficients / "confirmation.csv")
        # Beside the best one, which is named by its id.
        assert set(confirmed.loss) > {"tree", "CE", "Baikal", "BaikalCMA"}
        code, _, _ = script("glo_search", *options)
        assert code == 0
        assert {stage: lines(folder / stage) for stage in first} == first
        assert (folder / "trials.jsonl").read_text() == trials


STRATEGIES = {"GeneticProgramming": GeneticProgramming, "GLO": GLO}


COMMITTED = sorted((ROOT / "results").glob("**/search.jsonl"))


def test_there_are_committed_searches():
    assert len(COMMITTED) >= 4


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.parent.name)
def test_the_committed_searches_can_be_read(path):
    """Their journals are those of this version: the strategy makes the same individuals."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    settings = rows[0]["settings"]
    records = {row["id"]: Record.from_json(row) for row in rows[1:]}
    del settings["evaluate"], settings["screening"], settings["classes"]
    name, seed = settings.pop("strategy"), settings.pop("seed")
    if name == "CoefficientSearch":
        make = partial(CoefficientSearch, Expression.parse(settings.pop("expression")))
    else:
        make = STRATEGIES[name]
    assert settings.pop("variation", None) in (None, json.loads(json.dumps(asdict(Variation()))))
    last = max(record.individual.generation for record in records.values())
    strategy = make(seed=seed, generations=last, **settings)
    strategy.as_begun(settings)
    asked = strategy.ask()
    # The last generation may have been interrupted.
    while asked and all(individual.id in records for individual in asked):
        for individual in asked:
            record = records[individual.id]
            assert individual.agrees_with(record.individual)
            strategy.tell(record.individual, record.evaluation)
        asked = strategy.ask()
    assert strategy.generation >= last
