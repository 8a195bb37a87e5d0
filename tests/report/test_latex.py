"""Tables in LaTeX: escaped, marked, and complete."""

import shutil
import subprocess

import pytest

from nglkeras.report import latex

ROWS = [
    ["", "CE & L2", "f1†"],
    ["50 %_#$", "**-0.33** (+7.07)", "–"],
    ["[1, 2]", "$\\frac{t}{p}$", r"a\b{c}~^ <|> α ±0.5"],
]


def test_a_table_is_a_tabular_with_booktabs_rules():
    text = latex.table(ROWS, "Table 2: 5 %", ["a note\nof two lines"])
    assert text == (
        "% Table 2: 5 %\n"
        "% Needs \\usepackage{booktabs}.\n"
        "% a note of two lines\n"
        "\\begin{tabular}{lrr}\n"
        "\\toprule\n"
        " & CE \\& L2 & f1\\textdagger{} \\\\\n"
        "\\midrule\n"
        "50 \\%\\_\\#\\$ & \\textbf{$-$0.33} (+7.07) & -- \\\\\n"
        "{}[1, 2] & $\\frac{t}{p}$ & a\\textbackslash{}b\\{c\\}\\textasciitilde{}"
        "\\textasciicircum{} $<$$|$$>$ $\\alpha$ $\\pm$0.5 \\\\\n"
        "\\bottomrule\n"
        "\\end{tabular}\n"
    )


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("-1.5", "$-$1.5"),
        ("[-15.4, 14.2]", "[$-$15.4, 14.2]"),
        ("Swin-T", "Swin-T"),
        ("1e-05", "1e-05"),
        ("− 0.6", "$-$ 0.6"),
        ("two\nlines", "two lines"),
    ],
)
def test_a_hyphen_is_a_minus_before_numbers_only(text, wanted):
    assert latex.escape(text) == wanted


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no LaTeX is installed")
def test_latex_takes_it(tmp_path):
    document = (
        "\\documentclass{article}\\usepackage{booktabs}\\usepackage{textcomp}\\begin{document}\n"
        f"{latex.table(ROWS, 'title')}\\end{{document}}\n"
    )
    (tmp_path / "a.tex").write_text(document, encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "a.tex"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout
