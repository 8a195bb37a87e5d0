"""Train on TensorFlow by epochs that XLA compiles, where steps are mostly overhead.

The steps of an epoch are a loop in one compiled function, over batches that lie in memory. On two
CPU cores 200 steps of a 64-32-10 network with batches of 32 took 0.07 to 0.14 of the time that they
take in Keras' `fit`, and 200 steps of one with two hidden layers of 512 units 0.36. Convolutions
lose their threads in such a loop: two of them on 8 x 8 images took 2.9 times as long.

XLA rounds otherwise than TensorFlow's own kernels, and its dropout draws other numbers.
"""

from collections.abc import Iterable, Sequence
from functools import partial
from weakref import WeakKeyDictionary

import keras
import numpy as np
import tensorflow as tf
from keras import layers

# Layers without convolutions and without steps in time.
LAYERS = (
    *(layers.InputLayer, layers.Dense, layers.Dropout, layers.BatchNormalization),
    *(layers.LayerNormalization, layers.Activation, layers.ReLU, layers.LeakyReLU, layers.PReLU),
    *(layers.ELU, layers.Softmax, layers.Flatten, layers.Reshape, layers.Rescaling),
    *(layers.Normalization, layers.Add, layers.Multiply, layers.Concatenate),
)
# With two hidden layers of 2048 units, 4 million parameters, it took 0.81 of the time.
MAX_PARAMETERS = 500_000
# To compile takes 0.7 s of CPU time more than for `fit`: what ten trainings of 100 steps save.
MIN_STEPS = 100
# Bytes of the batches of a call, and of those of a training that are kept.
CALL, KEPT = 2**24, 2**26


def is_faster(network: keras.Model, steps: int) -> bool:
    """Return whether trainings of this many steps are worth compiling, by a rule.

    The rule does not look at the machine, so that results do not depend on it.
    """
    is_plain = isinstance(network, keras.Sequential | keras.src.models.functional.Functional)
    is_known = all(type(layer) in LAYERS for layer in network.layers)
    return is_plain and is_known and network.count_params() <= MAX_PARAMETERS and steps >= MIN_STEPS


class CompiledEpochs:
    """The training and the predictions of a compiled model, several batches in each call.

    Args:
        model: The model, whose optimizer is built, with its network in `network`.
    """

    def __init__(self, model: keras.Model):
        self.model = model
        self._train = tf.function(self._trained, jit_compile=True)
        self._predict = tf.function(self._predicted, jit_compile=True)
        # Batches of small streams.
        self._kept = WeakKeyDictionary()

    def fit(
        self,
        data: tf.data.Dataset,
        *,
        epochs: int,
        steps_per_epoch: int,
        callbacks: Sequence[keras.callbacks.Callback],
    ) -> None:
        """Do as Keras' `fit`, except that callbacks get no logs during an epoch."""
        model = self.model
        settings = {"epochs": epochs, "steps": steps_per_epoch}
        callbacks = keras.callbacks.CallbackList(list(callbacks), model=model, **settings)
        model.stop_training = False
        callbacks.on_train_begin()
        calls = iter(self._calls(data, steps_per_epoch))
        for epoch in range(epochs):
            model.reset_metrics()
            callbacks.on_epoch_begin(epoch)
            done = 0
            while done < steps_per_epoch and not model.stop_training:
                x, y = next(calls)
                logs = self._train(x, y)
                done += len(y)
                callbacks.on_train_batch_end(done - 1)
            callbacks.on_epoch_end(epoch, {name: float(value) for name, value in logs.items()})
            if model.stop_training:
                break
        model.optimizer.finalize_variable_values(model.trainable_variables)
        callbacks.on_train_end()

    def outputs(self, data: tf.data.Dataset, batches: Sequence[tuple]) -> np.ndarray:
        """Return the network's outputs on a stream whose batches these are."""
        if data not in self._kept:
            inputs = [batch[0] for batch in batches]
            self._kept[data] = keras.tree.map_structure(lambda *one: tf.stack(one), *inputs)
        return self._predict(self._kept[data]).numpy()

    def _trained(self, x, y):
        count = len(y)

        def step(i):
            self.model.train_step(keras.tree.map_structure(lambda array: array[i], (x, y)))
            return (i + 1,)

        tf.while_loop(lambda i: i < count, step, (tf.constant(0),))
        return self.model.get_metrics_result()

    def _predicted(self, x):
        return keras.ops.map(partial(self.model.network, training=False), x)

    def _calls(self, data, steps) -> Iterable[tuple]:
        """Return a stream with several batches in each element; an epoch ends with an element."""
        if data in self._kept:
            return self._kept[data]
        specs = keras.tree.flatten(data.element_spec)
        size = sum(spec.shape.num_elements() * spec.dtype.size for spec in specs)
        most = max(1, min(steps, CALL // size))
        together = max(n for n in range(1, most + 1) if steps % n == 0)
        calls = data.batch(together, drop_remainder=True)
        if int(data.cardinality()) * size <= KEPT:
            calls = self._kept[data] = list(calls)
        return calls
