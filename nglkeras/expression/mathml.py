"""Write trees in MathML, which browsers draw without a library or a network."""

from typing import NamedTuple

from nglkeras.expression.prefix import Nodes, fold

# How tightly the root of a subtree binds.
_SUM, _PRODUCT, _SIGNED, _ATOM = range(4)
_NAMES = {"y_true": "t", "y_pred": "p"}
_MINUS = "−"


class _Part(NamedTuple):
    """A written subtree: its terms, each of which begins with its sign, and its precedence."""

    terms: tuple[str, ...]
    precedence: int = _ATOM

    @property
    def text(self):
        return "".join(self.terms)

    def within(self, precedence):
        """Return it as an operand, in parentheses if it binds less tightly."""
        return self.text if self.precedence >= precedence else _bracketed(self.text)

    def after(self, precedence):
        """Return it as a right operand; a signed one is put in parentheses: a - (-b)."""
        return _bracketed(self.text) if self.is_signed else self.within(precedence)

    @property
    def is_signed(self):
        """Whether it begins with a minus sign."""
        return self.text.startswith(_sign(_MINUS))


def to_mathml(nodes: Nodes) -> str:
    """Return a tree in MathML: see `Expression.to_mathml`."""
    terms = fold(nodes, _leaf, _branch).terms
    return " ".join(f"<math><mrow>{term}</mrow></math>" for term in terms)


def _leaf(node):
    if isinstance(node, str):
        return _Part((f"<mi>{_NAMES[node]}</mi>",))
    mantissa, _, exponent = repr(abs(node)).removesuffix(".0").partition("e")
    text = f"<mn>{mantissa}</mn>"
    if exponent:
        ten = f"<msup><mn>10</mn><mn>{int(exponent)}</mn></msup>".replace("<mn>-", f"<mn>{_MINUS}")
        text += _operator("·") + ten
    if node < 0:
        return _Part((_sign(_MINUS) + text,), _SIGNED)
    return _Part((text,), _PRODUCT if exponent else _ATOM)


def _branch(name, *parts):
    first, last = parts[0], parts[-1]
    if name == "add":
        return _Part((*first.terms, *_added(last)), _SUM)
    if name == "sub":
        return _Part((*first.terms, _operator(_MINUS) + last.after(_PRODUCT)), _SUM)
    if name == "mul":
        text = first.within(_PRODUCT) + _operator("·") + last.after(_PRODUCT)
        return _Part((text,), _PRODUCT)
    if name == "div":
        return _Part((f"<mfrac><mrow>{first.text}</mrow><mrow>{last.text}</mrow></mfrac>",))
    if name == "neg":
        return _Part((_sign(_MINUS) + first.after(_PRODUCT),), _SIGNED)
    if name == "square":
        is_leaf = first.text.count("<") == 2
        base = first.text if is_leaf else _bracketed(first.text)
        return _Part((f"<msup><mrow>{base}</mrow><mn>2</mn></msup>",))
    if name == "sqrt":
        return _Part((f"<msqrt>{first.text}</msqrt>",))
    return _Part((f"<mi>{name}</mi><mo>&#x2061;</mo>{_bracketed(first.text)}",))


def _added(part):
    """Return the terms of what is added: a signed first one becomes a difference."""
    first, *rest = part.terms
    if part.is_signed:
        return _operator(_MINUS) + first.removeprefix(_sign(_MINUS)), *rest
    return _operator("+") + first, *rest


def _operator(symbol):
    return f'<mo form="infix">{symbol}</mo>'


def _sign(symbol):
    return f'<mo form="prefix">{symbol}</mo>'


def _bracketed(text):
    is_high = any(tag in text for tag in ("<mfrac", "<msqrt", "<msup"))
    stretchy = "" if is_high else ' stretchy="false"'
    return f'<mo form="prefix"{stretchy}>(</mo>{text}<mo form="postfix"{stretchy}>)</mo>'
