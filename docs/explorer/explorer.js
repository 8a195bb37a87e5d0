// The page of the loss explorer: draws the formula in its field at once.
//
// formula.js reads formulas and computes losses, losses.js holds the losses to choose from.
"use strict";

(() => {
  const { UserError, parse, evaluate, binary, sizeAtUniform, leastOf } = window.explorer;
  const { losses, left_out: leftOut } = window.explorerData;
  // As in figure 1 of the paper, without the poles at 0 and 1.
  const GRID = Array.from({ length: 500 }, (_, index) => (index + 1) / 501);
  const CROSS_ENTROPY = ["neg", "mul", "y_true", "log", "y_pred"];
  const ONE_CLASS = [
    { label: "true class, t = 1", color: "--explorer-first" },
    { label: "another class, t = 0", color: "--explorer-second", dash: [8, 4] },
  ];
  const TWO_CLASSES = [
    { label: "this loss", color: "--explorer-first" },
    { label: "cross entropy", color: "--explorer-other", dash: [3, 3] },
  ];
  const page = Object.fromEntries(
    [...document.querySelectorAll("[id^=explorer-]")].map((one) => [one.id.slice(9), one]),
  );
  const plots = [];
  let last = null;

  function shown(number) {
    if (!Number.isFinite(number)) return "not finite";
    const isTiny = number !== 0 && Math.abs(number) < 1e-3;
    return isTiny ? number.toExponential(3) : String(Number(number.toPrecision(4)));
  }

  function colorOf(name) {
    return getComputedStyle(page.plots).getPropertyValue(name).trim();
  }

  // Return the limits of an axis, which cut off poles at the ends of curves.
  function limitsOf(curves) {
    const ends = curves.flatMap((values) => {
      const sorted = values.filter(Number.isFinite).sort((a, b) => a - b);
      if (sorted.length === 0) return [];
      const at = (share) => sorted[Math.round(share * (sorted.length - 1))];
      const margin = 0.15 * (at(0.97) - at(0.03));
      return [Math.max(at(0), at(0.03) - margin), Math.min(at(1), at(0.97) + margin)];
    });
    const [low, high] = ends.length ? [Math.min(...ends), Math.max(...ends)] : [0, 1];
    const margin = 0.04 * (high - low) || 0.1 * Math.abs(high) || 1;
    return [low - margin, high + margin];
  }

  // Curves that are much higher than the first get an axis of their own, or it would look flat.
  function scalesOf(curves) {
    const [own, all] = [limitsOf(curves.slice(0, 1)), limitsOf(curves)];
    const ratio = (all[1] - all[0]) / (own[1] - own[0]);
    return ratio < 10 ? { left: all } : { left: own, right: limitsOf(curves.slice(1)) };
  }

  function described(title, series, curves, mark) {
    const parts = curves.map((values, index) => {
      const finite = values.filter(Number.isFinite);
      const ends = `from ${shown(values[0])} near p = 0 to ${shown(values.at(-1))} near p = 1`;
      const range = `between ${shown(Math.min(...finite))} and ${shown(Math.max(...finite))}`;
      return `${series[index].label}: ${ends}, ${finite.length ? range : "nowhere finite"}`;
    });
    const least = mark ? ` ${mark.text}` : "";
    return `${title} against the prediction p. ${parts.join("; ")}.${least}`;
  }

  function draw(place, series, curves, mark) {
    const title = place.dataset.title;
    place.setAttribute("aria-label", described(title, series, curves, mark));
    place.replaceChildren();
    const { right, left } = scalesOf(curves);
    const text = colorOf("--md-default-fg-color--light") || "gray";
    const grid = { stroke: colorOf("--md-default-fg-color--lightest") || "lightgray", width: 1 };
    const axis = { stroke: text, grid, ticks: grid, size: 56 };
    const options = {
      title: right ? `${title} (cross entropy: right axis)` : title,
      width: place.clientWidth,
      height: 260,
      scales: { x: { time: false, range: [0, 1] }, left: { range: left }, right: { range: right } },
      axes: [
        { ...axis, size: 32, label: "p", labelSize: 18, labelGap: 0 },
        { ...axis, scale: "left" },
        ...(right ? [{ ...axis, scale: "right", side: 1, grid: { show: false } }] : []),
      ],
      series: [
        { label: "p", value: (_, p) => (p === null ? "–" : p.toFixed(3)) },
        ...series.map(({ label, color, dash }, index) => ({
          label,
          dash,
          stroke: colorOf(color),
          width: 2,
          scale: right && index ? "right" : "left",
          value: (_, value) => (value === null ? "–" : shown(value)),
        })),
      ],
      cursor: { drag: { x: false, y: false } },
      hooks: { draw: mark ? [(plot) => drawMark(plot, mark.p, text)] : [] },
    };
    const finite = curves.map((values) => values.map((y) => (Number.isFinite(y) ? y : null)));
    plots.push(new uPlot(options, [GRID, ...finite], place));
  }

  function drawMark({ ctx, bbox, valToPos }, p, color) {
    const x = valToPos(p, "x", true);
    ctx.save();
    ctx.strokeStyle = ctx.fillStyle = color;
    ctx.lineWidth = devicePixelRatio;
    ctx.setLineDash([4, 4]);
    ctx.beginPath();
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
    ctx.font = `${12 * devicePixelRatio}px sans-serif`;
    ctx.textAlign = p < 0.6 ? "left" : "right";
    const beside = (p < 0.6 ? 5 : -5) * devicePixelRatio;
    ctx.fillText(`min ${p.toFixed(3)}`, x + beside, bbox.top + 14 * devicePixelRatio);
    ctx.restore();
  }

  function rows(table, lines) {
    const body = lines.map((cells) => {
      const row = document.createElement("tr");
      cells.forEach((cell, index) => {
        const element = row.appendChild(document.createElement(index ? "td" : "th"));
        element.textContent = cell;
        if (index === 0) element.scope = "row";
      });
      return row;
    });
    table.tBodies[0].replaceChildren(...body);
  }

  function leastOfBinary(nodes, isMean, values) {
    const least = leastOf((p) => binary(nodes, isMean, p)[0], GRID, values);
    const value = shown(least.value);
    if (values.every((one) => one === values[0])) return { text: "It does not depend on p." };
    if (!least.isEnd) {
      return { ...least, text: `Least at p = ${least.p.toFixed(3)}, where it is ${value}.` };
    }
    return { text: `Least at the end, p = ${Math.round(least.p)}: ${value} at ${shown(least.p)}.` };
  }

  function drawAll({ nodes, isMean }) {
    plots.splice(0).forEach((plot) => plot.destroy());
    const classes = [1, 0].map((t) => GRID.map((p) => evaluate(nodes, t, p)));
    const pairs = [
      GRID.map((p) => binary(nodes, isMean, p)),
      GRID.map((p) => binary(CROSS_ENTROPY, false, p)),
    ];
    const [values, slopes] = [0, 1].map((part) => pairs.map((curve) => curve.map((y) => y[part])));
    const least = leastOfBinary(nodes, isMean, values[0]);
    const of = (part) => classes.map((curve) => curve.map((y) => y[part]));
    draw(page.value, ONE_CLASS, of(0));
    draw(page.gradient, ONE_CLASS, of(1));
    draw(page.binary, TWO_CLASSES, values, least.p === undefined ? null : least);
    draw(page.slope, TWO_CLASSES, slopes);
    page.least.textContent = least.text;
    const sizes = [2, 10, 100].map((count) => {
      const [own, other] = [
        sizeAtUniform(nodes, isMean, count),
        sizeAtUniform(CROSS_ENTROPY, false, count),
      ];
      return [`${count} classes`, shown(own), shown(other), shown(own / other)];
    });
    rows(page.sizes, sizes);
    showPoint();
  }

  function showPoint() {
    const p = Number(page.p.value);
    page.at.textContent = p.toFixed(2);
    const { nodes, isMean } = last;
    const pairs = [
      ["true class, t = 1", evaluate(nodes, 1, p)],
      ["another class, t = 0", evaluate(nodes, 0, p)],
      ["two classes", binary(nodes, isMean, p)],
      ["cross entropy of two classes", binary(CROSS_ENTROPY, false, p)],
    ];
    rows(
      page.point,
      pairs.map(([label, pair]) => [label, ...pair.map(shown)]),
    );
  }

  // Draw the formula in the field, or say what is wrong with it and leave the last one drawn.
  function update({ keepsAddress = false } = {}) {
    const formula = page.formula.value;
    const chosen = losses.findIndex((one) => one.formula === formula);
    page.loss.value = String(chosen);
    try {
      last = { nodes: parse(formula), isMean: page.reduction.value === "mean" };
      page.message.textContent = "";
      page.formula.removeAttribute("aria-invalid");
    } catch (error) {
      if (!(error instanceof UserError)) throw error;
      page.message.textContent = error.message;
      page.formula.setAttribute("aria-invalid", "true");
      return;
    }
    drawAll(last);
    if (keepsAddress) return;
    const address = `#formula=${encodeURIComponent(formula)}&reduction=${page.reduction.value}`;
    history.replaceState(history.state, "", address);
  }

  function choose(loss) {
    page.formula.value = loss.formula;
    page.reduction.value = loss.reduction;
  }

  // Take formula and reduction from the address: #formula=...&reduction=sum.
  function readAddress() {
    const given = location.hash.match(/[#&]formula=([^&]*)/);
    if (given === null) return false;
    try {
      page.formula.value = decodeURIComponent(given[1]);
    } catch {
      page.formula.value = given[1];
    }
    const known = losses.find((one) => one.formula === page.formula.value);
    const reduction = location.hash.match(/[#&]reduction=(mean|sum)\b/)?.[1];
    page.reduction.value = reduction ?? known?.reduction ?? "mean";
    return true;
  }

  function fillList() {
    page.loss.append(new Option("your own", "-1"));
    for (const group of new Set(losses.map((one) => one.group))) {
      const element = page.loss.appendChild(document.createElement("optgroup"));
      element.label = group;
      losses.forEach((loss, index) => {
        if (loss.group === group) element.append(new Option(loss.label, String(index)));
      });
    }
    const reasons = leftOut.map(({ name, why }) => `${name} (${why})`);
    page.left.textContent = `The grammar cannot write ${reasons.join(", ")}.`;
  }

  fillList();
  choose(losses.find((one) => one.name === "NGL"));
  readAddress();
  update({ keepsAddress: true });
  if (last === null) {
    // The address holds no formula; its message stays beside the curves of NGL.
    last = { nodes: parse(losses.find((one) => one.name === "NGL").formula), isMean: true };
    drawAll(last);
  }
  page.formula.addEventListener("input", () => update());
  page.reduction.addEventListener("change", () => update());
  page.p.addEventListener("input", showPoint);
  page.loss.addEventListener("change", () => {
    if (page.loss.value !== "-1") choose(losses[Number(page.loss.value)]);
    update();
  });
  window.addEventListener("hashchange", () => readAddress() && update({ keepsAddress: true }));
  // Colours follow the theme, and plots the width of the page.
  const scheme = { attributeFilter: ["data-md-color-scheme"] };
  new MutationObserver(() => drawAll(last)).observe(document.body, scheme);
  new ResizeObserver(() => {
    plots.forEach((plot) =>
      plot.setSize({ width: plot.root.parentElement.clientWidth, height: 260 }),
    );
  }).observe(page.plots);
})();
