"""The examples of the documentation run as they stand."""

import re

import matplotlib
import pytest
from conftest import ROOT


@pytest.mark.parametrize("name", ["search.md"])
def test_the_examples_run_in_order(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    matplotlib.use("Agg")
    text = (ROOT / "docs" / name).read_text(encoding="utf-8")
    blocks = list(re.finditer(r"```python\n(.*?)```", text, re.DOTALL))
    assert blocks
    namespace = {"__name__": "docs"}
    for block in blocks:
        line = text[: block.start(1)].count("\n")
        # An error names the line of the document.
        code = compile("\n" * line + block[1], str(ROOT / "docs" / name), "exec")
        exec(code, namespace)
