"""The benchmark of a search's candidate, on the backends that it measures."""

import keras
import pandas as pd
import pytest

BACKEND = keras.backend.backend()


@pytest.mark.slow
@pytest.mark.skipif(BACKEND == "torch", reason="it does not measure PyTorch")
def test_measures_whole_trainings_and_their_steps(script, tmp_path, monkeypatch):
    from benchmark import search

    monkeypatch.setitem(search.SETTINGS, "small_cnn", search.Setting("head", 8, 8, 4, 16))
    dense = search.Setting(search.DENSE, 8, 8, 100, 16, epochs=5)
    monkeypatch.setitem(search.SETTINGS, "digits", dense)
    arguments = ["--models", "small_cnn", "digits", "--rounds", 1, "--out", tmp_path]
    assert script("benchmark", "search", *arguments)[0] == 0

    name = "search" if BACKEND == "tensorflow" else f"search_{BACKEND}"
    table = pd.read_csv(tmp_path / f"{name}.csv")
    assert (table["ratio"] > 0).all()
    assert {"date", "cpu", "cores", "keras", "python", BACKEND} <= set(table)
    assert (tmp_path / f"{name}.png").stat().st_size > 10_000
    head, digits = (
        set(table[table["case"] == f"{case}, 8 x 8, batch 8: a candidate of {steps} steps"]["name"])
        for case, steps in (("head", 4), ("64-32-10", 100))
    )
    if BACKEND == "jax":
        assert head == digits == {"on the workbench", "one program"}
    else:
        assert head == {"built and compiled anew", "on the workbench", "bare steps"}
        assert digits == head | {"compiled epochs"}


@pytest.mark.skipif(BACKEND != "torch", reason="it measures this backend")
def test_a_backend_that_is_not_measured(mistake):
    message = "search on torch; set KERAS_BACKEND to one of: tensorflow, jax"
    assert message in mistake("benchmark", "search")
