"""AdamW with linear warm-up and a cosine, step by step, and what has no weight decay."""

import keras

from nglkeras.experiments.imagenet.protocol import Recipe
from nglkeras.training.optimizer import accumulating


def learning_rate(recipe: Recipe, steps: int) -> keras.optimizers.schedules.LearningRateSchedule:
    """From 0 to the recipe's rate in the warm-up, then half a cosine to 0 at the end.

    Args:
        recipe: Of the training.
        steps: Of an epoch. Keras counts the parts of batches, and so must this.
    """
    warmup = round(recipe.warmup_epochs * steps)
    # Keras counts the cosine's steps from the end of the warm-up.
    rest = max(recipe.epochs * steps - warmup, 1)
    if not warmup:
        return keras.optimizers.schedules.CosineDecay(recipe.learning_rate, rest)
    return keras.optimizers.schedules.CosineDecay(
        0.0, rest, warmup_target=recipe.learning_rate, warmup_steps=warmup
    )


def make_optimizer(
    recipe: Recipe, steps: int, model: keras.Model, replicas: int = 1
) -> keras.optimizers.Optimizer:
    """The optimizer of a recipe, built for a model.

    Args:
        recipe: Of the training.
        steps: As `learning_rate` takes them.
        model: What it trains.
        replicas: Devices that share a batch.
    """
    parts = recipe.accumulation
    # Keras' own accumulation crashes under MirroredStrategy.
    mirrored = replicas > 1 and keras.backend.backend() == "tensorflow"
    optimizer = keras.optimizers.AdamW(
        learning_rate=learning_rate(recipe, steps),
        weight_decay=recipe.weight_decay,
        global_clipnorm=recipe.clip_norm,
        gradient_accumulation_steps=parts if parts > 1 and not mirrored else None,
    )
    if parts > 1 and mirrored:
        optimizer = accumulating(optimizer, parts)
    optimizer.exclude_from_weight_decay(var_list=undecayed(model))
    # One that is built inside `fit` makes TensorFlow trace the step twice.
    optimizer.build(model.trainable_variables)
    return optimizer


def undecayed(model: keras.Model) -> list:
    """The trainable variables without weight decay: biases, norms, tables of positions."""
    return [
        variable
        for variable in model.trainable_variables
        if len(variable.shape) < 2 or variable.name == "relative_position"
    ]
