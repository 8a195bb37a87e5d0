"""The loss explorer in a browser: it reads and computes formulas as `Expression` does."""

import hashlib
import json
import re
import runpy

import browser
import numpy as np
import pytest
from conftest import ROOT, to_numpy
from formulas import CHARACTERS, INVALID, VALID, hostile_texts

from nglkeras import UserError, losses
from nglkeras.expression import Expression
from nglkeras.losses import FORMULAS, curves
from nglkeras.search import Variation

FOLDER = ROOT / "docs/explorer"
GENERATOR = runpy.run_path(str(ROOT / "docs/site/explorer.py"))
LOSSES = {loss["name"]: loss for loss in GENERATOR["data"]()["losses"]}
POINTS = [(t, p) for t in (0.0, 1.0) for p in (0.0, 1e-6, 0.1, 0.3, 0.5, 0.9, 1.0)]
DRAWN = """document.readyState === "complete"
    && document.querySelectorAll(".explorer canvas").length === 4"""
in_a_browser = pytest.mark.skipif(
    browser.find() is None, reason=f"none of {', '.join(browser.NAMES)} is installed"
)


class TestLosses:
    def test_the_committed_ones_are_those_of_the_code(self):
        assert (FOLDER / "losses.js").read_text() == GENERATOR["text"]()

    @pytest.mark.parametrize("name", sorted(set(LOSSES) - set(FORMULAS)))
    def test_a_traced_formula_is_the_loss(self, name):
        labels = np.eye(4)[[0, 2, 3]]
        p = 0.025 + 0.9 * np.random.default_rng(0).dirichlet(np.ones(4), 3)
        reduction = LOSSES[name]["reduction"]
        values = getattr(Expression.parse(LOSSES[name]["formula"])(labels, p), reduction)(-1)
        loss = losses.get(name, dtype="float64")
        # The grammar adds ε to logarithms; SCE takes that of 1e-4.
        np.testing.assert_allclose(values, to_numpy(loss.call(labels, p)), rtol=2e-5)

    @pytest.mark.parametrize(
        ("name", "why"),
        [
            ("Dice", "no sum of terms"),
            ("SparseLSR", "the number of classes"),
            ("ASL (multi-label)", "independent sigmoids"),
        ],
    )
    def test_what_has_no_formula_is_listed_with_the_reason(self, name, why):
        assert why in next(
            one["why"] for one in GENERATOR["data"]()["left_out"] if one["name"] == name
        )


def test_the_libraries_are_those_of_the_list():
    folder = FOLDER / "vendor"
    sums = dict(reversed(line.split()) for line in (folder / "SHA256SUMS").read_text().splitlines())
    files = {str(path.relative_to(folder)) for path in folder.glob("*/*")}
    assert files == set(sums)
    for name, expected in sums.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == expected, name


def visit(tmp_path, look, width=1400):
    """Open the page as it is without the site around it."""
    for name in ("vendor", "losses.js", "formula.js", "explorer.js", "explorer.css"):
        (tmp_path / name).symlink_to(FOLDER / name)
    body = re.sub(r"\A---.*?---\n", "", (FOLDER / "index.md").read_text(), flags=re.DOTALL)
    path = tmp_path / "index.html"
    path.write_text(f'<!doctype html><html lang="en"><meta charset="utf-8"><body>{body}')
    found, page = browser.visit(path, tmp_path / "profile", look, width, DRAWN)
    assert page.errors == []
    assert all(address.startswith(("file:", "data:")) for address in page.requests)
    return found


def expected(text):
    """Return the nodes of a formula, or the reason why it is none."""
    try:
        return list(Expression.parse(text).nodes)
    except UserError as error:
        return str(error)


def kind(reason):
    """Return nodes as they are, and reasons without what only Python knows of a text."""
    if isinstance(reason, list):
        return reason
    if re.search("is not (part of )?a formula", reason):
        return "syntax"
    # Browsers do not know the names of characters.
    return re.sub(r"(U\+\w{4,}), (?:[A-Z -]+|a character without a name)", r"\1", reason)


def parsing(texts):
    return f"""{json.dumps(texts)}.map((text) => {{
        try {{ return explorer.parse(text); }} catch (error) {{
            if (error instanceof explorer.UserError) return error.message;
            throw error;
        }}
    }})"""


@in_a_browser
@pytest.mark.slow
class TestFormulas:
    def test_are_read_as_in_python(self, tmp_path):
        texts = [*(text for text, *_ in (*VALID, *INVALID, *CHARACTERS)), *FORMULAS.values()]
        texts += [*(loss["formula"] for loss in LOSSES.values()), *hostile_texts(3000)]
        found = visit(tmp_path, lambda page: page.value(parsing(texts)))
        for text, one in zip(texts, found, strict=True):
            assert kind(one) == kind(expected(text)), text

    def test_have_the_values_and_slopes_of_python(self, tmp_path):
        random_state, variation = np.random.RandomState(0), Variation(depths=(2, 4), max_size=20)
        expressions = [Expression.parse(text) for text, _ in VALID]
        expressions += [Expression.parse(loss["formula"]) for loss in LOSSES.values()]
        expressions += [variation.random_tree(random_state) for _ in range(100)]
        code = f"""{json.dumps(list(map(str, expressions)))}.map((text) => {{
            const nodes = explorer.parse(text);
            return {json.dumps(POINTS)}.map(([t, p]) => explorer.evaluate(nodes, t, p).map(String));
        }})"""
        found = visit(tmp_path, lambda page: page.value(code))
        for expression, pairs in zip(expressions, found, strict=True):
            wanted = np.stack(expression.value_and_slope(*np.array(POINTS).T), axis=-1)
            pairs = np.array(pairs, float)
            np.testing.assert_allclose(pairs, wanted, rtol=1e-9, atol=1e-12, err_msg=expression)

    def test_sizes_of_gradients_are_those_of_the_losses(self, tmp_path):
        names = ["NGL", "Baikal", "CE", "Poly-1"]
        texts = [(LOSSES[name]["formula"], LOSSES[name]["reduction"] == "mean") for name in names]
        code = f"""{json.dumps(texts)}.map(([text, isMean]) =>
            [10, 100].map((n) => explorer.sizeAtUniform(explorer.parse(text), isMean, n)))"""
        found = visit(tmp_path, lambda page: page.value(code))
        for name, sizes in zip(names, found, strict=True):
            wanted = [curves.size_at_uniform(losses.get(name), n) for n in (10, 100)]
            np.testing.assert_allclose(sizes, wanted, rtol=1e-4, err_msg=name)


@in_a_browser
@pytest.mark.slow
@pytest.mark.parametrize("width", [400, 1400])
def test_draws_while_one_types(tmp_path, width):
    async def state(page):
        return await page.value("""({
            formula: document.querySelector("#explorer-formula").value,
            chosen: document.querySelector("#explorer-loss").selectedOptions[0].label,
            message: document.querySelector("#explorer-message").textContent,
            least: document.querySelector("#explorer-least").textContent,
            pictures: [...document.querySelectorAll("[role=img]")].map((one) => one.ariaLabel),
            unlabelled: [...document.querySelectorAll("input, select")]
                .filter((one) => one.labels.length === 0).length,
            hash: decodeURIComponent(location.hash),
            wide: document.documentElement.scrollWidth - innerWidth,
        })""")

    async def type_text(page, text):
        await page.value("""document.querySelector("#explorer-formula").focus();
            document.querySelector("#explorer-formula").select()""")
        await page.call("Input.insertText", text=text)

    async def look(page):
        states = [await state(page)]
        for text in ("(y_pred - 0.75)**2 + 0*y_true", "y_pred**3", FORMULAS["f4"]):
            await type_text(page, text)
            states.append(await state(page))
        await page.value('location.hash = "#formula=" + encodeURIComponent("-log(y_pred)*y_true")')
        await page.until('document.querySelector("#explorer-formula").value.startsWith("-log")')
        return [*states, await state(page)]

    first, square, bad, f4, linked = visit(tmp_path, look, width)
    assert first["formula"] == FORMULAS["NGL"]
    assert first["chosen"] == "f5 (NGL)"
    assert "Least at p = 0.566, where it is 4.765." in first["least"]
    assert first["unlabelled"] == 0
    assert all(one["wide"] <= 0 for one in (first, square, bad, f4, linked))
    assert all("near p = 0" in picture for picture in first["pictures"])
    assert "Least at p = 0.566" in first["pictures"][2]
    assert square["chosen"] == "your own"
    assert square["hash"] == "#formula=(y_pred - 0.75)**2 + 0*y_true&reduction=mean"
    assert "Least at p = 0.500" in square["least"]
    # The last curves stay beside the reason.
    assert "'y_pred**3' is not part of a formula" in bad["message"]
    assert bad["pictures"] == square["pictures"]
    assert f4["message"] == ""
    assert f4["chosen"] == "f4"
    assert linked["least"].startswith("Least at the end, p = 1")
