"""What every loss has in common: one contract for all losses, heads and options, against NumPy.

The losses are found in the public list, so that a new one is tested as soon as it is exported, and
fails until `reference.DEFINITIONS` has its definition. `combinations` says which combinations of
options are tried. Compiling takes long, so it is tried with one of them for each loss and head.
"""

import keras
import numpy as np
import pytest
from losses import reference
from losses.combinations import (
    BACKEND,
    CASES,
    LOSSES,
    PIXELS,
    Combination,
    any_row,
    close,
    forms_of,
    rows_of,
)

every_case = pytest.mark.parametrize(
    ("cls", "form"), CASES, ids=[f"{cls.__name__}-{form}" for cls, form in CASES]
)


def test_every_definition_is_of_a_public_loss():
    assert reference.DEFINITIONS.keys() <= {cls.__name__ for cls in LOSSES}


@every_case
def test_equals_the_reference(cls, form, record_property):
    rows = rows_of(cls, form)
    check_all({str(row): Combination(cls, form, row).check for row in rows})
    record_property("combinations", len(rows))


def check_all(checks):
    """Run checks, and raise `AssertionError` with the first failures."""
    failures = []
    for name, check in checks.items():
        try:
            check()
        except Exception as error:
            failures.append(f"{name}\n{type(error).__name__}: {error}")
    assert not failures, f"{len(failures)} of {len(checks)}:\n" + "\n".join(failures[:3])


WAYS = {
    "tensorflow": ["run_eagerly", "jit_compile", "two devices"],
    "jax": ["run_eagerly", "jit_compile"],
    "torch": ["run_eagerly"],
}
FEATURES = 4


class Output:
    """An output of a model, with a loss of its own and one combination of options."""

    def __init__(self, cls, form, way):
        self.name = f"{cls.__name__}_{form}"
        # What two devices have added up Keras adds up and halves.
        reductions = ["sum_over_batch_size", "mean_with_sample_weight", "sum"]
        row = any_row(
            cls,
            form,
            way,
            call=["class"],
            dtype=["float32"],
            weights=[None, "samples", "pixels"],
            reduction=reductions[:2] if way == "two devices" else reductions,
        )
        # Both halves of the batch have the same labels and weights, so that devices agree.
        self.combination = Combination(cls, form, row, repeats=2)

    def connect(self, inputs):
        """Return the layers from the inputs to the output."""
        c = self.combination
        x = keras.layers.Dense(c.shape[-1], use_bias=False, name=f"of_{self.name}")(inputs)
        if not c.options["from_logits"]:
            x = keras.layers.Activation(c.options["head"])(x)
        return keras.layers.Permute((2, 1))(x) if c.row["axis"] == 1 else x

    @property
    def sample_weight(self):
        c = self.combination
        if c.weights is None:
            return np.ones(len(c.t) if c.is_dice else c.t.shape[:2])
        return c.weights

    def check(self, inputs, before, after, value):
        """Compare loss and gradient of a step with plain SGD at the learning rate 1."""
        expected, slopes, size = self.combination.expected(inputs @ before, from_logits=True)
        slopes = np.einsum("bpf,bpc->fc", inputs, slopes)
        close(value, before - after, expected, slopes, size, 1e-4)


@pytest.mark.parametrize("way", WAYS[BACKEND])
def test_in_fit(way, request, tmp_path, record_property):
    cases = CASES
    if way == "two devices":
        # The step is traced for each device, so each loss has one of its forms.
        forms = [forms_of(cls) for cls in LOSSES]
        cases = [(cls, f[i % len(f)]) for i, (cls, f) in enumerate(zip(LOSSES, forms, strict=True))]
    outputs = [Output(cls, form, way) for cls, form in cases]
    inputs = np.random.default_rng(0).normal(size=(8, PIXELS, FEATURES)).astype("float32")

    def build():
        keras.utils.set_random_seed(0)
        start = keras.Input((PIXELS, FEATURES))
        model = keras.Model(start, {output.name: output.connect(start) for output in outputs})
        model.compile(
            keras.optimizers.SGD(1.0),
            {output.name: output.combination.loss() for output in outputs},
            run_eagerly=way == "run_eagerly",
            jit_compile=way == "jit_compile",
        )
        # Otherwise the step would be traced twice.
        model.optimizer.build(model.trainable_variables)
        return model

    if way == "two devices":
        with request.getfixturevalue("mirrored").scope():
            model = build()
    else:
        model = build()
    if way == "run_eagerly":
        model.save(tmp_path / "model.keras")
        model = keras.models.load_model(tmp_path / "model.keras")
    kernels = [model.get_layer(f"of_{output.name}").kernel for output in outputs]
    before = [keras.ops.convert_to_numpy(kernel).astype("float64") for kernel in kernels]
    history = model.fit(
        inputs,
        {output.name: output.combination.y_true for output in outputs},
        sample_weight={output.name: output.sample_weight for output in outputs},
        batch_size=8,
        shuffle=False,
        verbose=0,
    ).history
    checks = {}
    for output, kernel, old in zip(outputs, kernels, before, strict=True):
        new, value = keras.ops.convert_to_numpy(kernel), history[f"{output.name}_loss"][0]
        checks[f"{output.name} {output.combination.row}"] = (
            lambda output=output, old=old, new=new, value=value: output.check(
                inputs.astype("float64"), old, new, value
            )
        )
    check_all(checks)
    record_property("combinations", len(outputs))
