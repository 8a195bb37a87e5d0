// Reads formulas for the loss explorer, and computes losses.
//
// Formulas follow the rules of nglkeras.expression. math.js only turns them into a tree, of which a
// whitelist is read; neither math.js nor the browser evaluates anything. Unlike Python's parser,
// this one refuses a comma after the last argument, a backslash at the end of a line, and
// parentheses around the name of a function.
"use strict";

(() => {
  const { epsilon, limits, names, instead, keywords } = window.explorerData;

  // Each operator: its value, and its derivative by each argument.
  const OPERATORS = {
    add: [(x, y) => x + y, () => 1, () => 1],
    sub: [(x, y) => x - y, () => 1, () => -1],
    mul: [(x, y) => x * y, (x, y) => y, (x) => x],
    div: [(x, y) => x / (y + epsilon), (x, y) => 1 / (y + epsilon), (x, y) => -x * inverse(y) ** 2],
    neg: [(x) => -x, () => -1],
    sqrt: [root, (x) => (Math.sign(x) * 0.5) / root(x)],
    log: [(x) => Math.log(Math.abs(x) + epsilon), (x) => Math.sign(x) / (Math.abs(x) + epsilon)],
    exp: [Math.exp, Math.exp],
    sin: [Math.sin, Math.cos],
    cos: [Math.cos, (x) => -Math.sin(x)],
    square: [(x) => x * x, (x) => 2 * x],
  };
  const INFIX = { add: "add", subtract: "sub", multiply: "mul", divide: "div" };
  const NUMBER =
    /0[xX](?:_?[\da-fA-F])+|0[oO](?:_?[0-7])+|0[bB](?:_?[01])+|(?:\d[\d_]*\.?[\d_]*|\.\d[\d_]*)(?:[eE][-+]?\d+)?/;
  const TOKEN = new RegExp(
    `(\\s+|#[^\\n]*)|(${NUMBER.source})|([A-Za-z_]\\w*)|\\*\\*|[-+*/(),]`,
    "y",
  );

  function root(x) {
    return Math.sqrt(Math.abs(x) + epsilon);
  }

  function inverse(y) {
    return 1 / (y + epsilon);
  }

  // A wrong formula, described in one line.
  class UserError extends Error {}

  function refuse(message) {
    throw new UserError(message);
  }

  function unknown(kind, name, valid) {
    refuse(`unknown ${kind} '${name}'; choose from: ${Object.keys(valid).join(", ")}`);
  }

  function shown(text) {
    const line = text.trim().split(/\s+/).join(" ");
    return `'${line.length <= 60 ? line : line.slice(0, 57) + "..."}'`;
  }

  function notPart(text) {
    const valid = `+ - * / **2, numbers, ${Object.keys(names).join(", ")}`;
    const functions = Object.keys(OPERATORS).join(", ");
    refuse(
      `${shown(text)} is not part of a formula; valid are ${valid}, and the functions ${functions}`,
    );
  }

  function checkCharacters(formula) {
    [...formula].forEach((character, index) => {
      if (/^[ -~\s]$/.test(character) && character < "\x7f") return;
      const code = character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0");
      const quoted = /[\p{C}\p{Z}]/u.test(character) ? `U+${code}` : `'${character}' (U+${code})`;
      refuse(`a formula cannot have ${quoted}, as at position ${index + 1}: ${advice(character)}`);
    });
  }

  function advice(character) {
    if (/[\p{Cc}\p{Cf}\p{Pi}\p{Pf}]/u.test(character)) return "leave it out";
    if (/\p{Z}/u.test(character)) return "write a space";
    const plain = instead[character] ?? character.normalize("NFKC");
    const isPlain = /^[ -~]+$/.test(plain) && (character in instead || !/\p{No}/u.test(character));
    if (isPlain) return `write ${plain}`;
    return "write it in ASCII, e.g. a number, y_true for the label, y_pred for the prediction";
  }

  // Return the formula in the syntax of math.js, every name with a mark behind it: names that have a
  // meaning for math.js, such as mod, are unknown names here. Where Python ends a formula, at the end
  // of a line outside parentheses, stands a semicolon.
  function translated(formula) {
    let text = "";
    let open = 0;
    for (TOKEN.lastIndex = 0; TOKEN.lastIndex < formula.length;) {
      const start = TOKEN.lastIndex;
      const found = TOKEN.exec(formula);
      if (found === null) notPart(formula.slice(start).match(/^\W\w*/)?.[0] ?? formula);
      const [token, space, number, name] = found;
      if (name && keywords.includes(name)) refuse(`${shown(formula)} is not a formula`);
      open += (token === "(") - (token === ")");
      if (space) text += token.includes("\n") && open === 0 ? "; " : " ";
      else if (number) text += `${plainNumber(number, formula)} `;
      else text += name ? `${name}_ ` : token.replace("**", "^");
    }
    return text.replace(/^[\s;]+|[\s;]+$/g, "");
  }

  function plainNumber(number, formula) {
    const wrong = /^0[0_]*[1-9_][\d_]*$|__|_$|_[.eE]|\._/.test(number);
    if (wrong) refuse(`${shown(formula)} is not a formula`);
    const value = Number(number.replaceAll("_", ""));
    return Number.isFinite(value) ? String(value) : "1e999";
  }

  // Return the operators, terminals and constants of a formula in prefix order.
  function parse(formula) {
    if (formula.length > limits.length) {
      refuse(`a formula of ${formula.length} characters; at most ${limits.length}`);
    }
    formula = formula.replace(/^\ufeff/, "");
    checkCharacters(formula);
    const text = translated(formula);
    let tree = null;
    try {
      tree = math.parse(text);
      // math.js takes "2 y_pred" as a product.
      if (text === "" || tree.filter((node) => node.implicit).length > 0) tree = null;
    } catch {
      // It is no formula, or nested too deeply for math.js.
    }
    if (tree === null) refuse(`${shown(formula)} is not a formula`);
    const nodes = nodesOf(tree, formula, 0);
    for (const node of nodes) {
      if (typeof node === "number" && !(Math.abs(node) <= limits.constant)) {
        refuse(`a constant is not within ±${limits.shown}`);
      }
    }
    if (nodes.length > limits.size) {
      refuse(`an expression of ${nodes.length} nodes; at most ${limits.size}`);
    }
    return nodes;
  }

  function bare(node) {
    return node.isParenthesisNode ? bare(node.content) : node;
  }

  function nodesOf(given, formula, depth) {
    if (depth > limits.height) refuse(`${shown(formula)} is nested deeper than ${limits.height}`);
    const node = bare(given);
    const convert = (argument) => nodesOf(argument, formula, depth + 1);
    if (node.isConstantNode && typeof node.value === "number") return [node.value];
    if (node.isSymbolNode) {
      const name = node.name.slice(0, -1);
      return Object.hasOwn(names, name) ? [names[name]] : unknown("name", name, names);
    }
    if (node.isFunctionNode && node.fn.isSymbolNode) return call(node, convert);
    if (node.isOperatorNode) {
      const [first, second] = node.args.map(bare);
      if (node.fn === "unaryPlus") return convert(first);
      if (node.fn === "unaryMinus") {
        return first.isConstantNode ? [0 - first.value] : ["neg", ...convert(first)];
      }
      if (node.fn === "pow" && second.value === 2) return ["square", ...convert(first)];
      if (Object.hasOwn(INFIX, node.fn)) {
        return [INFIX[node.fn], ...convert(first), ...convert(second)];
      }
    }
    const text = node.toString().replaceAll(" ^ ", "**");
    return notPart(text.replace(/(\w)_\b/g, "$1"));
  }

  function call(node, convert) {
    const name = node.fn.name.slice(0, -1);
    if (!Object.hasOwn(OPERATORS, name)) unknown("function", name, OPERATORS);
    const arity = OPERATORS[name].length - 1;
    if (node.args.length !== arity) {
      refuse(`${name} takes ${arity} argument${arity > 1 ? "s" : ""}, not ${node.args.length}`);
    }
    return [name, ...node.args.flatMap(convert)];
  }

  // Return the loss of a class and its derivative by the prediction.
  function evaluate(nodes, t, p) {
    const leaves = { y_true: [t, 0], y_pred: [p, 1] };
    const stack = [];
    for (const node of nodes.toReversed()) {
      if (!(node in OPERATORS)) {
        stack.push(leaves[node] ?? [node, 0]);
        continue;
      }
      const [value, ...slopes] = OPERATORS[node];
      const pairs = slopes.map(() => stack.pop());
      const values = pairs.map(([argument]) => argument);
      const terms = slopes.map((slope, index) => slope(...values) * pairs[index][1]);
      stack.push([value(...values), terms.reduce((sum, term) => sum + term)]);
    }
    return stack[0];
  }

  // Return the loss of predictions (p, 1 - p) for the label (1, 0), and its derivative by p.
  function binary(nodes, isMean, p) {
    const [right, rightSlope] = evaluate(nodes, 1, p);
    const [wrong, wrongSlope] = evaluate(nodes, 0, 1 - p);
    const factor = isMean ? 0.5 : 1;
    return [factor * (right + wrong), factor * (rightSlope - wrongSlope)];
  }

  // Return the length of a sample's gradient by the logits where all predictions are equal.
  function sizeAtUniform(nodes, isMean, classes) {
    const p = 1 / classes;
    const own = evaluate(nodes, 1, p)[1];
    const other = evaluate(nodes, 0, p)[1];
    const mean = p * (own + (classes - 1) * other);
    const size = p * Math.hypot(own - mean, Math.sqrt(classes - 1) * (other - mean));
    return isMean ? size / classes : size;
  }

  // Return where a function is least between 0 and 1, from its values on a grid.
  function leastOf(curve, grid, values) {
    const finite = values.map((value) => (Number.isFinite(value) ? value : Infinity));
    const index = finite.indexOf(Math.min(...finite));
    let [low, high] = [grid[Math.max(index - 1, 0)], grid[Math.min(index + 1, grid.length - 1)]];
    const isEnd = index === 0 || index === grid.length - 1;
    for (let step = 0; step < 60 && !isEnd; step++) {
      const [left, right] = [low + 0.382 * (high - low), high - 0.382 * (high - low)];
      if (curve(left) < curve(right)) high = right;
      else low = left;
    }
    const p = isEnd ? grid[index] : (low + high) / 2;
    return { p, value: curve(p), isEnd };
  }

  window.explorer = { UserError, parse, evaluate, binary, sizeAtUniform, leastOf };
})();
