"""Keys, plans and seeds."""

from dataclasses import MISSING, fields, replace

import pytest

from nglkeras import UserError, losses
from nglkeras.data.augmentation import Augmentation
from nglkeras.data.catalog import Info
from nglkeras.experiments.classification import protocol
from nglkeras.experiments.classification.protocol import TABLE2_SCALES
from nglkeras.experiments.classification.trial import Trial, _trial, plan
from nglkeras.runs import trial
from nglkeras.seeds import derive_seed
from nglkeras.training.schedule import ON_ACCURACY, Plateau, Schedule

TRIAL = Trial(
    dataset="digits", model="small_cnn", loss="NGL", schedule=Schedule(2, 32), backend="tensorflow"
)
OTHER = {
    "dataset": "mnist",
    "model": "head",
    "loss": "CE",
    "schedule": Schedule(3, 32),
    "loss_settings": (("alpha", 2.0),),
    "l2": 1e-4,
    "weights": "imagenet",
    "weights_sha256": "0",
    "run": 1,
    "seed": 1,
    "image_size": 32,
    "upsampling": 8,
    "augmentation": Augmentation(),
    "train_images": 10,
    "evaluation_images": 10,
    "replicas": 2,
    "validation_images": 10,
    "monitored": "test",
    "precision": "mixed_bfloat16",
    "test": False,
    "formula": "y_pred",
    "compile_once": True,
    "splits": "random",
    "own_validation": True,
    "files_sha256": "0",
    "model_sha256": "0",
    "activation": "sigmoid",
    "backend": "jax",
}


class TestKey:
    def test_is_the_same_for_ever(self):
        # If this fails, rows of users no longer count: raise protocol.VERSION on purpose instead.
        assert TRIAL.key == "e0d3948ef3845dbe"

    def test_defaults_are_the_same_for_ever(self):
        # A field at its default is not in the key: a new default would make old rows lie.
        defaults = [
            (field.name, field.default)
            for cls in (Trial, Schedule, Plateau, Augmentation)
            for field in fields(cls)
            if field.default is not MISSING
        ]
        assert sorted(defaults, key=repr) == sorted(
            [
                ("loss_settings", ()),
                ("l2", 0.0),
                ("weights", None),
                ("weights_sha256", ""),
                ("run", 0),
                ("seed", 0),
                ("image_size", None),
                ("upsampling", 1),
                ("augmentation", None),
                ("train_images", None),
                ("evaluation_images", None),
                ("replicas", 1),
                ("test", True),
                ("formula", None),
                ("compile_once", False),
                ("validation_images", None),
                ("monitored", "validation"),
                ("precision", "float32"),
                ("splits", "official"),
                ("own_validation", False),
                ("files_sha256", ""),
                ("model_sha256", ""),
                ("activation", "softmax"),
                ("optimizer", "Adam"),
                ("optimizer_settings", (("beta_1", 0.9), ("beta_2", 0.999), ("epsilon", 1e-7))),
                ("learning_rate", 1e-3),
                ("steps_per_epoch", None),
                ("accumulation", 1),
                ("cosine", False),
                ("factor", 0.2),
                ("patience", 5),
                ("min_learning_rate", 1e-4),
                ("monitor", "val_loss"),
                ("stop_after", None),
                ("horizontal_flip", True),
                ("shift", 0.1),
                ("zoom", 0.2),
            ],
            key=repr,
        )

    @pytest.mark.parametrize("name", [field.name for field in fields(Trial)])
    def test_every_field_counts(self, name):
        assert replace(TRIAL, **{name: OTHER[name]}).key != TRIAL.key

    @pytest.mark.parametrize(
        "change",
        [
            {"batch_size": 64},
            {"learning_rate": 1e-2},
            {"optimizer": "SGD"},
            {"optimizer_settings": ()},
            {"plateau": None},
            {"plateau": Plateau(patience=1)},
            {"plateau": Plateau(monitor="val_accuracy")},
            {"plateau": Plateau(stop_after=5)},
            {"steps_per_epoch": 10},
            {"accumulation": 2},
        ],
    )
    def test_every_part_of_the_schedule_counts(self, change):
        assert replace(TRIAL, schedule=replace(TRIAL.schedule, **change)).key != TRIAL.key

    def test_version_of_the_protocol_counts(self, monkeypatch):
        before = TRIAL.key
        monkeypatch.setattr(trial, "VERSION", trial.VERSION + 1)
        assert TRIAL.key != before


class TestPlan:
    def test_small_trains_to_a_plateau(self):
        trials = plan(TABLE2_SCALES["small"], ["CE", "NGL"])
        assert len(trials) == 3 * 2 * 2 * 5
        assert {t.precision for t in trials} == {"mixed_bfloat16"}
        assert {t.schedule.epochs for t in trials} == {60}
        assert {t.schedule.plateau for t in trials} == {replace(ON_ACCURACY, stop_after=10)}
        # In memory: their compiled networks are shared.
        assert all(t.compile_once for t in trials)
        assert {
            (t.dataset, t.model): (t.image_size, t.upsampling, t.train_images) for t in trials
        } == {
            ("fashion_mnist", "small_cnn"): (28, 1, None),
            ("fashion_mnist", "ResNet50"): (32, 1, 5_120),
            ("cifar10", "small_cnn"): (32, 1, None),
            ("cifar10", "ResNet50"): (32, 1, 5_120),
            ("mnist", "small_cnn"): (28, 1, None),
            ("mnist", "ResNet50"): (32, 1, 5_120),
        }

    def test_small_with_networks_that_need_larger_images(self):
        scale = replace(TABLE2_SCALES["small"], models=("InceptionV3",), upsampling=3)
        trials = plan(scale, ["CE"])
        assert {(t.image_size, t.upsampling) for t in trials} == {(32, 3)}

    def test_other_scales_know_no_end_on_a_plateau(self):
        for name in ("demo", "reduced", "paper"):
            for planned in plan(TABLE2_SCALES[name], ["CE"]):
                plateau = planned.schedule.plateau
                assert planned.precision == "float32"
                assert plateau is None or plateau.stop_after is None

    @pytest.mark.parametrize(("name", "shared"), [("small", True), ("reduced", False)])
    def test_small_images_of_any_data_set_are_kept_in_memory(self, name, shared):
        # At the other scales the size of table B.2.1 decides: their rows keep their keys.
        trials = plan(replace(TABLE2_SCALES[name], datasets=("malaria",), image_size=32), ["CE"])
        assert {(t.compile_once, t.image_size) for t in trials} == {(shared, 32)}

    def test_progress_names_the_limit_on_epochs(self):
        assert TRIAL.progress(1) == "epoch 1/2"
        schedule = replace(TRIAL.schedule, plateau=Plateau(stop_after=5))
        assert replace(TRIAL, schedule=schedule).progress(2) == "epoch 2 of at most 2"
        schedule = replace(TRIAL.schedule, plateau=None)
        assert replace(TRIAL, schedule=schedule).progress(2) == "epoch 2/2"

    def test_unknown_precision(self):
        with pytest.raises(
            UserError, match="unknown precision 'half'; choose from: float32, mixed"
        ):
            plan(replace(TABLE2_SCALES["demo"], precision="half"), ["CE"])

    def test_demonstration(self):
        trials = plan(TABLE2_SCALES["demo"], ["CE", "NGL"])
        assert [(t.run, t.loss) for t in trials] == [
            (0, "CE"),
            (0, "NGL"),
            (1, "CE"),
            (1, "NGL"),
            (2, "CE"),
            (2, "NGL"),
        ]
        assert {(t.dataset, t.model) for t in trials} == {("digits", "small_cnn")}
        assert len({t.key for t in trials}) == 6

    def test_paper_scale_is_630_networks_as_in_table_b21(self):
        nine = ["CE", "SCE", "Focal", "CE + L2", "f1", "f2", "f3", "f4", "NGL"]
        trials = plan(TABLE2_SCALES["paper"], nine)
        assert len(trials) == len({t.key for t in trials}) == 630
        cifar = next(t for t in trials if t.dataset == "cifar10")
        assert (cifar.image_size, cifar.upsampling, cifar.schedule.epochs) == (32, 8, 200)
        assert all(t.train_images is None and t.test and t.weights is None for t in trials)

    def test_losses_bring_their_settings(self):
        scale = replace(TABLE2_SCALES["paper"], datasets=("cifar100", "cifar10"), runs=1)
        trials = {(t.dataset, t.loss): t for t in plan(scale, ["SCE", "CE + L2"])}
        assert dict(trials["cifar100", "SCE"].loss_settings) == {"alpha": 6.0, "beta": 0.1}
        assert trials["cifar10", "SCE"].loss_settings == ()
        assert trials["cifar10", "CE + L2"].l2 == 1e-4

    def test_scale_limits(self):
        scale = replace(TABLE2_SCALES["reduced"], epochs=2, image_size=60)
        trials = {t.dataset: t for t in plan(scale, ["CE"])}
        assert trials["fashion_mnist"].image_size == 60
        assert (trials["cifar10"].image_size, trials["cifar10"].upsampling) == (32, 3)
        assert trials["cifar10"].schedule.epochs == 2
        assert trials["cifar10"].schedule.batch_size == 128

    def test_exact_sizes_are_not_limited(self):
        scale = replace(
            TABLE2_SCALES["reduced"],
            datasets=("malaria", "cifar10", "fashion_mnist"),
            image_sizes=(("malaria", 224), ("cifar10", 75)),
            upsamplings=(("fashion_mnist", 8),),
        )
        trials = {t.dataset: t for t in plan(scale, ["CE"])}
        sizes = {name: (trial.image_size, trial.upsampling) for name, trial in trials.items()}
        assert sizes == {"malaria": (224, 1), "cifar10": (75, 3), "fashion_mnist": (75, 8)}

    def test_small_models_are_not_upsampled(self):
        scale = replace(TABLE2_SCALES["reduced"], models=("small_cnn",), datasets=("cifar10",))
        assert plan(scale, ["CE"])[0].upsampling == 1

    def test_weights_count_by_their_content_wherever_they_lie(self, tmp_path):
        keys = []
        for name, content in (("a", b"1"), ("b", b"1"), ("c", b"2")):
            (tmp_path / name).write_bytes(content)
            keys.append(plan(TABLE2_SCALES["demo"], ["CE"], weights=str(tmp_path / name))[0].key)
        assert keys[0] == keys[1] != keys[2]

    def test_weights_for_each_run(self):
        trials = plan(TABLE2_SCALES["demo"], ["CE"], weights=["a", "b", "c"])
        assert [trial.weights for trial in trials] == ["a", "b", "c"]

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"datasets": ("cifar11",)}, "unknown data set 'cifar11'; choose from: digits"),
            ({"models": ("ResNet51",)}, "unknown model 'ResNet51'; choose from: small_cnn"),
        ],
    )
    def test_unknown_names(self, change, message):
        with pytest.raises(UserError, match=message):
            plan(replace(TABLE2_SCALES["demo"], **change), ["CE"])

    def test_unknown_loss(self):
        with pytest.raises(UserError, match="unknown loss 'NLG'; choose from: CE, SCE"):
            plan(TABLE2_SCALES["demo"], ["NLG"])


def test_trials_that_differ_in_loss_rate_and_run_only_are_of_one_kind():
    (first, *_) = plan(TABLE2_SCALES["demo"], ["CE", "NGL"])
    other = replace(first, loss="NGL", run=2)
    faster = replace(other, schedule=replace(other.schedule, learning_rate=0.5))
    assert first.kind == other.kind == faster.kind
    longer = replace(first, schedule=replace(first.schedule, epochs=99))
    assert longer.kind != first.kind


class TestSeeds:
    def test_golden(self):
        assert derive_seed(0, "split") == derive_seed(0, "split", 0)
        assert derive_seed(0, "split", 3) == 1650893913

    def test_apart(self):
        seeds = {
            derive_seed(seed, what, index)
            for seed in range(5)
            for what in ("split", "model", "shuffle")
            for index in range(5)
        }
        assert len(seeds) == 75
        assert all(0 <= seed < 2**31 for seed in seeds)


def test_a_reconstruction_counts_by_its_formula(monkeypatch):
    """Whoever corrects it in one line has the trial run anew; no other trial is concerned."""
    from nglkeras import losses
    from nglkeras.experiments.classification.trial import plan

    scale = protocol.TABLE2_SCALES["demo"]
    before = {trial.loss: trial.key for trial in plan(scale, ["CE", "f1", "f4"])}
    corrected = replace(losses.ROWS["f1"], formula="y_true/y_pred")
    monkeypatch.setitem(losses.ROWS, "f1", corrected)
    after = {trial.loss: trial.key for trial in plan(scale, ["CE", "f1", "f4"])}
    assert before["f1"] != after["f1"]
    assert (before["CE"], before["f4"]) == (after["CE"], after["f4"])


def test_a_folder_of_large_images_is_not_read_into_memory():
    info = Info("Folder", 2, 1_700, (None, None, 3), True, "none", "")
    scale = replace(TABLE2_SCALES["paper"], datasets=("folder",))
    for size, fits in ((64, True), (1024, False)):
        large = replace(scale, image_sizes=(("folder", size),))
        made = _trial(large, "folder", info, {"model": "small_cnn"}, losses.row("CE"))
        assert (made.image_size, made.compile_once) == (size, fits)
