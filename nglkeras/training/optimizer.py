"""Make the optimizer of a schedule."""

import keras
from keras.optimizers import schedules

from nglkeras.errors import UserError
from nglkeras.training.schedule import Decay, Schedule


def make_optimizer(
    schedule: Schedule, replicas: int = 1, decay: Decay | None = None
) -> keras.optimizers.Optimizer:
    """Make the optimizer of a schedule, not yet built.

    `replicas` devices share a batch; the learning rate changes only as plateaus and `decay` say.

    Raises:
        UserError: If Keras has no such optimizer.
    """
    rate = schedule.learning_rate
    if decay is not None:
        # The form that an optimizer's configuration holds.
        rate = schedules.serialize(learning_rate(rate, decay))
    elif isinstance(rate, dict) and schedule.accumulation > 1:
        rate = _OfBatches(schedules.deserialize(rate), schedule.accumulation)
        rate = schedules.serialize(rate)
    config = dict(schedule.optimizer_settings) | {"learning_rate": rate}
    # The settings may have their own, in batches.
    parts = schedule.accumulation * (config.pop("gradient_accumulation_steps", None) or 1)
    # Keras' own accumulation crashes under MirroredStrategy.
    mirrored = replicas > 1 and keras.backend.backend() == "tensorflow"
    if parts > 1 and not mirrored:
        config["gradient_accumulation_steps"] = parts
    try:
        optimizer = keras.optimizers.get({"class_name": schedule.optimizer, "config": config})
    except ValueError as error:
        raise UserError(f"Keras has no optimizer {schedule.optimizer!r}") from error
    if mirrored and any(map(config.get, ("clipnorm", "global_clipnorm", "clipvalue"))):
        optimizer = _clipping_the_sum(optimizer, replicas)
    return _accumulating(optimizer, parts) if parts > 1 and mirrored else optimizer


def averages(optimizer: keras.optimizers.Optimizer) -> bool:
    """Return whether averages take the place of the weights at the end of Keras' `fit`."""
    return getattr(optimizer, "inner_optimizer", optimizer).use_ema


def learning_rate(peak: float, decay: Decay) -> schedules.LearningRateSchedule:
    """Make the learning rate of each step; its peak is the warm-up's end, or else the start."""
    if decay.power is not None:
        return schedules.PolynomialDecay(peak, decay.steps, 0.0, decay.power)
    # Keras counts the cosine's steps from the end of the warm-up.
    rest = max(decay.steps - decay.warmup, 1)
    if not decay.warmup:
        return schedules.CosineDecay(peak, rest)
    return schedules.CosineDecay(0.0, rest, warmup_target=peak, warmup_steps=decay.warmup)


@keras.saving.register_keras_serializable("nglkeras")
class _OfBatches(schedules.LearningRateSchedule):
    """A schedule of batches that come in parts: Keras asks it with the number of the part."""

    def __init__(self, schedule: schedules.LearningRateSchedule, parts: int):
        self.schedule, self.parts = schedule, parts

    def __call__(self, step):
        return self.schedule(step // self.parts)

    def get_config(self):
        return {"schedule": schedules.serialize(self.schedule), "parts": self.parts}

    @classmethod
    def from_config(cls, config):
        return cls(schedules.deserialize(config["schedule"]), config["parts"])


def _clipping_the_sum(optimizer, replicas):
    """Make an optimizer on several devices clip the gradient of the whole batch.

    Keras clips that of each device and then adds them up: on R devices the limit would be R times
    what it says. Of a batch in parts each part is clipped, and not their mean.
    """
    import tensorflow as tf

    class Clipping(type(optimizer)):
        # Keras has no public place between the gradients and the clipping.
        def _clip_gradients(self, grads):
            total = tf.distribute.get_replica_context().all_reduce("SUM", grads)
            # The devices' gradients are added up afterwards.
            return [gradient / replicas for gradient in super()._clip_gradients(total)]

    return Clipping.from_config(optimizer.get_config())


def _accumulating(optimizer, parts):
    """Make an optimizer on several devices update once for `parts` gradients, by their mean.

    Keras' own accumulation exchanges the gradients of the devices inside a branch, which
    TensorFlow refuses. Here they are exchanged at every step, and each device then has its branch.
    """
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
            """Do nothing: `update_step` does it."""

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
