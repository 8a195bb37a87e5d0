"""Pages of the gallery: one for each loss, made from the code and the committed rows."""

import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property

import keras
import numpy as np
from explorer import OURS
from matplotlib.figure import Figure

from nglkeras import losses
from nglkeras.expression import Expression
from nglkeras.losses.curves import gradient_at_uniform, size_at_uniform, value_and_gradient
from nglkeras.losses.registry import Row
from nglkeras.report.figures import styled
from nglkeras.report.loss_curves import draw_binary

# Rows that are no loss of their own: a penalty, and settings of a loss that has a page.
_NO_PAGE = ("CE + L2", "NGL (sigmoid)", "TaylorGLO (LossGA)")
_SECTION = re.compile(r"^(Scale|Constants|Args|Returns|Raises|Examples):$")


@dataclass(frozen=True)
class Entry:
    """A loss of the gallery.

    Attributes:
        row: Its row in the papers' tables.
    """

    row: Row

    @property
    def page(self) -> str:
        """Name of the page, without the ending."""
        return re.sub(r"[^a-z0-9]+", "-", self.row.name.lower()).strip("-")

    @property
    def kind(self) -> type[keras.losses.Loss]:
        """The class."""
        return OURS.get(self.row.name) or type(self.row.make())

    @property
    def source(self) -> str:
        """The file of the definition, from the project's folder."""
        return self.kind.function.__module__.replace(".", "/") + ".py"

    @cached_property
    def loss(self) -> keras.losses.Loss:
        """The loss with its default options."""
        return self.kind()

    @property
    def is_over_classes(self) -> bool:
        """Whether the value of a sample follows from its own labels and predictions."""
        return "class_reduction" in self.loss.get_config()

    @property
    def is_softmax(self) -> bool:
        """Whether it is defined on classes that exclude each other."""
        return self.row.activation == "softmax"

    @property
    def formula(self) -> Expression | None:
        """The term of a class, where it is one of the papers' formulas."""
        text = losses.FORMULAS.get(self.row.name)
        return Expression.parse(text) if text else None

    @cached_property
    def sections(self) -> dict[str, str]:
        """The paragraphs of the docstring by section; those before the first have the name ""."""
        found, name = {"": []}, ""
        for line in inspect.cleandoc(self.kind.function.text).splitlines():
            header = _SECTION.match(line)
            if header:
                name = header[1]
                found[name] = []
            else:
                found[name].append(line)
        return {name: inspect.cleandoc("\n".join(lines)) for name, lines in found.items()}

    @property
    def summary(self) -> str:
        """The first paragraph."""
        return " ".join(self.sections[""].split("\n\n")[0].split())

    @property
    def text(self) -> str:
        """The other paragraphs."""
        return "\n\n".join(self.sections[""].split("\n\n")[1:])

    def minimum(self, classes: int) -> tuple[float, float]:
        """Return the p of the true class where the loss is least, the others equal, and its value.

        Args:
            classes: Number of classes.
        """
        p = np.linspace(0.0005, 0.9995, 2_000, dtype="float32")
        value = np.array(_one_right(self.loss, p, classes))
        at = int(value.argmin())
        return (1.0 if at == len(p) - 1 else float(p[at])), float(value[at])

    def gradient(self, classes: int, class_reduction: str | None = None) -> float:
        """Return the size of the gradient at a uniform prediction, cross entropy's being 1.

        Args:
            classes: Number of classes.
            class_reduction: "mean" or "sum"; `None` for the default.
        """
        own = self.kind(class_reduction=class_reduction) if class_reduction else self.loss
        return size_at_uniform(own, classes) / size_at_uniform(losses.Crossentropy(), classes)

    @property
    def constants(self) -> list[str]:
        """The lines that describe the constants."""
        text = re.sub(r"\n\s{2,}", " ", self.sections["Constants"])
        return [re.sub(r"^(\w+):", r"`\1`:", line) for line in text.splitlines()]

    @property
    def described(self) -> str:
        """What the figure shows, for those who do not see it."""
        p, value = self.minimum(2)
        return f"Curves of {self.row.label}: least at p = {p:.2f} with two classes, {value:.4g}"


@cache
def entries() -> list[Entry]:
    """Return the losses of the gallery."""
    return [Entry(row) for row in losses.ROWS.values() if row.name not in _NO_PAGE]


def _one_right(loss, p, classes):
    """The loss of predictions p of the true class, the others equal."""
    rest = np.repeat(((1 - p) / (classes - 1))[:, None], classes - 1, axis=1)
    predictions = np.concatenate([p[:, None], rest], axis=1).astype("float32")
    labels = np.zeros_like(predictions)
    labels[:, 0] = 1
    return keras.ops.convert_to_numpy(loss.call(labels, predictions))


def _pull(loss, p, classes):
    """The gradient by the logit of the true class, relative to that at a uniform prediction."""
    rest = np.log((1 - p) / (classes - 1))[:, None].repeat(classes - 1, axis=1)
    logits = np.concatenate([np.log(p)[:, None], rest], axis=1).astype("float32")
    labels = np.zeros_like(logits)
    labels[:, 0] = 1

    def function(z):
        return loss.call(keras.ops.convert_to_tensor(labels), keras.ops.softmax(z))

    return value_and_gradient(function, logits)[1][:, 0] / gradient_at_uniform(loss, classes)[0]


@styled
def figure(entry: Entry) -> Figure:
    """Draw the binary curve, and what ten classes see, beside cross entropy."""
    drawn = Figure((10.0, 3.2), layout="constrained")
    if not entry.is_softmax:
        draw_binary(drawn.subplots(), entry.loss, "one output, label 1")
        return drawn
    left, middle, right = drawn.subplots(1, 3)
    draw_binary(left, entry.loss, "two classes")
    p = np.linspace(0.005, 0.995, 400, dtype="float32")
    value = _one_right(entry.loss, p, 10)
    middle.plot(p, value)
    low, high = np.quantile(value, [0.0, 0.97])
    margin = 0.05 * (high - low)
    middle.set(title="ten classes", xlabel="p of the true class", ylabel="loss")
    middle.set_ylim(low - margin, high + margin)
    reference = losses.Crossentropy()
    for name, loss in {entry.row.label: entry.loss, "cross entropy": reference}.items():
        color = "gray" if loss is reference else "tab:blue"
        right.plot(p, _pull(loss, p, 10), label=name, color=color)
    right.axhline(0, color="black", linewidth=0.6)
    right.set(title="pull on the true class", xlabel="p of the true class")
    right.set_ylabel("gradient, 1 at p = 0.1")
    right.set_ylim(-1.5, 3)
    right.legend()
    return drawn


def files(render: Callable[..., str]) -> Iterator[tuple[str, str | Figure]]:
    """Yield the name of each file of the gallery with its text or figure.

    Args:
        render: Maps the name of a template, and variables, to a page.
    """
    found = entries()
    yield "gallery/index.md", render("gallery.md.j2", entries=found)
    for entry in found:
        if entry.is_over_classes:
            yield f"gallery/{entry.page}.svg", figure(entry)
        yield f"gallery/{entry.page}.md", render("loss.md.j2", entry=entry)
