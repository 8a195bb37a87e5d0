"""The losses that have kernels, each as a function from label and probability to value and slope.

Polynomials replace sines and exponentials, because probabilities and labels lie in [0, 1]; they are
Chebyshev interpolations of the formulas, computed in float64 and accurate to 1e-6. They are invalid
outside [0, 1].
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial

import keras
import numpy as np
from keras import ops
from numpy.polynomial import Chebyshev, Polynomial

DEGREE = 6


@dataclass(frozen=True)
class Term:
    """The loss of one class, as functions of its label and probability.

    Attributes:
        value_and_slope: Computes the loss and its derivative by the probability, up to a constant
            that the gradient of the softmax cancels; by arithmetic alone, for a compiler.
        direct: Computes the same in fewer operations, which are executed one by one.
        label_slope: Computes the derivative by the label, in plain operations: it is rarely needed.
    """

    value_and_slope: Callable[[keras.KerasTensor, keras.KerasTensor], tuple]
    direct: Callable[[keras.KerasTensor, keras.KerasTensor], tuple]
    label_slope: Callable[[keras.KerasTensor, keras.KerasTensor], keras.KerasTensor]


@cache
def ngl_term(alpha: float) -> Term:
    """Return the term of `ngl` for this α."""
    scale = math.exp(alpha)
    # h = 1 - exp(-u/2) = u q(u) for u = p(1 + t) in [0, 2]; then exp(-u) = (1 - h)². Half the range
    # needs a smaller degree, and without the constant term small u lose no digits.
    q = _fit(lambda u: -np.expm1(-u / 2) / u, high=2.0)
    # cos(cos(sin p)) is even in p, and its derivative is odd.
    c = _fit(lambda s: np.cos(np.cos(np.sin(np.sqrt(s)))))
    slope_of_c = _fit(_ngl_cosine_slope)

    def term(t, p):
        u = p * (1.0 + t)
        half = u * _polynomial(q, u)
        squared = p * p
        value = scale * ops.square(1.0 - half) - _polynomial(c, squared)
        # The constant -exp(α), common to all classes, is left out.
        slope = scale * ((1.0 + t) * (half * (2.0 - half)) - t) - p * _polynomial(
            slope_of_c, squared
        )
        return value, slope

    minus_slope_of_c = tuple(-coefficient for coefficient in slope_of_c)

    def direct(t, p):
        u = -1.0 - t
        exponential = p * u
        exponential += alpha
        exponential = ops.exp(exponential)
        u *= exponential
        squared = p * p
        slope = _by_operations(minus_slope_of_c, squared)
        slope *= p
        slope += u
        exponential -= _by_operations(c, squared)
        return exponential, slope

    return Term(term, direct, lambda t, p: -p * ops.exp(alpha - p * (1.0 + t)))


def _ngl_cosine_slope(squared):
    p = np.sqrt(squared)
    return np.sin(np.cos(np.sin(p))) * np.sin(np.sin(p)) * np.cos(p) / p


@cache
def f4_term(eta: float) -> Term:
    """Return the term of `f4` for this η."""
    inner = _fit(lambda p: np.sin(p - eta))
    inner_slope = _fit(lambda p: np.cos(p - eta))
    values = np.sin(np.linspace(0.0, 1.0, 1001) - eta)
    low, high = float(values.min()), float(values.max()) + 1.0
    sine, cosine = (_fit(f, low, high, DEGREE + 1) for f in (np.sin, np.cos))

    def term(t, p, evaluate=_polynomial):
        x = evaluate(inner, p) + t * t
        return evaluate(sine, x), evaluate(cosine, x) * evaluate(inner_slope, p)

    return Term(
        term,
        partial(term, evaluate=_by_operations),
        lambda t, p: 2.0 * t * ops.cos(ops.sin(p - eta) + t * t),
    )


def _fit(function, low=0.0, high=1.0, degree=DEGREE):
    """Return the coefficients of a Chebyshev interpolation, lowest power first."""
    series = Chebyshev.interpolate(function, degree, domain=[low, high])
    return tuple(map(float, series.convert(kind=Polynomial).coef))


def _polynomial(coefficients, x):
    """Evaluate a polynomial by Horner's rule."""
    *rest, value = coefficients
    for coefficient in reversed(rest):
        value = value * x + coefficient
    return value


def _by_operations(coefficients, x):
    """Evaluate a polynomial in few operations, each of which the backend executes by itself."""
    if keras.backend.backend() != "torch":
        # As factors of the form (x - a)² + b, which TensorFlow squares in one operation.
        factors, roots = _factors(coefficients)
        value = coefficients[-1]
        for root in roots:
            value = (x - root) * value
        for a, b in factors:
            value = (ops.square(x - a) + b) * value
        return value
    import torch

    if x.device.type != "cpu":
        return _polynomial(coefficients, x)
    # Multiply and add in one operation.
    *rest, before, last = _tensors(coefficients, x.dtype)
    value = torch.addcmul(before, x, last)
    for coefficient in reversed(rest):
        torch.addcmul(coefficient, value, x, out=value)
    return value


@cache
def _factors(coefficients):
    """Return the quadratic factors (x - a)² + b of a polynomial, and one root of an odd degree."""
    roots = Polynomial(coefficients).roots()
    pairs = [(root.real, root.imag**2) for root in roots if root.imag > 0.0]
    real = sorted(root.real for root in roots if root.imag == 0.0)
    single, real = real[: len(real) % 2], real[len(real) % 2 :]
    for low, high in zip(real[::2], real[1::2], strict=True):
        pairs.append(((low + high) / 2, -(((high - low) / 2) ** 2)))
    return [(float(a), float(b)) for a, b in pairs], [float(root) for root in single]


@cache
def _tensors(coefficients, dtype):
    import torch

    return [torch.tensor(coefficient, dtype=dtype, device="cpu") for coefficient in coefficients]
