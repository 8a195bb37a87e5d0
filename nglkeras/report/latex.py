"""Tables in LaTeX, with the rules of the booktabs package."""

import re
from collections.abc import Sequence

_ESCAPED = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{character: f"\\{character}" for character in "{}$&#_%"},
    **{character: f"${character}$" for character in "<>|"},
    "†": r"\textdagger{}",
    "–": "--",
    "—": "---",
    "…": r"\ldots{}",
    "−": "$-$",
    "±": r"$\pm$",
    "×": r"$\times$",
    "÷": r"$\div$",
    "²": "$^2$",
    "√": r"$\surd$",
    "µ": r"\textmu{}",
    "°": r"\textdegree{}",
    "α": r"$\alpha$",
    "β": r"$\beta$",
    "γ": r"$\gamma$",
    "δ": r"$\delta$",
    "ε": r"$\epsilon$",
    "ζ": r"$\zeta$",
    "η": r"$\eta$",
    "θ": r"$\theta$",
    "λ": r"$\lambda$",
    "μ": r"$\mu$",
    "σ": r"$\sigma$",
}
_NEGATIVE = re.compile(r"(?<![\w.])-(?=\d)")


def escape(text: str) -> str:
    """Return a text as LaTeX shows it; a hyphen before a number becomes a minus sign."""
    text = _NEGATIVE.sub("−", re.sub(r"\s+", " ", text))
    return "".join(_ESCAPED.get(character, character) for character in text)


def cell(text: str) -> str:
    """Return a table's cell in LaTeX: `**bold**` in bold, a formula between `$` as it is."""
    if len(text) > 1 and text[0] == text[-1] == "$":
        return text
    parts = re.split(r"\*\*(.+?)\*\*", text)
    return "".join(rf"\textbf{{{escape(p)}}}" if i % 2 else escape(p) for i, p in enumerate(parts))


def table(rows: Sequence[Sequence[str]], title: str, notes: Sequence[str] = ()) -> str:
    """Return rows of text as a LaTeX `tabular`; the first row is the heading."""
    comments = [title, r"Needs \usepackage{booktabs}.", *notes]
    heading, *body = [" & ".join(map(cell, row)) for row in rows]
    return "\n".join(
        [
            *(f"% {' '.join(comment.split())}" for comment in comments),
            rf"\begin{{tabular}}{{l{'r' * (len(rows[0]) - 1)}}}",
            r"\toprule",
            _line(heading),
            r"\midrule",
            *map(_line, body),
            r"\bottomrule",
            r"\end{tabular}",
            "",
        ]
    )


def _line(cells):
    # After the end of a line, [ and * would be taken for an argument of \\.
    return ("{}" if cells.startswith(("[", "*")) else "") + cells + r" \\"
