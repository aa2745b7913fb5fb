import { describe, expect, test } from "vitest";
import { type Random, random } from "../../src/data/random.js";
import {
  type Expression,
  evaluate,
  formatExpression,
  MAX_EXPRESSION_DEPTH,
  numbersOf,
  parseExpression,
  staysExact,
} from "../../src/tasks/expression.js";

const OPERATORS = ["+", "-", "*", "/"] as const;

function parsed(text: string): Expression {
  const result = parseExpression(text);
  if ("failure" in result) throw new Error(`${text}: ${result.failure}`);
  return result.expression;
}

function quotientOf(text: string): number | null {
  const value = evaluate(parsed(text));
  return value === null ? null : value.numerator / value.denominator;
}

function randomExpression(stream: Random, leaves: number): Expression {
  if (leaves === 1) return stream.int(13);
  const left = 1 + stream.int(leaves - 1);
  return {
    operator: stream.choice(OPERATORS),
    left: randomExpression(stream, left),
    right: randomExpression(stream, leaves - left),
  };
}

/** [numerator, denominator] in BigInt, or null for a division by zero. */
function slowValue(expression: Expression): [bigint, bigint] | null {
  if (typeof expression === "number") return [BigInt(expression), 1n];
  const left = slowValue(expression.left);
  const right = slowValue(expression.right);
  if (left === null || right === null) return null;
  const [a, b] = left;
  const [c, d] = right;
  if (expression.operator === "+") return [a * d + c * b, b * d];
  if (expression.operator === "-") return [a * d - c * b, b * d];
  if (expression.operator === "*") return [a * c, b * d];
  return c === 0n ? null : [a * d, b * c];
}

/** Whether rewriting `N op N` and `(N)` to `N` leaves a single N: a grammar check without a parser. */
function reduces(text: string): boolean {
  let form = text.replace(/\d+/g, "N").replace(/N\s+(?=N)/g, "NN");
  form = form.replace(/\s/g, "");
  for (let before = ""; before !== form; ) {
    before = form;
    form = form.replace(/N[-+*/]N/g, "N").replace(/\(N\)/g, "N");
  }
  return form === "N";
}

describe("parse", () => {
  test.each([
    ["1 + 2 * 3", 7],
    ["(1 + 2) * 3", 9],
    ["8 - 3 - 2", 3],
    ["24 / 4 / 3", 2],
    ["2*3+4*5", 26],
    ["10\u22124\u00d72\u00f78", 9],
    [" ( ( 7 ) ) ", 7],
    ["007", 7],
    ["8 / (3 - 8 / 3)", 24],
  ])("%s = %d", (text, value) => {
    expect(quotientOf(text)).toBe(value);
  });

  test.each([
    ["", "empty"],
    [" \t\n", "empty"],
    ["-1 + 2", "syntax"],
    ["3 * -1", "syntax"],
    ["+ 1", "syntax"],
    ["1 +", "syntax"],
    ["1 2", "syntax"],
    ["2 (3)", "syntax"],
    ["(2) (3)", "syntax"],
    ["()", "syntax"],
    ["(1", "syntax"],
    ["1)", "syntax"],
    [")(", "syntax"],
    ["1.5", "syntax"],
    ["1e3", "syntax"],
    ["0x10", "syntax"],
    ["2 ** 3", "syntax"],
    ["7 // 2", "syntax"],
    ["1 = 1", "syntax"],
    ["constructor", "syntax"],
    ["process.exit()", "syntax"],
    ["\u0661 + 1", "syntax"], // an Arabic digit
    ["\uff11", "syntax"], // a full-width digit
    ["1\0", "syntax"],
    ["9999999999999999", "too long"],
  ])("refuses %j: %s", (text, failure) => {
    expect(parseExpression(text)).toEqual({ failure });
  });

  test("hostile lengths and depths end at once", () => {
    expect(parseExpression("(".repeat(1_000_000))).toEqual({ failure: "too long" });
    expect(parseExpression("1+".repeat(1_000_000))).toEqual({ failure: "too long" });
    expect(parseExpression("(".repeat(500))).toEqual({ failure: "too deep" });
    const nested = (depth: number) => `${"(".repeat(depth)}1${")".repeat(depth)}`;
    expect(quotientOf(nested(MAX_EXPRESSION_DEPTH))).toBe(1);
    expect(parseExpression(nested(MAX_EXPRESSION_DEPTH + 1))).toEqual({ failure: "too deep" });
    expect(quotientOf(`${"0+".repeat(255)}1`)).toBe(1);
  });

  test("accepts exactly what the grammar reduces to a number", () => {
    const stream = random(11);
    const pieces = ["1", "12", "7", "+", "-", "*", "/", "(", ")", " "];
    let accepted = 0;
    for (let i = 0; i < 20_000; i++) {
      const text = Array.from({ length: 1 + stream.int(9) }, () => stream.choice(pieces)).join("");
      const valid = "expression" in parseExpression(text);
      expect(`${text}: ${valid}`).toBe(`${text}: ${reduces(text)}`);
      if (valid) accepted++;
    }
    expect(accepted).toBeGreaterThan(500);
  });
});

describe("evaluate", () => {
  test("agrees with BigInt fractions, and text keeps the value", () => {
    const stream = random(12);
    for (let i = 0; i < 3_000; i++) {
      const expression = randomExpression(stream, 1 + stream.int(8));
      const slow = slowValue(expression);
      const fast = evaluate(expression);
      const again = evaluate(parsed(formatExpression(expression)));
      if (slow === null) {
        expect([fast, again]).toEqual([null, null]);
        continue;
      }
      expect([BigInt(fast!.numerator), BigInt(fast!.denominator)]).toEqual(slow);
      expect(BigInt(again!.numerator) * slow[1]).toBe(BigInt(again!.denominator) * slow[0]);
    }
  });

  test("what could round is refused", () => {
    expect(staysExact([94_906_264, 94_906_264])).toBe(true);
    expect(staysExact([94_906_266, 94_906_266])).toBe(false);
    expect(() => evaluate(parsed("94906266 * 94906266"))).toThrow(/\[evaluate\] expected numbers/);
  });

  test("numbers come in reading order", () => {
    expect(numbersOf(parsed("5 * (4 - 3) + 2 / 1"))).toEqual([5, 4, 3, 2, 1]);
  });

  test("text has no needless parentheses", () => {
    const written = ["((1)+(2*3))", "(1+2)*3", "1-(2-3)", "1-(2+3)", "8/(4/2)", "1+(2-3)", "2*(3*4)", "2*(3/4)"];
    expect(written.map((text) => formatExpression(parsed(text)))).toEqual([
      "1 + 2 * 3",
      "(1 + 2) * 3",
      "1 - (2 - 3)",
      "1 - (2 + 3)",
      "8 / (4 / 2)",
      "1 + 2 - 3",
      "2 * 3 * 4",
      "2 * 3 / 4",
    ]);
  });
});
