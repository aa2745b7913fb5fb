// Arithmetic expressions over whole numbers: parse, evaluate exactly, write. The text may come from a model, so length and depth are
// bounded and nothing is ever executed. Leaves out unary minus, decimals, powers and implied multiplication.
import { InputError } from "../errors.js";

export type Operator = "+" | "-" | "*" | "/";

export type Expression = number | Operation;

export interface Operation {
  readonly operator: Operator;
  readonly left: Expression;
  readonly right: Expression;
}

/** numerator / denominator, not reduced; the denominator is not 0 and may be negative. */
export interface Fraction {
  readonly numerator: number;
  readonly denominator: number;
}

export type ParseFailure = "empty" | "syntax" | "too long" | "too deep";

export type ParseResult = { readonly expression: Expression } | { readonly failure: ParseFailure };

export const MAX_EXPRESSION_LENGTH = 512; // UTF-16 units
export const MAX_EXPRESSION_DEPTH = 32; // open parentheses
const MAX_DIGITS = 15; // 10^15 - 1 is a safe integer

const OPERATORS: ReadonlyMap<string, Operator> = new Map([
  ["+", "+"],
  ["-", "-"],
  ["\u2212", "-"], // minus sign
  ["*", "*"],
  ["\u00d7", "*"], // multiplication sign
  ["/", "/"],
  ["\u00f7", "/"], // division sign
]);

const BLANKS = " \t\n\r";
const ZERO = 48; // UTF-16 code of "0"
const NINE = 57;

function isDigit(code: number): boolean {
  return code >= ZERO && code <= NINE;
}

function precedence(operator: Operator | "("): number {
  if (operator === "(") return 0;
  return operator === "+" || operator === "-" ? 1 : 2;
}

/** Two stacks (Dijkstra's shunting yard), so that no input can exhaust the call stack. */
class Parser {
  private readonly values: Expression[] = [];
  private readonly pending: (Operator | "(")[] = [];
  private depth = 0;
  private wantsValue = true;

  /** The expression that `text` is, or why it is none. */
  read(text: string): ParseFailure | Expression {
    for (let at = 0; at < text.length; ) {
      const taken = this.readToken(text[at]!, text, at);
      if (typeof taken === "string") return taken;
      at += taken;
    }
    if (this.values.length === 0 && this.pending.length === 0) return "empty";
    if (this.wantsValue || this.depth > 0) return "syntax";
    this.reduceTo(1);
    return this.values[0]!;
  }

  /** Takes one token; returns the characters it took. */
  private readToken(character: string, text: string, at: number): ParseFailure | number {
    if (BLANKS.includes(character)) return 1;
    if (character === "(") return this.open();
    if (character === ")") return this.close();
    const operator = OPERATORS.get(character);
    return operator === undefined ? this.number(text, at) : this.operator(operator);
  }

  private number(text: string, at: number): ParseFailure | number {
    let end = at;
    while (isDigit(text.charCodeAt(end))) end++;
    if (end === at || !this.wantsValue) return "syntax";
    if (end - at > MAX_DIGITS) return "too long";
    this.values.push(Number(text.slice(at, end)));
    this.wantsValue = false;
    return end - at;
  }

  private operator(operator: Operator): ParseFailure | number {
    if (this.wantsValue) return "syntax";
    this.reduceTo(precedence(operator));
    this.pending.push(operator);
    this.wantsValue = true;
    return 1;
  }

  private open(): ParseFailure | number {
    if (!this.wantsValue) return "syntax";
    if (++this.depth > MAX_EXPRESSION_DEPTH) return "too deep";
    this.pending.push("(");
    return 1;
  }

  private close(): ParseFailure | number {
    if (this.wantsValue || this.depth === 0) return "syntax";
    this.reduceTo(1);
    this.pending.pop(); // the "("
    this.depth--;
    return 1;
  }

  /** Applies pending operators that bind at least as tightly as `level`. */
  private reduceTo(level: number): void {
    for (let top = this.pending.at(-1); top !== undefined && precedence(top) >= level; top = this.pending.at(-1)) {
      this.pending.pop();
      const right = this.values.pop()!;
      const left = this.values.pop()!;
      this.values.push({ operator: top as Operator, left, right });
    }
  }
}

/** Whole numbers, + - * / (also the signs for minus, times and divided by), parentheses, blanks. Never throws. */
export function parseExpression(text: string): ParseResult {
  if (text.length > MAX_EXPRESSION_LENGTH) return { failure: "too long" };
  const read = new Parser().read(text);
  return typeof read === "string" ? { failure: read } : { expression: read };
}

/** The numbers of an expression, left to right. */
export function numbersOf(expression: Expression): number[] {
  const numbers: number[] = [];
  collectNumbers(expression, numbers);
  return numbers;
}

function collectNumbers(expression: Expression, into: number[]): void {
  if (typeof expression === "number") {
    into.push(expression);
    return;
  }
  collectNumbers(expression.left, into);
  collectNumbers(expression.right, into);
}

/**
 * Whether every expression that uses each of these numbers at most once is evaluated without rounding. With size(n / d) = |n| + |d|,
 * the size of a result is at most the product of the sizes of its operands, so the product of (number + 1) bounds every part.
 */
export function staysExact(numbers: readonly number[]): boolean {
  return numbers.reduce((product, number) => product * (number + 1), 1) <= Number.MAX_SAFE_INTEGER;
}

/** left op right, exact as long as `staysExact`; null for a division by zero. */
export function combine(left: Fraction, operator: Operator, right: Fraction): Fraction | null {
  const { numerator: a, denominator: b } = left;
  const { numerator: c, denominator: d } = right;
  if (operator === "+") return { numerator: a * d + c * b, denominator: b * d };
  if (operator === "-") return { numerator: a * d - c * b, denominator: b * d };
  if (operator === "*") return { numerator: a * c, denominator: b * d };
  return c === 0 ? null : { numerator: a * d, denominator: b * c };
}

/** Exact: the quotient may be rounded, so the remainder has the last word. */
export function equalsInteger(value: Fraction, integer: number): boolean {
  return value.numerator / value.denominator === integer && value.numerator % value.denominator === 0;
}

function value(expression: Expression): Fraction | null {
  if (typeof expression === "number") return { numerator: expression, denominator: 1 };
  const left = value(expression.left);
  const right = value(expression.right);
  return left === null || right === null ? null : combine(left, expression.operator, right);
}

/** The exact value; null for a division by zero. Throws InputError EXPRESSION_TOO_LARGE where not `staysExact(numbersOf(...))`. */
export function evaluate(expression: Expression): Fraction | null {
  if (!staysExact(numbersOf(expression))) {
    throw new InputError(
      "EXPRESSION_TOO_LARGE",
      "[evaluate] expected numbers whose (n + 1) multiply to less than 2^53, got larger ones. Use fewer or smaller numbers.",
    );
  }
  return value(expression);
}

/** Text with as few parentheses as the value allows. */
export function formatExpression(expression: Expression): string {
  if (typeof expression === "number") return String(expression);
  const { operator, left, right } = expression;
  return `${formatOperand(left, operator, false)} ${operator} ${formatOperand(right, operator, true)}`;
}

function formatOperand(operand: Expression, parent: Operator, isRight: boolean): string {
  const text = formatExpression(operand);
  if (typeof operand === "number") return text;
  const level = precedence(operand.operator) - precedence(parent);
  const keeps = level < 0 || (level === 0 && isRight && (parent === "-" || parent === "/"));
  return keeps ? `(${text})` : text;
}
