// Reads a regular expression of the regular kind: literals, classes, escapes, groups, alternation, repetition, dot. The syntax is that of
// JavaScript with flag "u", and the whole text is matched. What is not regular, or would be of no use here, is refused by its name.
import { InputError } from "../../errors.js";

/** Code points from the first to the last, both included. */
export type Range = readonly [number, number];

export type Pattern =
  | { readonly kind: "set"; readonly ranges: readonly Range[] }
  | { readonly kind: "sequence"; readonly parts: readonly Pattern[] }
  | { readonly kind: "choice"; readonly options: readonly Pattern[] }
  | { readonly kind: "repeat"; readonly part: Pattern; readonly min: number; readonly max: number };

export const MAX_CODE_POINT = 0x10ffff;
const WHERE = "generate constraint";
const MAX_LENGTH = 16_384; // of a pattern, in code points
const MAX_DEPTH = 200; // of groups
const MAX_REPEAT = 10_000;

const DIGITS: readonly Range[] = [[0x30, 0x39]];
const WORD: readonly Range[] = [
  [0x30, 0x39],
  [0x41, 0x5a],
  [0x5f, 0x5f],
  [0x61, 0x7a],
];
const SPACE: readonly Range[] = [
  [0x09, 0x0d],
  [0x20, 0x20],
  [0xa0, 0xa0],
  [0x1680, 0x1680],
  [0x2000, 0x200a],
  [0x2028, 0x2029],
  [0x202f, 0x202f],
  [0x205f, 0x205f],
  [0x3000, 0x3000],
  [0xfeff, 0xfeff],
];
const LINE_ENDS: readonly Range[] = [
  [0x0a, 0x0a],
  [0x0d, 0x0d],
  [0x2028, 0x2029],
];
const CLASSES: Readonly<Record<string, readonly Range[]>> = {
  d: DIGITS,
  D: complement(DIGITS),
  w: WORD,
  W: complement(WORD),
  s: SPACE,
  S: complement(SPACE),
};
const CONTROLS: Readonly<Record<string, number>> = { t: 0x09, n: 0x0a, v: 0x0b, f: 0x0c, r: 0x0d };
const BACKSPACE = 0x08;
const SYNTAX = "^$\\.*+?()[]{}|/";

/** What is refused, by how it begins. */
const REFUSED_GROUPS: readonly (readonly [string, string])[] = [
  ["(?=", "lookahead"],
  ["(?!", "lookahead"],
  ["(?<=", "lookbehind"],
  ["(?<!", "lookbehind"],
  ["(?<", "named groups"],
  ["(?", "group modifiers"],
];
const REFUSED_ESCAPES: readonly (readonly [RegExp, string])[] = [
  [/[bB]/, "word boundaries"],
  [/[1-9]/, "backreferences"],
  [/k/, "backreferences"],
  [/[pP]/, "Unicode properties"],
  [/c/, "control escapes"],
];

export function complement(ranges: readonly Range[]): Range[] {
  const holes: Range[] = [];
  let next = 0;
  for (const [first, last] of merge(ranges)) {
    if (first > next) holes.push([next, first - 1]);
    next = last + 1;
  }
  if (next <= MAX_CODE_POINT) holes.push([next, MAX_CODE_POINT]);
  return holes;
}

/** Ascending, without overlaps. */
export function merge(ranges: readonly Range[]): Range[] {
  const merged: [number, number][] = [];
  for (const [first, last] of [...ranges].sort((a, b) => a[0] - b[0])) {
    const open = merged.at(-1);
    if (open !== undefined && first <= open[1] + 1) open[1] = Math.max(open[1], last);
    else merged.push([first, last]);
  }
  return merged;
}

/** A text as a pattern. */
export function literal(text: string): Pattern {
  return { kind: "sequence", parts: Array.from(text, (character) => one(character.codePointAt(0)!)) };
}

/** Throws InputError PATTERN_INVALID, PATTERN_UNSUPPORTED and PATTERN_TOO_LARGE. */
export function parsePattern(source: string): Pattern {
  return new Parser(source).parse();
}

function one(point: number): Pattern {
  return { kind: "set", ranges: [[point, point]] };
}

class Parser {
  readonly #points: readonly string[];
  #at = 0;
  #depth = 0;

  constructor(source: string) {
    this.#points = Array.from(source);
    if (this.#points.length > MAX_LENGTH) {
      const got = `${this.#points.length}`;
      throw tooLarge(`a pattern of at most ${MAX_LENGTH} characters`, got);
    }
  }

  parse(): Pattern {
    const pattern = this.#choice();
    if (this.#at < this.#points.length) throw this.#invalid("a group that was opened", ")");
    return pattern;
  }

  #choice(): Pattern {
    const options = [this.#sequence()];
    while (this.#take("|")) options.push(this.#sequence());
    return options.length === 1 ? options[0]! : { kind: "choice", options };
  }

  #sequence(): Pattern {
    const parts: Pattern[] = [];
    for (let next = this.#peek(); next !== undefined && next !== "|" && next !== ")"; next = this.#peek())
      parts.push(this.#repeated(this.#atom()));
    return { kind: "sequence", parts };
  }

  #repeated(part: Pattern): Pattern {
    const bounds = this.#bounds();
    if (bounds === null) return part;
    if (this.#peek() === "?") throw this.#unsupported("lazy repetition", "?");
    if (this.#bounds() !== null) throw this.#invalid("something to repeat", "a second repetition");
    return { kind: "repeat", part, min: bounds[0], max: bounds[1] };
  }

  /** null where nothing is repeated. */
  #bounds(): readonly [number, number] | null {
    if (this.#take("*")) return [0, Number.POSITIVE_INFINITY];
    if (this.#take("+")) return [1, Number.POSITIVE_INFINITY];
    if (this.#take("?")) return [0, 1];
    if (!this.#take("{")) return null;
    const min = this.#count();
    const max = !this.#take(",") ? min : this.#peek() === "}" ? Number.POSITIVE_INFINITY : this.#count();
    if (!this.#take("}")) throw this.#invalid("} after a repetition", this.#peek() ?? "the end");
    if (max < min) throw this.#invalid("a repetition whose largest count is not below its least", `{${min},${max}}`);
    return [min, max];
  }

  #count(): number {
    let digits = "";
    while (/^[0-9]$/.test(this.#peek() ?? "")) digits += this.#points[this.#at++];
    if (digits === "") throw this.#invalid("a count in a repetition", this.#peek() ?? "the end");
    const count = Number(digits);
    if (count > MAX_REPEAT) throw tooLarge(`a repetition of at most ${MAX_REPEAT}`, digits);
    return count;
  }

  #atom(): Pattern {
    const next = this.#points[this.#at]!;
    if (next === "(") return this.#group();
    this.#at++;
    if (next === "[") return { kind: "set", ranges: this.#class() };
    if (next === ".") return { kind: "set", ranges: complement(LINE_ENDS) };
    if (next === "\\") return { kind: "set", ranges: this.#escape("") };
    if (next === "^" || next === "$") throw this.#unsupported("anchors (the whole text is matched anyhow)", next);
    if ("*+?".includes(next)) throw this.#invalid("something to repeat", next);
    if ("{}]".includes(next)) throw this.#invalid(`a backslash before it`, next);
    return { kind: "set", ranges: [this.#point(next)] };
  }

  #group(): Pattern {
    const rest = this.#points.slice(this.#at, this.#at + 4).join("");
    const plain = rest.startsWith("(?:");
    const refused = plain ? undefined : REFUSED_GROUPS.find(([start]) => rest.startsWith(start));
    if (refused !== undefined) throw this.#unsupported(refused[1], refused[0]);
    this.#at += plain ? 3 : 1;
    if (++this.#depth > MAX_DEPTH) throw tooLarge(`groups at most ${MAX_DEPTH} deep`, "more");
    const pattern = this.#choice();
    if (!this.#take(")")) throw this.#invalid("the end of a group", "the end");
    this.#depth--;
    return pattern;
  }

  #class(): readonly Range[] {
    const negated = this.#take("^");
    const ranges: Range[] = [];
    while (!this.#take("]")) {
      const first = this.#member();
      if (this.#peek() !== "-" || this.#points[this.#at + 1] === "]") {
        ranges.push(...first);
        continue;
      }
      this.#at++;
      ranges.push(this.#between(first, this.#member()));
    }
    return negated ? complement(ranges) : ranges;
  }

  #member(): readonly Range[] {
    const next = this.#points[this.#at++];
    if (next === undefined) throw this.#invalid("the end of a class", "the end");
    if (next !== "\\") return [this.#point(next)];
    return this.#take("b") ? [[BACKSPACE, BACKSPACE]] : this.#escape("-");
  }

  #between(first: readonly Range[], last: readonly Range[]): Range {
    const [low, high] = [single(first), single(last)];
    if (low === null || high === null) throw this.#invalid("a range between two characters", "a class");
    if (low > high) throw this.#invalid("a range in ascending order", `${hex(low)} to ${hex(high)}`);
    return [low, high];
  }

  /** What follows a backslash. `also`: characters that it may stand before, beside those of the syntax. */
  #escape(also: string): readonly Range[] {
    const next = this.#points[this.#at++];
    if (next === undefined) throw this.#invalid("a character after a backslash", "the end");
    if (CLASSES[next] !== undefined) return CLASSES[next];
    const control = CONTROLS[next];
    if (control !== undefined) return [[control, control]];
    if (next === "0" && !/^[0-9]$/.test(this.#peek() ?? "")) return [[0, 0]];
    if (next === "x") return [this.#coded(this.#hex(2))];
    if (next === "u") return [this.#coded(this.#unicode())];
    if (SYNTAX.includes(next) || also.includes(next)) return [this.#point(next)];
    const refused = REFUSED_ESCAPES.find(([form]) => form.test(next));
    if (refused !== undefined) throw this.#unsupported(refused[1], `\\${next}`);
    throw this.#invalid("an escape that there is", `\\${next}`);
  }

  #unicode(): number {
    if (this.#take("{")) {
      const end = this.#points.indexOf("}", this.#at);
      const digits = this.#points.slice(this.#at, Math.max(end, this.#at)).join("");
      if (!/^[0-9a-f]+$/i.test(digits)) throw this.#invalid("hexadecimal digits", `\\u{${digits}`);
      this.#at = end + 1;
      return Number.parseInt(digits, 16);
    }
    const high = this.#hex(4);
    if (high < 0xd800 || high > 0xdbff || this.#points.slice(this.#at, this.#at + 2).join("") !== "\\u") return high;
    this.#at += 2;
    const low = this.#hex(4);
    return low >= 0xdc00 && low <= 0xdfff ? 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00) : high;
  }

  #hex(count: number): number {
    const digits = this.#points.slice(this.#at, this.#at + count).join("");
    if (digits.length !== count || !/^[0-9a-f]+$/i.test(digits)) throw this.#invalid("hexadecimal digits", digits);
    this.#at += count;
    return Number.parseInt(digits, 16);
  }

  #point(character: string): Range {
    return this.#coded(character.codePointAt(0)!);
  }

  #coded(point: number): Range {
    if (point > MAX_CODE_POINT) throw this.#invalid("a Unicode character", hex(point));
    if (point >= 0xd800 && point <= 0xdfff) throw this.#unsupported("half a surrogate pair", hex(point));
    return [point, point];
  }

  #peek(): string | undefined {
    return this.#points[this.#at];
  }

  #take(character: string): boolean {
    if (this.#peek() !== character) return false;
    this.#at++;
    return true;
  }

  #invalid(expected: string, got: string): InputError {
    return new InputError(
      "PATTERN_INVALID",
      `[${WHERE}] expected ${expected}, got ${got} before character ${this.#at + 1}; mend the pattern`,
    );
  }

  #unsupported(name: string, got: string): InputError {
    return new InputError(
      "PATTERN_UNSUPPORTED",
      `[${WHERE}] expected a regular pattern, got ${name}: ${got} near character ${this.#at + 1}; write it without`,
    );
  }
}

function single(ranges: readonly Range[]): number | null {
  const [first] = ranges;
  return ranges.length === 1 && first![0] === first![1] ? first![0] : null;
}

function hex(point: number): string {
  return `U+${point.toString(16).toUpperCase().padStart(4, "0")}`;
}

export function tooLarge(expected: string, got: string): InputError {
  return new InputError("PATTERN_TOO_LARGE", `[${WHERE}] expected ${expected}, got ${got}; make it smaller`);
}
