"""The registry makes a loss part of every table."""

from dataclasses import replace

import keras
import numpy as np
import pytest
from conftest import to_numpy

from nglkeras import UserError, losses
from nglkeras.experiments.classification import trial as classification
from nglkeras.experiments.classification.protocol import TABLE2_SCALES
from nglkeras.experiments.classification.training import loss_of
from nglkeras.experiments.glo import protocol as glo
from nglkeras.experiments.imagenet import protocol as imagenet
from nglkeras.experiments.segmentation import protocol as segmentation
from nglkeras.experiments.segmentation.recipes import TABLE4_SCALES
from nglkeras.losses import registry
from nglkeras.report.printed import read_numbers

INDICES = np.array([[1, 0]])
T, P = np.eye(3)[INDICES], np.array([[[0.2, 0.7, 0.1], [0.5, 0.3, 0.2]]])
FORMULA = "exp(1.5 - y_pred*y_true)"
SIGMOID = ("ASL (multi-label)", "CSE-Autoloss-B")
TABLES = ("table2", "table3", "table4", "glo")


def test_a_row_of_the_registry_alone_is_a_row_of_every_table(monkeypatch):
    mine = registry.Row("Mine", formula=FORMULA, tables=TABLES, color="tab:pink")
    monkeypatch.setitem(registry.ROWS, "Mine", mine)
    assert type(losses.get("mine")) is losses.FormulaLoss
    assert losses.get("SparseMine").get_config()["sparse"]
    assert (losses.label("Mine"), losses.color("Mine")) == ("Mine", "tab:pink")
    assert all(losses.rows_of(table)[-1] == "Mine" for table in TABLES)
    assert "Mine" not in losses.rows_of("figure2")
    table2 = classification.plan(TABLE2_SCALES["demo"], losses.rows_of("table2"))
    plans = (
        table2,
        imagenet.plan(imagenet.SCALES["demo"], classes=10),
        segmentation.plan(TABLE4_SCALES["demo"]),
        glo.plan(glo.SCALES["demo"]),
    )
    for trials in plans:
        (first, *_) = [trial for trial in trials if trial.loss == "Mine"]
        assert first.formula == FORMULA
        other = replace(first, formula="y_pred")
        assert other.key != first.key
    assert loss_of(next(t for t in table2 if t.loss == "Mine")).formula == FORMULA
    assert segmentation.make_loss("Mine").ignore_class is not None


def test_default_rows_are_those_printed():
    for table in ("table2", "table5", "table_b22"):
        names = [losses.row(name).name for name in read_numbers(table).index]
        assert losses.rows_of(table) == names
    assert losses.rows_of("table4") == list(read_numbers("table4").columns)
    assert set(losses.rows_of("table3")) <= set(read_numbers("table3").columns)
    assert losses.rows_of("glo") == [c for c in read_numbers("glo").columns if c != "source"]


@pytest.mark.parametrize("name", losses.ROWS)
def test_every_row_is_a_keras_loss(name):
    assert isinstance(losses.get(name), keras.losses.Loss)


def test_arguments_reach_the_loss():
    assert losses.get("NGL", alpha=1.5).alpha == 1.5
    assert losses.get("NGL (sigmoid)").scaling == "sigmoid"


@pytest.mark.parametrize(
    ("names", "row"),
    [
        (("f5 (NGL)", "ngl", "f5", "NGL", "F5(ngl)"), "NGL"),
        (("Poly-1", "poly1", "PolyLoss"), "Poly-1"),
        (("ASL", "asl(single-label)"), "ASL (single-label)"),
        (("TaylorGLO", "taylorglo (mnist)"), "TaylorGLO"),
        (("SparseLSR", "sparselsr"), "SparseLSR"),
    ],
)
def test_further_names(names, row):
    assert {losses.row(name).name for name in names} == {row}


OF_INDICES = [name for name in losses.ROWS if name not in SIGMOID]


@pytest.mark.parametrize("name", [*OF_INDICES, "f5 (NGL)"])
def test_forms_for_class_indices(name):
    dense = losses.get(name)
    assert dense.get_config().get("sparse", False) is False
    for loss in (
        losses.get(name, sparse=True, ignore_class=255),
        losses.get(f"Sparse {name}", ignore_class=255),
        losses.get(f"sparse{name.lower()}", ignore_class=255),
    ):
        assert loss.ignore_class == 255
        assert to_numpy(loss(INDICES, P)) == pytest.approx(to_numpy(dense(T, P)), rel=1e-5)
    assert getattr(loss, "scaling", None) == ("sigmoid" if name == "NGL (sigmoid)" else None)


@pytest.mark.parametrize("name", SIGMOID)
def test_losses_of_sigmoids_have_no_form_for_class_indices(name):
    with pytest.raises(UserError, match=r"has no loss for class indices; choose from: CE, SCE, "):
        losses.get(name, sparse=True)


def test_some_losses_are_of_sigmoids():
    found = {name for name, row in losses.ROWS.items() if row.activation == "sigmoid"}
    assert found == set(SIGMOID)


def test_only_f1_to_f3_are_reconstructed():
    guesses = {name for name, row in losses.ROWS.items() if row.reconstructed}
    assert guesses == {"f1", "f2", "f3"} == set(filter(losses.is_reconstructed, losses.ROWS))
    assert losses.F1.reconstructed
    assert all(guess.reconstructed for guess in (losses.f1, losses.f2, losses.f3))
    assert not losses.F4().reconstructed


def test_only_ce_l2_has_a_penalty():
    assert {name: row.l2 for name, row in losses.ROWS.items() if row.l2} == {"CE + L2": 1e-4}


def test_unknown_name_lists_the_valid_ones():
    with pytest.raises(UserError) as error:
        losses.get("NGL2")
    assert "'NGL2'" in str(error.value)
    assert all(name in str(error.value) for name in losses.ROWS)


@pytest.mark.parametrize(
    ("formula", "message"),
    [(None, "the row bad has neither a formula nor a loss"), ("foo(", "'foo\\(' is not a formula")],
)
def test_a_row_without_a_loss_is_refused(formula, message):
    with pytest.raises(UserError, match=message):
        registry.Row("bad", formula=formula)


def test_a_row_is_printed_alike_by_each_of_its_names():
    assert {losses.label(name) for name in ("NGL", "ngl", "f5", "f5 (NGL)")} == {"f5 (NGL)"}
    assert losses.color("f5") == losses.color("NGL") is not None
    assert losses.is_reconstructed("F1")
    assert losses.label("winner") == "winner"
    assert losses.color("winner") is None


def test_an_unknown_table():
    with pytest.raises(UserError, match=r"unknown table 'table9'.*table2"):
        losses.rows_of("table9")
