"""The five experiments of paper A."""

from dataclasses import replace

import keras
import numpy as np
import pytest
from conftest import needs_two_devices

from nglkeras import UserError
from nglkeras.experiments import draws
from nglkeras.experiments.discovery.experiments import (
    ExperimentFitness,
    trials,
    wins_and_improvement,
)
from nglkeras.experiments.discovery.protocol import EXPERIMENTS, SCALES, SearchScale
from nglkeras.experiments.glo import protocol
from nglkeras.expression import Expression
from nglkeras.losses import FORMULAS
from nglkeras.runs.journal import Journal
from nglkeras.search import (
    GeneticProgramming,
    search,
)
from nglkeras.search.known import cross_entropy
from nglkeras.search.screening import CHECKS
from nglkeras.training.devices import count_replicas

NGL = Expression.parse(FORMULAS["NGL"])


TINY = SearchScale(
    name="tiny",
    note="for tests",
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


class TestFitness:
    def test_experiment_5_compares_as_the_paper_says(self):
        references = {"a": 0.5, "b": 0.8, "c": 0.4}

        def fitness(a, b, c):
            return wins_and_improvement({"a": a, "b": b, "c": c}, references)

        # Of the errors 0.5, 0.2 and 0.6.
        assert fitness(0.55, 0.8, 0.3) == (1.0, pytest.approx(10.0))
        assert fitness(0.55, 0.84, 0.3) == (2.0, pytest.approx((10.0 + 20.0) / 2))
        assert fitness(0.45, 0.78, 0.34) == (0.0, pytest.approx(-10.0))
        # An equal error is no win.
        assert fitness(0.5, 0.8, 0.4) == (0.0, 0.0)
        assert fitness(0.5000001, 0.8, 0.4)[0] == 0.0
        never, barely = fitness(0.499, 0.799, 0.399), fitness(0.501, 0.1, 0.1)
        assert barely > never
        assert fitness(0.51, 0.81, 0.1) > fitness(0.9, 0.8, 0.4)
        assert fitness(0.6, 0.1, 0.1) > fitness(0.55, 0.79, 0.39)
        assert never > fitness(0.4, 0.7, 0.3)

    def test_improvements_are_those_of_the_error(self):
        """Half of the error on one set, an eighth more of it on the other."""
        references = {"easy": 0.9, "hard": 0.2}
        found = wins_and_improvement({"easy": 0.95, "hard": 0.1}, references)
        assert found == (1.0, pytest.approx(50.0))

    @pytest.mark.parametrize(
        ("accuracy", "fitness"), [(1.0, (0.0, 0.0)), (0.9, (0.0, pytest.approx(-10.0)))]
    )
    def test_a_cross_entropy_without_an_error(self, accuracy, fitness):
        assert wins_and_improvement({"a": accuracy}, {"a": 1.0}) == fitness

    def test_cross_entropy_is_keras_s(self):

        t, p = np.eye(4)[[0, 1, 3]], np.random.default_rng(0).dirichlet(np.ones(4), 3)
        ours = cross_entropy(4)(t, p).mean()
        assert ours == pytest.approx(float(keras.losses.CategoricalCrossentropy()(t, p)), rel=1e-5)


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
        assert (SCALES["paper"].distinct, SCALES["paper"].parsimony) == (False, False)
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
        from nglkeras.experiments.earlier import CHANGES, Earlier

        scale = replace(TINY, plateau=True)
        journal = Journal(tmp_path / "trials.jsonl")
        before = ExperimentFitness(5, scale, journal)
        earlier = [change for change in CHANGES if change.name == "monitor"]
        before.begun = Earlier(tuple(earlier))
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
        assert "validation loss" in notes

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


def test_a_folder_is_no_data_set_of_a_search():
    scale = replace(SCALES["demo"], datasets=("folder",))
    with pytest.raises(UserError, match="unknown data set 'folder'; choose from: cifar10"):
        trials(EXPERIMENTS[1], scale, "y_pred")
