"""Parse formulas into prefix nodes, and print nodes as formulas or LaTeX.

`parse` accepts a whitelist of Python's syntax tree; nothing is evaluated.
"""

import ast
import unicodedata
import warnings
from typing import NamedTuple

from nglkeras.errors import UserError, unknown
from nglkeras.expression.operators import OPERATORS
from nglkeras.expression.prefix import MAX_HEIGHT, TERMINALS, Nodes, fold

# Long enough for the largest tree: 1,000 nodes with constants of 16 digits.
MAX_LENGTH = 30_000

NAMES = dict(zip(TERMINALS, TERMINALS, strict=True)) | {"y_real": "y_true"}
_INFIX = {ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul", ast.Div: "div"}
# Symbol and precedence; a sign binds tighter, everything else is an atom.
_SYMBOLS = {"add": (" + ", 1), "sub": (" - ", 1), "mul": ("*", 2), "div": ("/", 2)}
SIGNED, ATOM = 3, 4
# Typographic characters and their ASCII replacement; `_advice` handles whole Unicode categories.
INSTEAD = {
    **dict.fromkeys("−‐‑‒–—﹣－", "-"),
    **dict.fromkeys("×⋅·∙•∗✕✖", "*"),
    **dict.fromkeys("÷∕⁄", "/"),
    "²": "**2",
    "√": "sqrt()",
}
_LATEX_NAMES = {"y_true": "t", "y_pred": "p"}


def parse(formula: str) -> list[str | float]:
    """Return the nodes of a formula in prefix order: see `Expression.parse`."""
    if not isinstance(formula, str):
        raise UserError(f"a formula is a text, not {type(formula).__name__}")
    if len(formula) > MAX_LENGTH:
        raise UserError(f"a formula of {len(formula)} characters; at most {MAX_LENGTH}")
    # Some editors put a byte-order mark at the start of a file.
    formula = formula.removeprefix("\ufeff")
    _check_characters(formula)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(formula.strip(), mode="eval")
    # Python's versions raise different errors for excessive nesting.
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise UserError(f"{_shown(formula)} is not a formula") from error
    return _nodes(tree.body, formula, 0)


def _check_characters(formula):
    """Raise `UserError` for non-ASCII characters, some of which Python would silently replace."""
    for position, character in enumerate(formula, 1):
        if character.isascii() and (character.isprintable() or character.isspace()):
            continue
        name = unicodedata.name(character, "a character without a name")
        shown = f"U+{ord(character):04X}, {name}"
        if character.isprintable():
            shown = f"{character!r} ({shown})"
        advice = _advice(character)
        raise UserError(f"a formula cannot have {shown}, as at position {position}: {advice}")


def _advice(character):
    """Say what to write instead of a character."""
    category = unicodedata.category(character)
    if category in ("Cc", "Cf", "Pi", "Pf"):
        return "leave it out"
    if category in ("Zs", "Zl", "Zp"):
        return "write a space"
    plain = INSTEAD.get(character) or unicodedata.normalize("NFKC", character)
    if category == "Nd":
        plain = str(unicodedata.decimal(character))
    if not plain.isascii() or (category == "No" and character not in INSTEAD):
        return "write it in ASCII, e.g. a number, y_true for the label, y_pred for the prediction"
    return f"write {plain}"


def _nodes(tree, formula, depth):
    if depth > MAX_HEIGHT:
        raise UserError(f"{_shown(formula)} is nested deeper than {MAX_HEIGHT}")

    def convert(argument):
        return _nodes(argument, formula, depth + 1)

    match tree:
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            return [value]
        case ast.Name(id=name):
            if name not in NAMES:
                raise unknown("name", name, NAMES)
            return [NAMES[name]]
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            return convert(operand)
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant() as number):
            # -1.5 is one constant, no deeper than 1.5; neg(1.5) is a tree of two nodes.
            return [-_nodes(number, formula, depth)[0]]
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return ["neg", *convert(operand)]
        case ast.BinOp(left=left, op=ast.Pow(), right=ast.Constant(value=2)):
            return ["square", *convert(left)]
        case ast.BinOp(left=left, op=operator, right=right) if type(operator) in _INFIX:
            return [_INFIX[type(operator)], *convert(left), *convert(right)]
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]):
            return _call(name, arguments, convert)
    text = ast.get_source_segment(formula.strip(), tree) or formula
    raise UserError(
        f"{_shown(text)} is not part of a formula; valid are + - * / **2, numbers, "
        f"{', '.join(NAMES)}, and the functions {', '.join(OPERATORS)}"
    )


def _call(name, arguments, convert):
    if name not in OPERATORS:
        raise unknown("function", name, OPERATORS)
    arity = OPERATORS[name].arity
    if len(arguments) != arity:
        raise UserError(f"{name} takes {arity} argument{'s' * (arity > 1)}, not {len(arguments)}")
    return [name, *(node for argument in arguments for node in convert(argument))]


def _shown(text):
    """Quote a text for an error message: on one line, at most 60 characters."""
    text = " ".join(str(text).split())
    return repr(text if len(text) <= 60 else text[:57] + "...")


class _Text(NamedTuple):
    """A printed subtree and the precedence of its root."""

    text: str
    precedence: int = ATOM
    is_number: bool = False

    def within(self, precedence):
        """Return the text, in parentheses if it binds less tightly than `precedence`."""
        return self.text if self.precedence >= precedence else f"({self.text})"

    def after(self, precedence):
        """Return the text as a right operand; a signed one is put in parentheses: a - (-b)."""
        return self.within(ATOM if self.precedence == SIGNED else precedence)


def to_text(nodes: Nodes) -> str:
    """Return the formula of a tree, with the parentheses needed to parse it back."""

    def branch(name, *arguments):
        if name == "neg" and not arguments[0].is_number:
            return _Text(f"-{arguments[0].within(ATOM)}", SIGNED)
        if name in _SYMBOLS:
            symbol, precedence = _SYMBOLS[name]
            left, right = arguments
            # Operators of equal precedence associate to the left.
            text = left.within(precedence) + symbol + right.after(precedence + 1)
            return _Text(text, precedence)
        return _Text(f"{name}({', '.join(argument.text for argument in arguments)})")

    return fold(nodes, _leaf, branch).text


def _leaf(node):
    if isinstance(node, str):
        return _Text(node)
    return _Text(repr(node).removesuffix(".0"), SIGNED if node < 0 else ATOM, is_number=True)


def to_latex(nodes: Nodes) -> str:
    """Return a tree in LaTeX: see `Expression.to_latex`."""

    def leaf(node):
        return _leaf(node)._replace(text=_LATEX_NAMES.get(node) or _latex_number(node))

    def branch(name, *arguments):
        template = OPERATORS[name].latex
        if name == "square":
            return _Text(template.format(arguments[0].within(ATOM + 1)))
        if name == "neg":
            return _Text(template.format(arguments[0].within(ATOM)), SIGNED)
        if name in ("add", "sub", "mul"):
            _, precedence = _SYMBOLS[name]
            left, right = arguments
            after = right.after(precedence + (name != "add"))
            return _Text(template.format(left.within(precedence), after), precedence)
        precedence = _SYMBOLS["mul"][1] if name == "div" else ATOM
        return _Text(template.format(*(argument.text for argument in arguments)), precedence)

    return fold(nodes, leaf, branch).text


def _latex_number(number):
    mantissa, _, exponent = repr(number).removesuffix(".0").partition("e")
    return rf"{mantissa} \cdot 10^{{{int(exponent)}}}" if exponent else mantissa
