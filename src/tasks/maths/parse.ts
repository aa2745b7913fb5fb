// Recursive descent over tokens to an expression tree. Multiplication may be left out; 2\frac12 is a mixed number; \frac12 takes one digit
// each, while x^10 and \sqrt13 take both, as people mean it. Depth is bounded, so no text can exhaust the call stack.
import type { MathsExpression } from "./expression.js";
import { add, decimal, isInteger, type Rational, rational, ZERO } from "./rational.js";
import type { Token } from "./tokens.js";

const MAX_DEPTH = 48; // open brackets, signs, exponents and arguments
const NOTHING: MathsExpression = { op: "number", value: ZERO };
const TWO: MathsExpression = { op: "number", value: { numerator: 2n, denominator: 1n } };
const TEN: MathsExpression = { op: "number", value: { numerator: 10n, denominator: 1n } };
const CLOSING: ReadonlyMap<string, string> = new Map([
  ["(", ")"],
  ["[", "]"],
  ["{", "}"],
  ["lfloor", "rfloor"],
  ["lceil", "rceil"],
]);
const FACTOR_KINDS: ReadonlySet<string> = new Set(["number", "name", "function", "command"]);
const INVERSES: Readonly<Record<string, string>> = {
  sin: "arcsin",
  cos: "arccos",
  tan: "arctan",
};

/** After a fault it stands at the end of the text, so that everything returns; `failed` then says so. */
class Parser {
  private readonly tokens: Token[];
  private at = 0;
  private depth = 0;
  private bars = 0; // open |
  private failed = false;

  constructor(tokens: readonly Token[]) {
    this.tokens = [...tokens];
  }

  read(): MathsExpression | null {
    if (this.tokens.length === 0) return null;
    const expression = this.sum();
    return this.failed || this.at < this.tokens.length ? null : expression;
  }

  private fail(): MathsExpression {
    this.failed = true;
    this.at = this.tokens.length;
    return NOTHING;
  }

  private isSymbol(text: string, ahead = 0): boolean {
    const token = this.tokens[this.at + ahead];
    return token?.kind === "symbol" && token.text === text;
  }

  private take(text: string): boolean {
    if (!this.isSymbol(text)) return false;
    this.at++;
    return true;
  }

  /** `read` one level deeper. */
  private deeper(read: () => MathsExpression): MathsExpression {
    if (this.depth >= MAX_DEPTH) return this.fail();
    this.depth++;
    const expression = read();
    this.depth--;
    return expression;
  }

  private sum(): MathsExpression {
    let left = this.product();
    for (;;) {
      if (this.take("+")) left = { op: "+", left, right: this.product() };
      else if (this.take("-")) left = { op: "-", left, right: this.product() };
      else return left;
    }
  }

  private product(): MathsExpression {
    let left = this.signed();
    for (;;) {
      if (this.take("*")) left = { op: "*", left, right: this.signed() };
      else if (this.take("/")) left = { op: "/", left, right: this.signed() };
      else if (this.startsFactor()) left = { op: "*", left, right: this.power() };
      else return left;
    }
  }

  /** Two numbers side by side are no product. */
  private startsFactor(): boolean {
    const token = this.tokens[this.at];
    if (token === undefined) return false;
    if (token.kind === "number") return this.tokens[this.at - 1]?.kind !== "number";
    if (token.kind === "symbol" && token.text === "|") return this.bars === 0;
    return (
      FACTOR_KINDS.has(token.kind) ||
      (token.kind === "symbol" && (CLOSING.has(token.text) || token.text === "infinity"))
    );
  }

  private signed(): MathsExpression {
    if (this.take("-")) return { op: "negate", of: this.deeper(() => this.signed()) };
    if (this.take("+")) return this.deeper(() => this.signed());
    return this.power();
  }

  private power(): MathsExpression {
    const left = this.postfix(this.atom());
    if (!this.take("^")) return left;
    return this.postfix({ op: "^", left, right: this.deeper(() => this.exponent()) });
  }

  private exponent(): MathsExpression {
    if (this.take("-")) return { op: "negate", of: this.deeper(() => this.exponent()) };
    if (this.take("+")) return this.deeper(() => this.exponent());
    const left = this.wholeNumber() ?? this.atom();
    return this.take("^") ? { op: "^", left, right: this.deeper(() => this.exponent()) } : left;
  }

  private postfix(of: MathsExpression): MathsExpression {
    if (this.take("!")) return this.postfix({ op: "factorial", of });
    if (this.take("%")) return this.postfix({ op: "percent", of });
    if (this.takeDegrees()) return this.postfix({ op: "degrees", of });
    return of;
  }

  private takeDegrees(): boolean {
    if (this.take("deg")) return true;
    const width = this.isSymbol("^") && this.isSymbol("deg", 1) ? 2 : 0;
    const grouped =
      this.isSymbol("^") && this.isSymbol("{", 1) && this.isSymbol("deg", 2) && this.isSymbol("}", 3) ? 4 : 0;
    this.at += width + grouped;
    return width + grouped > 0;
  }

  private atom(): MathsExpression {
    const token = this.tokens[this.at++];
    if (token === undefined) return this.fail();
    if (token.kind === "number") return this.number(token.text);
    if (token.kind === "name") return this.name(token.text);
    if (token.kind === "function") return this.call(token.text);
    if (token.kind === "command") return this.command(token.text);
    return token.kind === "symbol" ? this.bracket(token.text) : this.fail();
  }

  private bracket(open: string): MathsExpression {
    if (open === "infinity") return { op: "infinity" };
    if (open === "|") return this.absolute();
    const close = CLOSING.get(open);
    if (close === undefined) return this.fail();
    const bars = this.bars;
    this.bars = 0;
    const of = this.deeper(() => this.sum());
    this.bars = bars;
    if (!this.take(close)) return this.fail();
    return open === "lfloor" ? { op: "floor", of } : open === "lceil" ? { op: "ceil", of } : of;
  }

  private absolute(): MathsExpression {
    this.bars++;
    const of = this.deeper(() => this.sum());
    this.bars--;
    return this.take("|") ? { op: "abs", of } : this.fail();
  }

  private number(text: string): MathsExpression {
    const repeating = text.includes(".") ? this.repeating() : "";
    const whole = decimal(text, repeating);
    if (whole === null) return this.fail();
    const value = isInteger(whole) ? this.mixed(whole) : whole;
    return { op: "number", value };
  }

  /** Digits under an overline right behind a decimal; "" when there are none. */
  private repeating(): string {
    const line = this.tokens[this.at];
    const digits = this.tokens[this.at + 2];
    const isLine = line?.kind === "command" && (line.text === "overline" || line.text === "bar");
    if (!isLine || !this.isSymbol("{", 1) || digits?.kind !== "number" || !this.isSymbol("}", 3)) return "";
    if (digits.text.includes(".")) return "";
    this.at += 4;
    return digits.text;
  }

  /** `whole` plus the proper fraction of two whole numbers that follows, if one does: \frac{1}{2}, \frac12, 1/2. */
  private mixed(whole: Rational): Rational {
    const start = this.at;
    const fraction = this.properFraction();
    const sum = fraction === null ? null : add(whole, fraction);
    if (sum !== null) return sum;
    this.at = start;
    return whole;
  }

  private properFraction(): Rational | null {
    const next = this.tokens[this.at];
    if (next?.kind === "number" && this.isSymbol("/", 1)) {
      this.at += 2;
      const below = this.tokens[this.at++];
      return below?.kind === "number" ? properQuotient(next.text, below.text) : null;
    }
    if (next?.kind !== "command" || next.text !== "frac") return null;
    this.at++;
    const above = this.literal();
    const below = above === null ? null : this.literal();
    return above === null || below === null ? null : properQuotient(above, below);
  }

  /** Digits as an argument of \frac: in braces, or a single one; a longer number is cut into its digits. */
  private literal(): string | null {
    const grouped = this.take("{");
    const token = this.tokens[this.at++];
    if (token?.kind !== "number") return null;
    if (grouped) return this.take("}") ? token.text : null;
    if (token.text.length === 1) return token.text;
    this.at--;
    this.tokens.splice(this.at, 1, ...[...token.text].map((text): Token => ({ kind: "number", text })));
    return this.tokens[this.at++]!.text;
  }

  private name(text: string): MathsExpression {
    if (this.take("_")) return { op: "name", name: `${text}_${this.subscript()}` };
    return text === "pi" || text === "e" || text === "i" ? { op: "constant", name: text } : { op: "name", name: text };
  }

  private subscript(): string {
    const first = this.tokens[this.at++]?.text ?? "";
    if (first !== "{") return first;
    const start = this.at;
    while (this.at < this.tokens.length && !this.isSymbol("}")) this.at++;
    const text = this.tokens.slice(start, this.at).map((token) => token.text);
    return this.take("}") ? text.join("") : this.fail().op;
  }

  /** A group, or what TeX takes for one: a single digit of a number, else one atom. */
  private argument(): MathsExpression {
    const token = this.tokens[this.at];
    if (token?.kind === "number" && token.text.length > 1) {
      this.tokens[this.at] = { kind: "number", text: token.text.slice(1) };
      const value = decimal(token.text.slice(0, 1));
      return value === null ? this.fail() : { op: "number", value };
    }
    return this.wholeNumber() ?? this.deeper(() => this.atom());
  }

  /** The number that comes next, with all its digits and nothing behind it; null when none comes. */
  private wholeNumber(): MathsExpression | null {
    const token = this.tokens[this.at];
    if (token?.kind !== "number") return null;
    this.at++;
    const value = decimal(token.text);
    return value === null ? this.fail() : { op: "number", value };
  }

  private command(name: string): MathsExpression {
    if (name === "sqrt") return this.root();
    if (name === "overline" || name === "bar") return this.deeper(() => this.atom());
    const left = this.argument();
    const right = this.argument();
    return name === "frac" ? { op: "/", left, right } : { op: "choose", left, right };
  }

  private root(): MathsExpression {
    const index = this.isSymbol("[") ? this.deeper(() => this.atom()) : TWO;
    return { op: "root", of: this.wholeNumber() ?? this.argument(), index };
  }

  private call(written: string): MathsExpression {
    const base = this.take("_") ? this.argument() : null;
    const exponent = this.take("^") ? this.deeper(() => this.exponent()) : null;
    const isInverse = exponent?.op === "negate" && exponent.of.op === "number" && exponent.of.value.numerator === 1n;
    const name = isInverse ? INVERSES[written] : written;
    const of = this.deeper(() => this.callArgument());
    if (name === undefined || (base !== null && name !== "log")) return this.fail();
    const left: MathsExpression = name === "log" ? { op: "log", base: base ?? TEN, of } : { op: "call", name, of };
    return exponent === null || isInverse ? left : { op: "^", left, right: exponent };
  }

  /** A bracket, or factors side by side up to the next sign or function: \sin 2x \cos x. */
  private callArgument(): MathsExpression {
    if (this.isSymbol("(") || this.isSymbol("{") || this.isSymbol("[")) return this.postfix(this.atom());
    let left = this.power();
    while (this.startsFactor() && this.tokens[this.at]?.kind !== "function")
      left = { op: "*", left, right: this.power() };
    return left;
  }
}

function properQuotient(above: string, below: string): Rational | null {
  if (above.includes(".") || below.includes(".")) return null;
  const [numerator, denominator] = [BigInt(above), BigInt(below)];
  return numerator > 0n && numerator < denominator ? rational(numerator, denominator) : null;
}

/** The expression that all the tokens are, or null. Never throws. */
export function parseMaths(tokens: readonly Token[]): MathsExpression | null {
  return new Parser(tokens).read();
}
