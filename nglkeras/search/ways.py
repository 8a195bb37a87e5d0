"""Ways in which the networks of a search train: by `fit`, as one program, or side by side.

`check_together` checks what is asked for; `one_program` decides where that is left open.
"""

import keras

from nglkeras import training
from nglkeras.errors import UserError
from nglkeras.numbers import whole_number


def check_together(
    one_program: bool | None, together: object, *, replicas: int, callbacks: bool
) -> int | str:
    """Return how many networks train at once, or "auto".

    Args:
        one_program: Whether trainings are compiled as a whole; `None` leaves it open.
        together: A number of networks, or "auto".
        replicas: Devices that share each batch.
        callbacks: Whether there are callbacks.

    Raises:
        UserError: If that is no number, or what is asked for cannot be had.
    """
    backend = keras.backend.backend()
    why = "callbacks" if callbacks else f"{replicas} replicas" if replicas > 1 else ""
    if one_program and (why or backend == "torch"):
        cause = f"with {why}" if why else f"on {backend}"
        raise UserError(f"one_program=True: {cause} Keras' fit trains; leave one out")
    if together != "auto":
        together = whole_number("together", together)
    if together == 1:
        return 1
    if backend != "jax":
        raise UserError(f"together={together!r} trains one at a time on {backend}; it needs JAX")
    if why:
        raise UserError(f"together={together!r} trains one at a time with {why}: leave one out")
    if one_program is False:
        raise UserError(
            f"one_program=False: together={together!r} trains in one program; leave one out"
        )
    return together


def one_program(
    asked: bool | None,
    together: int | str,
    model: keras.Model,
    steps: int,
    *,
    replicas: int,
    callbacks: bool,
) -> bool | str:
    """Return what a `CompiledNetwork` is told: `True`, `False` or "auto".

    Args:
        asked: See `check_together`.
        together: What `check_together` returns.
        model: The network.
        steps: Steps of a training.
        replicas: See `check_together`.
        callbacks: See `check_together`.
    """
    if asked is not None:
        return asked
    if keras.backend.backend() != "tensorflow":
        return together not in (1, "auto") or "auto"
    # It changes results by rounding: by a rule, and not what the machine says.
    is_possible = not callbacks and replicas == 1
    return is_possible and training.compiled_epochs.is_faster(model, steps)
