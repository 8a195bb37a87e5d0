"""The papers' losses per class, as formulas for `Expression.parse`.

f1 to f5 are the best losses of paper A's experiments 1 to 5 (section 4.1): f1 was found on
CIFAR-10 and f2 on Fashion-MNIST, both from scratch; f3 and f4 on the same data sets with ImageNet
weights; f5, the paper's NGL, on CIFAR-10, Fashion-MNIST and CIFAR-100 together.

To correct a reconstruction, edit its line here, or give scripts `--formula f1="..."`. Division,
square root and logarithm are protected by ε, as in paper A.
"""

FORMULAS = {
    # Reconstructions: equations B.1.1 to B.1.3 are illegible in every public copy.
    "f1": "exp(square(sin(y_true)))/(2*sqrt((1.5494 - y_true)*y_pred))",
    "f2": "cos(-y_true)/sqrt(y_pred)*(3.1868*y_true + y_pred) + sqrt(y_pred)",
    "f3": "sqrt(y_true/y_pred + y_pred/2.4428)",
    # Equation B.1.4; its minimum is the one that the paper states.
    "f4": "sin(sin(y_pred - 2.6085) + square(y_true))",
    # f5, equation 1.
    "NGL": "exp(2.4092 - y_pred*(1 + y_true)) - cos(cos(sin(y_pred)))",
    # Paper B.
    "Baikal": "-(log(y_pred) - y_true/y_pred)",
    "BaikalCMA": "-2.7279*(0.9863*log(1.5352*y_pred) - 1.8158*y_true/y_pred)",
}

# Cross entropy is the sum of this over the classes.
CROSS_ENTROPY = "-(y_true*log(y_pred))"

# The text of paper A says that f2 falls, rises in a small region and falls again. No reading of the
# legible parts does so: with two classes the formula above only falls. This one agrees with every
# statement (it rises from 0.72 to 0.91), but is a pure guess; try it with `--formula f2="..."`.
ALTERNATIVE_F2 = "cos(-y_true)/y_pred*(3.8235*y_true - square(3.1868*y_pred)) + sqrt(3.8235*y_pred)"
