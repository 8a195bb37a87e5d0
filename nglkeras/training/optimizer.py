"""The optimizer of a schedule."""

import keras

from nglkeras.training.schedule import Schedule


def make_optimizer(schedule: Schedule, replicas: int = 1) -> keras.optimizers.Optimizer:
    """The optimizer of a schedule, for so many devices."""
    config = dict(schedule.optimizer_settings) | {"learning_rate": schedule.learning_rate}
    parts = schedule.accumulation
    # Keras' own accumulation crashes under MirroredStrategy.
    mirrored = replicas > 1 and keras.backend.backend() == "tensorflow"
    if parts > 1 and not mirrored:
        config["gradient_accumulation_steps"] = parts
    optimizer = keras.optimizers.get({"class_name": schedule.optimizer, "config": config})
    return accumulating(optimizer, parts) if parts > 1 and mirrored else optimizer


def accumulating(
    optimizer: "keras.optimizers.Optimizer", parts: int
) -> "keras.optimizers.Optimizer":
    """The optimizer, updating once for so many gradients, by their mean, on several devices.

    Keras' own accumulation exchanges the gradients of the devices inside a branch, which
    TensorFlow refuses. Here they are exchanged each time, and each device then has its branch.
    """
    import keras
    import tensorflow as tf

    class Accumulating(type(optimizer)):
        @property
        def iterations(self):
            return keras.ops.floor_divide(self._iterations, parts)

        def build(self, variables):
            if not self.built:
                super().build(variables)
                self._sums = self.add_optimizer_variables(variables, "sum")

        def _apply_weight_decay(self, variables):
            """Left to the updates."""

        def update_step(self, gradient, variable, learning_rate):
            held = self._sums[self._get_variable_index(variable)]
            total = held + tf.cast(gradient, held.dtype)
            step = super().update_step

            def update():
                if self.weight_decay is not None and self._use_weight_decay(variable):
                    rate = tf.cast(learning_rate * self.weight_decay, variable.dtype)
                    self.assign_sub(variable, variable * rate)
                step(total / parts, variable, learning_rate)
                self.assign(held, tf.zeros_like(total))

            is_last = (self._iterations + 1) % parts == 0
            tf.cond(is_last, update, lambda: self.assign(held, total))

    return Accumulating.from_config(optimizer.get_config())
