"""Formulas that are tested in Python and in the loss explorer: valid, invalid, and hostile ones."""

import random
import string

from nglkeras.expression import MAX_HEIGHT, MAX_LENGTH

# A formula, and how it is printed.
VALID = [
    ("y_real + y_pred", "y_true + y_pred"),
    ("y_pred-(y_true-1)", "y_pred - (y_true - 1)"),
    ("(y_pred-y_true)-1", "y_pred - y_true - 1"),
    ("y_pred/(y_true*2)/3", "y_pred/(y_true*2)/3"),
    ("-1.5*y_pred", "-1.5*y_pred"),
    ("y_pred*-1.5", "y_pred*(-1.5)"),
    ("-y_pred*y_true", "-y_pred*y_true"),
    ("-(y_pred*y_true)", "-(y_pred*y_true)"),
    ("--y_pred", "-(-y_pred)"),
    ("-(1.5)", "-1.5"),
    ("neg(1.5)", "neg(1.5)"),
    ("y_pred**2", "square(y_pred)"),
    ("-y_pred**2", "-square(y_pred)"),
    ("div(y_pred, add(1, y_true))", "y_pred/(1 + y_true)"),
    ("+y_pred", "y_pred"),
    ("1e-7*y_pred", "1e-07*y_pred"),
    ("y_pred**2.0", "square(y_pred)"),
    ("1_000*(y_pred\n+ .5)  # a comment", "1000*(y_pred + 0.5)"),
]

# A text that is no formula, and a part of the reason.
INVALID = [
    ("", "'' is not a formula"),
    ("y_pred +", "is not a formula"),
    ("x + 1", "unknown name 'x'; choose from: y_true, y_pred, y_real"),
    ("tan(y_pred)", "unknown function 'tan'; choose from: add, sub"),
    ("sin(y_pred, 1)", "sin takes 1 argument, not 2"),
    ("add(y_pred)", "add takes 2 arguments, not 1"),
    ("y_pred**3", "'y_pred**3' is not part of a formula"),
    ("y_pred if 1 else 2", "is not part of a formula"),
    ("[y_pred]", "is not part of a formula"),
    ("True", "is not part of a formula"),
    ("1j", "is not part of a formula"),
    ("'y_pred'", "is not part of a formula"),
    ("1e999", "a constant is not within ±1e+08"),
    ("9" * 400, "a constant is not within ±1e+08"),
    ("__import__('os').system('x')", "is not part of a formula"),
    ("+".join(["y_pred"] * 300), f"nested deeper than {MAX_HEIGHT}"),
    ("y_pred*" * 5000 + "1", f"at most {MAX_LENGTH}"),
    ("2 y_pred", "is not a formula"),
    ("y_pred^2", "is not part of a formula"),
    ("y_pred**2**2", "is not part of a formula"),
    ("y_pred\n+ 1", "is not a formula"),
    ("007", "is not a formula"),
    ("sin", "unknown name 'sin'"),
    ("mod(y_pred)", "unknown function 'mod'"),
]

# The same, where parsers may give another reason or never get such a text.
BEYOND = [
    (None, "a formula is a text, not NoneType"),
    ("-" * 5000 + "y_pred", "is not"),
    ("sin(" * 150 + "y_pred" + ")" * 150, "is n"),
]

# A formula with a character that is not allowed: its name, its position, and what to do.
CHARACTERS = [
    ("1 − y_pred", "'−' (U+2212, MINUS SIGN)", 3, "write -"),
    ("1 – y_pred", "'–' (U+2013, EN DASH)", 3, "write -"),
    ("y_true×y_pred", "'×' (U+00D7, MULTIPLICATION SIGN)", 7, "write *"),
    ("y_true·y_pred", "'·' (U+00B7, MIDDLE DOT)", 7, "write *"),
    ("y_true÷y_pred", "'÷' (U+00F7, DIVISION SIGN)", 7, "write /"),
    ("y_pred²", "'²' (U+00B2, SUPERSCRIPT TWO)", 7, "write **2"),
    ("y_pred³", "'³' (U+00B3, SUPERSCRIPT THREE)", 7, "write it in ASCII"),
    ("“y_pred”", "'“' (U+201C, LEFT DOUBLE QUOTATION MARK)", 1, "leave it out"),
    ("1\u00a0- y_pred", "U+00A0, NO-BREAK SPACE", 2, "write a space"),
    ("y_\u200bpred", "U+200B, ZERO WIDTH SPACE", 3, "leave it out"),
    ("１ - y_pred", "'１' (U+FF11, FULLWIDTH DIGIT ONE)", 1, "write 1"),
    ("ｙ_pred", "'ｙ' (U+FF59, FULLWIDTH LATIN SMALL LETTER Y)", 1, "write y"),
    ("α*y_pred", "'α' (U+03B1, GREEK SMALL LETTER ALPHA)", 1, "write it in ASCII"),
    ("y_pred\x1b[31m", "U+001B, a character without a name", 7, "leave it out"),
    ("y_pred + \ud800", "U+D800, a character without a name", 10, "write it in ASCII"),
]


def hostile_texts(count):
    """Yield random mixtures of Python's own pieces."""
    dice = random.Random(0)
    pieces = [
        *"()[]{}+-*/%@&|^~<>=!,.:;'\"\\#\n\t\0 ",
        *("**", "//", "lambda", "if", "else", "for", "in", "not", "and", "or", "is", "await"),
        *("__import__", "eval", "exec", "open", "print", "globals", "().__class__", "y_pred"),
        *("y_true", "sin", "exp", "neg", "1", "2.5", "1e308", "1e-9", "0x1f", "9" * 50),
        *("True", "None", "1j", "f'{1}'", "b''", "...", ":=", "yield", "import os", "é", "𝐱"),
        *("(" * 90, "-" * 90, "[" * 90, "sin(" * 60, string.ascii_letters),
    ]
    for _ in range(count):
        yield "".join(dice.choices(pieces, k=dice.randint(1, 12)))
