"""The search with networks in it: fitness, experiments, the script, what it leaves behind."""

import json

import keras
import numpy as np
import pytest
from conftest import ROOT, needs_two_devices
from matplotlib.image import imread

import nglkeras
from nglkeras import UserError
from nglkeras.devices import count_replicas
from nglkeras.expression import Expression
from nglkeras.journal import Journal
from nglkeras.losses import FORMULAS
from nglkeras.search import (
    EXPERIMENTS,
    SCALES,
    Evaluation,
    ExperimentFitness,
    GeneticProgramming,
    SearchScale,
    TrainingFitness,
    search,
)
from nglkeras.search.experiments import trials

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
        assert evaluate.workbench.loss.traces <= 3

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

    def test_the_test_set_is_not_even_read(self, tmp_path, monkeypatch):
        from nglkeras import datasets

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
        from nglkeras import datasets

        parts = [datasets.load_arrays("digits", seed, test=True, test_seed=5) for seed in range(3)]
        images = [[image.tobytes() for image in part.test[0]] for part in parts]
        assert images[0] == images[1] == images[2]
        # A few scans occur twice in the data set itself.
        for part in parts:
            seen = [image.tobytes() for image in part.validation[0]]
            assert len(set(seen) & set(images[0])) <= 1
        assert sum(len(part[0]) for part in (parts[0].train, parts[0].validation)) == 1797 - 180

    def test_rows_are_taken_from_the_journal(self, tmp_path, monkeypatch):
        first = ExperimentFitness(2, TINY, Journal(tmp_path / "trials.jsonl"))(NGL)
        assert len(first.details["accuracies"]["digits"]) == 3
        again = ExperimentFitness(2, TINY, Journal(tmp_path / "trials.jsonl"))
        monkeypatch.setattr(again, "train", None)
        assert again(NGL).fitness == first.fitness

    def test_cross_entropy_first_in_experiment_5(self, tmp_path):
        from dataclasses import replace

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
    def test_the_papers_search_on_three_sets(self, script, tmp_path):
        code, out, _ = script(
            "search",
            *SMALL,
            *["--experiment", "5", "--datasets", "digits", "digits_turned", "--generations", "1"],
            *["--distinct", "--without", "duplicates", "equals", "gradients", "rejection"],
            *["--out", tmp_path],
        )
        assert code == 0
        assert "8 asked, 8 trained, saved none" in out
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

    def test_another_search_in_the_same_folder(self, script, tmp_path):
        (tmp_path / "search.jsonl").write_text(json.dumps({"settings": {"seed": 5}}) + "\n")
        code, _, err = script("search", *SMALL, "--out", tmp_path)
        assert code == 2
        assert "holds a search with other settings" in err

    def test_ctrl_c_says_how_to_go_on(self, script, tmp_path, monkeypatch):
        def stop(*_, **__):
            raise KeyboardInterrupt

        monkeypatch.setattr(nglkeras.search.ExperimentFitness, "each", stop)
        code, _, err = script("search", *SMALL, "--out", tmp_path)
        assert code == 130
        assert "the same command goes on from here" in err


def test_the_committed_searches_can_be_read():
    """Their journals are those of this version: the strategy makes the same individuals."""
    folders = sorted((ROOT / "results" / "search").glob("*/search.jsonl"))
    assert folders
    for path in folders:
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        settings = rows[0]["settings"]
        records = {row["id"]: row for row in rows[1:]}
        strategy = GeneticProgramming(
            settings["seed"],
            population_size=settings["population_size"],
            generations=max(row["generation"] for row in records.values()),
            distinct=settings.get("distinct", False),
        )
        while not strategy.is_done:
            for individual in strategy.ask():
                row = records[individual.id]
                assert str(individual.expression) == row["expression"]
                evaluation = Evaluation(row["status"], tuple(row["fitness"]))
                strategy.tell(individual, evaluation)
