"""How many steps a compiled call makes."""

import keras

STEPS_PER_EXECUTION = 8


MAX_STEPS_PER_EXECUTION = 32


def steps_per_execution(steps: int | None, replicas: int) -> int:
    """Steps between two visits of Python: they cost a small network more than the steps.

    Args:
        steps: Of an epoch of a stream that goes on after it, which is not to be read further; the
            result divides it. `None` for streams that end with an epoch.
        replicas: Devices that share a batch.
    """
    # Keras 3.15 has one step at a time on PyTorch, and crashes with more under MirroredStrategy.
    if keras.backend.backend() == "torch" or replicas > 1:
        return 1
    if steps is None:
        return STEPS_PER_EXECUTION
    return max(n for n in range(1, MAX_STEPS_PER_EXECUTION + 1) if steps % n == 0)
