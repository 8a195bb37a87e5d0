"""From text to tree and back, and to LaTeX.

`parse` walks Python's syntax tree through a whitelist; it calls and looks up nothing.
"""

import ast
import unicodedata
import warnings
from typing import NamedTuple

from nglkeras.errors import UserError, unknown
from nglkeras.expression.operators import OPERATORS
from nglkeras.expression.tree import MAX_HEIGHT, TERMINALS, Expression

# The largest tree, 1,000 nodes with constants of all digits, is shorter.
MAX_LENGTH = 30_000

_NAMES = dict(zip(TERMINALS, TERMINALS, strict=True)) | {"y_real": "y_true"}
_INFIX = {ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul", ast.Div: "div"}
# Symbol, and how tightly it binds; a sign binds tighter, everything else is an atom.
_SYMBOLS = {"add": (" + ", 1), "sub": (" - ", 1), "mul": ("*", 2), "div": ("/", 2)}
SIGNED, ATOM = 3, 4
# What typesetting makes of a formula, and what parses; see `_advice` for whole families.
_INSTEAD = {
    **dict.fromkeys("−‐‑‒–—﹣－", "-"),
    **dict.fromkeys("×⋅·∙•∗✕✖", "*"),
    **dict.fromkeys("÷∕⁄", "/"),
    "²": "**2",
    "√": "sqrt()",
}
_LATEX_NAMES = {"y_true": "t", "y_pred": "p"}


def parse(formula: str) -> list[str | float]:
    """The nodes of a formula in prefix order: see `Expression.parse`."""
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
    # What Python raises for hostile nesting differs between its versions.
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise UserError(f"{_shown(formula)} is not a formula") from error
    return _nodes(tree.body, formula, 0)


def _check_characters(formula):
    """Refuse characters beyond ASCII: Python would read some as others, and complain about most."""
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
    """What to write instead of a character."""
    category = unicodedata.category(character)
    if category in ("Cc", "Cf", "Pi", "Pf"):
        return "leave it out"
    if category in ("Zs", "Zl", "Zp"):
        return "write a space"
    plain = _INSTEAD.get(character) or unicodedata.normalize("NFKC", character)
    if category == "Nd":
        plain = str(unicodedata.decimal(character))
    if not plain.isascii() or (category == "No" and character not in _INSTEAD):
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
            if name not in _NAMES:
                raise unknown("name", name, _NAMES)
            return [_NAMES[name]]
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            return convert(operand)
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant() as number):
            # -1.5 is one constant, as deep as it stands; neg(1.5) is a tree of two nodes.
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
        f"{', '.join(_NAMES)}, and the functions {', '.join(OPERATORS)}"
    )


def _call(name, arguments, convert):
    if name not in OPERATORS:
        raise unknown("function", name, OPERATORS)
    arity = OPERATORS[name].arity
    if len(arguments) != arity:
        raise UserError(f"{name} takes {arity} argument{'s' * (arity > 1)}, not {len(arguments)}")
    return [name, *(node for argument in arguments for node in convert(argument))]


def _shown(text):
    """A text as a message can carry it: on one line, cut short."""
    text = " ".join(str(text).split())
    return repr(text if len(text) <= 60 else text[:57] + "...")


class _Text(NamedTuple):
    """A piece of a formula and how tightly its root holds together."""

    text: str
    tightness: int = ATOM
    is_number: bool = False

    def within(self, tightness):
        """The piece in a place that wants at least this tightness."""
        return self.text if self.tightness >= tightness else f"({self.text})"


def to_text(expression: Expression) -> str:
    """The formula of a tree, with the parentheses that it takes to parse it back."""

    def branch(name, *arguments):
        if name == "neg" and not arguments[0].is_number:
            return _Text(f"-{arguments[0].within(ATOM)}", SIGNED)
        if name in _SYMBOLS:
            symbol, tightness = _SYMBOLS[name]
            left, right = arguments
            # Equals gather to the left, and a sign after an operator would read badly.
            after = right.within(ATOM if right.tightness == SIGNED else tightness + 1)
            return _Text(left.within(tightness) + symbol + after, tightness)
        return _Text(f"{name}({', '.join(argument.text for argument in arguments)})")

    return expression.fold(_leaf, branch).text


def _leaf(node):
    if isinstance(node, str):
        return _Text(node)
    return _Text(repr(node).removesuffix(".0"), SIGNED if node < 0 else ATOM, is_number=True)


def to_latex(expression: Expression) -> str:
    """LaTeX of a tree: see `Expression.to_latex`."""

    def leaf(node):
        return _leaf(node)._replace(text=_LATEX_NAMES.get(node) or _latex_number(node))

    def branch(name, *arguments):
        template = OPERATORS[name].latex
        if name in ("div", "sqrt", "log", "exp", "sin", "cos"):
            tightness = _SYMBOLS["mul"][1] if name == "div" else ATOM
            return _Text(template.format(*(argument.text for argument in arguments)), tightness)
        if name == "square":
            return _Text(template.format(arguments[0].within(ATOM + 1)))
        if name == "neg":
            return _Text(template.format(arguments[0].within(ATOM)), SIGNED)
        _, tightness = _SYMBOLS[name]
        left, right = arguments
        after = right.within(ATOM if right.tightness == SIGNED else tightness + (name != "add"))
        return _Text(template.format(left.within(tightness), after), tightness)

    return expression.fold(leaf, branch).text


def _latex_number(number):
    mantissa, _, exponent = repr(number).removesuffix(".0").partition("e")
    return rf"{mantissa} \cdot 10^{{{int(exponent)}}}" if exponent else mantissa
