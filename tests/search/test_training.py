"""The search with networks in it: fitness, experiments, the script, what it leaves behind."""

import json
from dataclasses import asdict, replace
from functools import partial

import keras
import numpy as np
import pytest
from conftest import ROOT, needs_two_devices
from matplotlib.image import imread

import nglkeras
from nglkeras import UserError
from nglkeras.experiments import discovery
from nglkeras.experiments.discovery import (
    EXPERIMENTS,
    SCALES,
    ExperimentFitness,
    SearchScale,
    draws,
)
from nglkeras.experiments.discovery.experiments import trials
from nglkeras.experiments.glo import protocol
from nglkeras.expression import Expression
from nglkeras.losses import FORMULAS
from nglkeras.runs.journal import Journal
from nglkeras.search import (
    GLO,
    CoefficientSearch,
    GeneticProgramming,
    Record,
    TrainingFitness,
    Variation,
    search,
)
from nglkeras.search.screening import CHECKS
from nglkeras.training.devices import count_replicas

NGL = Expression.parse(FORMULAS["NGL"])
RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(200, 6)).astype("float32")
LABELS = X[:, :3].argmax(axis=1)
TINY = SearchScale(
    "tiny",
    "for tests",
    model="head",
    generations=1,
    population=3,
    datasets=("digits",),
    epochs=1,
    train_images=64,
    evaluation_images=32,
    plateau=False,
    pretrained=False,
)


def model_fn():
    return keras.Sequential(
        [
            keras.Input((6,)),
            keras.layers.Dense(16, "relu"),
            keras.layers.Dropout(0.1),
            keras.layers.Dense(3, "softmax"),
        ]
    )


def fitness(**changes):
    settings = {"epochs": 5, "batch_size": 16, "learning_rate": 0.01} | changes
    return TrainingFitness(
        model_fn, (X[:120], LABELS[:120]), (X[120:160], LABELS[120:160]), **settings
    )


class TestTrainingFitness:
    def test_a_search_of_one_s_own(self, tmp_path):
        evaluate = fitness()
        strategy = GeneticProgramming(0, population_size=6, generations=2)
        result = search(strategy, evaluate, out=tmp_path, quiet=True)
        best = result.population[0].evaluation
        assert best.status == "ok"
        assert best.fitness[0] > 0.5
        assert evaluate.compiled.loss.traces <= 3

        loss = nglkeras.load_loss(tmp_path / "best.json")
        model = model_fn()
        model.compile("adam", loss)
        model.fit(X, np.eye(3)[LABELS], verbose=0)
        found = evaluate.compare({"best": result.best, "NGL": NGL}, (X[160:], LABELS[160:]), runs=2)
        assert [one.name for one in found] == ["best", "NGL"]
        assert all(len(one.accuracies) == 2 for one in found)

    def test_mean_over_runs(self):
        evaluation = fitness(runs=2)(NGL)
        assert evaluation.fitness == (np.mean(evaluation.details["accuracies"]),)
        assert len(evaluation.details["accuracies"]) == 2

    def test_one_hot_labels_are_the_same(self):
        one_hot = np.eye(3)[LABELS]
        evaluate = TrainingFitness(
            model_fn,
            (X[:120], one_hot[:120]),
            (X[120:160], one_hot[120:160]),
            epochs=5,
            batch_size=16,
            learning_rate=0.01,
        )
        assert evaluate(NGL).fitness == fitness()(NGL).fitness

    def test_what_the_optimizer_cannot_tell_apart(self):
        assert fitness().gradients == "scaled"
        assert fitness(optimizer="SGD").gradients == "exact"

    def test_another_model_or_other_data_is_another_search(self):
        def other():
            return keras.Sequential([keras.Input((6,)), keras.layers.Dense(3, "softmax")])

        first = fitness().settings
        assert first == fitness().settings
        data = (X[:120], LABELS[:120]), (X[120:160], LABELS[120:160])
        assert TrainingFitness(other, *data).settings["model"] != first["model"]
        data = (X[:120] + 1, LABELS[:120]), (X[120:160], LABELS[120:160])
        assert TrainingFitness(model_fn, *data).settings["data"] != first["data"]

    def test_what_cannot_be_trained_has_a_status(self):
        evaluate = fitness()
        assert evaluate(Expression.parse("exp(exp(exp(3 + y_pred)))*y_true")).status == "non_finite"
        assert evaluate(Expression.parse("1e7*y_pred*y_true")).status == "exploded"
        assert evaluate(NGL).status == "ok"


class TestExperiments:
    def test_are_the_papers(self):
        assert [e.runs for e in EXPERIMENTS.values()] == [1, 3, 1, 3, 1]
        assert [e.weights for e in EXPERIMENTS.values()] == [None, None, *["imagenet"] * 2, None]
        assert EXPERIMENTS[5].datasets == ("cifar10", "fashion_mnist", "cifar100")
        assert [e.against_ce for e in EXPERIMENTS.values()] == [False] * 4 + [True]

    @pytest.mark.parametrize(("number", "networks"), [(1, 1), (2, 3), (3, 1), (4, 3), (5, 3)])
    def test_paper_scale(self, number, networks):
        found = trials(EXPERIMENTS[number], SCALES["paper"], FORMULAS["NGL"])
        assert len({trial.key for trial in found}) == networks
        for trial in found:
            assert trial.model == "InceptionV3"
            assert not trial.test
            assert trial.schedule.batch_size == 128
            assert trial.schedule.epochs == (35 if trial.dataset == "fashion_mnist" else 50)
            assert trial.schedule.plateau.patience == 5
            assert trial.augmentation.zoom == 0.2
            assert trial.schedule.plateau.monitor == "val_accuracy"

    def test_paper_scale_screens_nothing_and_draws_anew(self):
        """Algorithm 1 trains every child; B.1 draws sets and weights for every run."""
        for scale in (SCALES["demo"], SCALES["reduced"]):
            assert (scale.screening, scale.draws) == (CHECKS, "shared")
        assert (SCALES["paper"].screening, SCALES["paper"].draws) == ((), "fresh")
        glo = protocol.SCALES
        assert (glo["paper"].screening, glo["paper"].draws) == (("duplicates",), "fresh")
        assert (glo["reduced"].screening, glo["reduced"].draws) == (CHECKS, "shared")
        (trial,) = protocol.candidate(glo["paper"], FORMULAS["NGL"])
        assert draws.is_fresh(trial)
        assert not draws.is_fresh(protocol.candidate(glo["demo"], FORMULAS["NGL"])[0])

    def test_what_the_paper_found(self):
        assert [one.found for one in EXPERIMENTS.values()] == ["f1", "f2", "f3", "f4", "f5 = NGL"]

    def test_the_bound_on_a_training(self, tmp_path):
        journal = Journal(tmp_path / "trials.jsonl")
        loss = Expression.parse("50 - 40*(y_true*y_pred)")
        assert ExperimentFitness(1, TINY, journal, bounds=(0, 10))(loss).status == "exploded"
        assert ExperimentFitness(1, TINY, journal, bounds=None).train.bound == np.inf
        assert ExperimentFitness(1, TINY, journal).train.bound == 1e5

    def test_the_test_set_is_not_even_read(self, tmp_path, monkeypatch):
        from nglkeras.data import datasets

        read = []
        load = datasets.load_arrays
        monkeypatch.setattr(
            datasets,
            "load_arrays",
            lambda *a, test=False, **k: (read.append(test), load(*a, test=test, **k))[1],
        )
        evaluate = ExperimentFitness(1, TINY, Journal(tmp_path / "trials.jsonl"))
        assert evaluate(NGL).status == "ok"
        assert read == [False]
        evaluate.compare({"NGL": NGL}, 1)
        assert True in read

    def test_no_test_image_has_been_validated_with_in_any_run(self):
        """Digits have no test split: one is set aside for all runs."""
        from nglkeras.data import datasets

        parts = [datasets.load_arrays("digits", seed, test=True, test_seed=5) for seed in range(3)]
        images = [[image.tobytes() for image in part.test[0]] for part in parts]
        assert images[0] == images[1] == images[2]
        # A few scans occur twice in the data set itself.
        for part in parts:
            seen = [image.tobytes() for image in part.validation[0]]
            assert len(set(seen) & set(images[0])) <= 1
        assert sum(len(part[0]) for part in (parts[0].train, parts[0].validation)) == 1797 - 180

    @pytest.mark.slow
    def test_fresh_draws(self, tmp_path):
        """Every evaluation has its own split and weights, by the name of the individual."""
        scale, names = replace(TINY, draws="fresh"), ["0-0", "1-0-2"]
        journal = Journal(tmp_path / "trials.jsonl")
        evaluate = ExperimentFitness(1, scale, journal)
        found = dict(evaluate.each([NGL, NGL], names))
        rows = journal.results()
        assert len({row.trial["run"] for row in rows.values()}) == 2
        assert found[0].fitness != found[1].fitness
        assert all(row.accuracy is None and row.sizes[2] == 0 for row in rows.values())
        # Elsewhere, in another order: the same row.
        other = Journal(tmp_path / "other.jsonl")
        again = ExperimentFitness(1, scale, other)
        assert again(NGL, names[1]).fitness == found[1].fitness
        assert other.results().keys() < rows.keys()
        # The comparison has shared runs, which the test set is for.
        evaluate.compare({"NGL": NGL}, 1)
        (tested,) = [row for row in journal.results().values() if row.trial["test"]]
        assert tested.trial["run"] == 1
        assert tested.accuracy is not None
        # Nothing is kept of the draws that are over.
        (network,) = evaluate.train.networks.values()
        assert len(network._starts) <= 2
        # From the journal, though of a formula that was trained before.
        evaluate.train = None
        assert evaluate(NGL, names[0]).fitness == found[0].fitness

    def test_a_folder_of_an_earlier_version_goes_on(self, tmp_path, monkeypatch):
        """Begun with the loss as monitor, shared draws and accuracies compared."""
        from nglkeras.experiments.discovery.draws import SEARCH_CHANGES
        from nglkeras.experiments.earlier import Earlier

        scale = replace(TINY, plateau=True, draws="fresh")
        journal = Journal(tmp_path / "trials.jsonl")
        before = ExperimentFitness(5, scale, journal)
        earlier = [change for change in SEARCH_CHANGES if change.name in ("draws", "monitor")]
        before.begun, before.improvement = Earlier(tuple(earlier)), "accuracies"
        before.blanks = before.trials("y_pred")
        monkeypatch.setattr(before, "as_begun", lambda settings: None)
        strategy = {"population_size": 2, "generations": 0}
        first = search(GeneticProgramming(0, **strategy), before, out=tmp_path, quiet=True)
        files = [(tmp_path / n).read_bytes() for n in ("search.jsonl", "trials.jsonl")]

        today = ExperimentFitness(5, scale, journal)
        assert today.settings != before.settings
        result = search(GeneticProgramming(0, **strategy), today, out=tmp_path, quiet=True)
        assert result.population == first.population
        assert files == [(tmp_path / n).read_bytes() for n in ("search.jsonl", "trials.jsonl")]
        notes = " ".join(today.notes)
        for part in ("validation loss", "share splits", "that of the accuracy"):
            assert part in notes
        chosen = ExperimentFitness(5, scale, journal, chosen=["draws"])
        with pytest.raises(UserError, match="other settings"):
            search(GeneticProgramming(0, **strategy), chosen, out=tmp_path, quiet=True)

    def test_rows_are_taken_from_the_journal(self, tmp_path, monkeypatch):
        first = ExperimentFitness(2, TINY, Journal(tmp_path / "trials.jsonl"))(NGL)
        assert len(first.details["accuracies"]["digits"]) == 3
        again = ExperimentFitness(2, TINY, Journal(tmp_path / "trials.jsonl"))
        monkeypatch.setattr(again, "train", None)
        assert again(NGL).fitness == first.fitness

    def test_cross_entropy_first_in_experiment_5(self, tmp_path):
        scale = replace(TINY, datasets=("digits", "digits_turned"))
        journal = Journal(tmp_path / "trials.jsonl")
        evaluate = ExperimentFitness(5, scale, journal)
        evaluate.prepare()
        rows = list(journal.results().values())
        assert [row.trial["dataset"] for row in rows] == ["digits", "digits_turned"]
        assert "log(y_pred)" in rows[0].trial["formula"]
        again = evaluate(Expression.parse(rows[0].trial["formula"]))
        # On its own data set the cross entropy does as well as itself.
        assert again.details["accuracies"]["digits"] == [rows[0].validation_accuracy]
        assert len(evaluate(NGL).fitness) == 2

    @pytest.mark.slow
    @needs_two_devices
    def test_two_devices(self, tmp_path):
        evaluate = ExperimentFitness(
            1,
            TINY,
            Journal(tmp_path / "trials.jsonl"),
            replicas=lambda batch: count_replicas("mirrored", batch),
        )
        assert evaluate(NGL).status == "ok"
        assert evaluate.blanks[0].replicas == 2

    def test_unknown_experiment(self, tmp_path):
        with pytest.raises(UserError, match="unknown experiment 6; choose from: 1, 2, 3, 4, 5"):
            ExperimentFitness(6, TINY, Journal(tmp_path / "trials.jsonl"))


SMALL = ["--model", "head", "--epochs", "1", "--train-images", "64", "--evaluation-images", "32"]
SMALL += ["--population", "4", "--generations", "2", "--compare-runs", "2"]


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
            "Digits, winner: ",
            "% against CE",
        ):
            assert part in out
        for name in ("convergence", "family", "losses", "winner"):
            assert imread(tmp_path / f"{name}.png").std() > 0.01
        for name in ("best.md", "best.json", "generations.csv", "comparison.csv"):
            assert (tmp_path / name).stat().st_size > 100
        journals = [(tmp_path / n).read_bytes() for n in ("search.jsonl", "trials.jsonl")]
        code, again, _ = script("search", *SMALL, "--out", tmp_path)
        assert code == 0
        assert again[again.index("The best") :] == out[out.index("The best") :]
        assert journals == [(tmp_path / n).read_bytes() for n in ("search.jsonl", "trials.jsonl")]
        loss = nglkeras.load_loss(tmp_path / "best.json")
        assert loss.formula in out

    @pytest.mark.slow
    def test_the_papers_search_on_two_sets(self, script, tmp_path):
        code, out, _ = script(
            "search",
            *SMALL,
            *["--experiment", "5", "--datasets", "digits", "digits_turned", "--generations", "1"],
            *["--population", "2", "--compare-runs", "1"],
            *["--distinct", "--without", "duplicates", "equals", "gradients", "rejection"],
            *["--draws", "fresh", "--bounds", "1e-4", "1e6", "--out", tmp_path],
        )
        assert code == 0
        assert "In the paper, experiment 5 found f5 = NGL." in out
        best = (tmp_path / "best.md").read_text()
        assert "Every candidate is trained. Every evaluation has a split" in best
        header = json.loads((tmp_path / "search.jsonl").read_text().splitlines()[0])["settings"]
        assert header["screening"]["bounds"] == [1e-4, 1e6]
        assert header["evaluate"]["improvement"] == "errors"
        assert "4 asked, 4 trained, saved none" in out
        assert "Digits, turned, winner: " in out

    def test_on_real_files_through_tfds(self, script, tmp_path, tfds_directory):
        code, out, _ = script(
            "search",
            *["--experiment", "2", "--scale", "reduced", "--model", "small_cnn"],
            *["--image-size", "28", "--epochs", "1", "--population", "2", "--generations", "1"],
            *["--train-images", "40", "--compare-runs", "1"],
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
            (["--bounds", "2", "1"], "bounds=(2.0, 1.0) are not two numbers"),
            (["--datasets", "cats"], "unknown data set 'cats'"),
            (["--model", "LeNet"], "unknown model 'LeNet'"),
            (["--generations", "0"], "0 is not a positive number"),
            (["--strategy", "all"], "unknown strategy 'all'"),
        ],
    )
    def test_mistakes_end_in_one_line_and_exit_code_2(self, script, tmp_path, arguments, message):
        code, _, err = script("search", *arguments, "--out", tmp_path)
        assert code == 2
        assert err.startswith("error: ")
        assert message in err
        assert len(err.splitlines()) == 1

    def test_nothing_that_could_be_trained(self, script, tmp_path):
        """An error that says why, and not a best loss that was rejected."""
        options = ["--population", "1", "--generations", "1", "--bounds", "5e4", "6e4"]
        code, _, err = script("search", *SMALL, *options, "--out", tmp_path)
        assert code == 2
        assert "error: no loss of this search has a fitness: " in err
        assert "discarded, such as: values" in err

    @pytest.mark.slow
    def test_a_search_is_printed_without_its_data(self, script, tmp_path, monkeypatch):
        from nglkeras.data import sources

        options = [*SMALL, "--generations", "1", "--compare-runs", "1", "--out", tmp_path]
        code, out, _ = script("search", *options)
        assert code == 0
        monkeypatch.setattr(sources, "prepare", lambda *_: pytest.fail("data were asked for"))
        code, again, _ = script("search", *options)
        assert code == 0
        assert again[again.index("The best") :] == out[out.index("The best") :]

    def test_another_search_in_the_same_folder(self, script, tmp_path):
        (tmp_path / "search.jsonl").write_text(json.dumps({"settings": {"seed": 5}}) + "\n")
        code, _, err = script("search", *SMALL, "--out", tmp_path)
        assert code == 2
        assert "holds a search with other settings" in err

    def test_ctrl_c_says_how_to_go_on(self, script, tmp_path, monkeypatch):
        def stop(*_, **__):
            raise KeyboardInterrupt

        monkeypatch.setattr(discovery.ExperimentFitness, "each", stop)
        code, _, err = script("search", *SMALL, "--out", tmp_path)
        assert code == 130
        assert "the same command goes on from here" in err


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
    asked = strategy.ask()
    # The last generation may have been interrupted.
    while asked and all(individual.id in records for individual in asked):
        for individual in asked:
            record = records[individual.id]
            assert individual.agrees_with(record.individual)
            strategy.tell(record.individual, record.evaluation)
        asked = strategy.ask()
    assert strategy.generation >= last
