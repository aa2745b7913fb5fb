// Reads an answer: what it is as a whole, from the outside in. Unions first, then lists, relations, brackets, ratios; what is left is one
// value with its unit. `flat` is the same text without layout, the last resort for answers that no rule can read.
import type { MathsExpression } from "./expression.js";
import type { Collection, Form, Matrix, Scalar, Sequence } from "./form.js";
import { parseMaths } from "./parse.js";
import { readBased, readRelation } from "./read-parts.js";
import { findOutside, isEnclosed, isSymbol, plusMinusVariants, splitAt } from "./split.js";
import { type Token, type TokenRules, tokenise } from "./tokens.js";
import { isKnownUnit } from "./units.js";
import { isAnywhereDefined, valuesOf } from "./value.js";
import { wordsOf } from "./words.js";

export interface MathsReading {
  /** Null for an answer that cannot be read. */
  readonly form: Form | null;
  /** The tokens side by side: equal for texts that differ in layout only. */
  readonly flat: string;
}

const MAX_ITEMS = 32;
const MAX_NESTING = 8; // sets in tuples in lists
const TRAILING: ReadonlySet<string> = new Set([".", ",", ";", ":", "!"]);
const LEADING: ReadonlySet<string> = new Set(["=", ":", "approx"]);
const MATRICES: ReadonlySet<string> = new Set(
  "matrix pmatrix bmatrix Bmatrix vmatrix Vmatrix smallmatrix array".split(" "),
);
const UNIT_SIGNS: ReadonlySet<string> = new Set(["^", "{", "}", "/", ".", "*", "(", ")", "-"]);
const WORD_SIGNS: ReadonlySet<string> = new Set([".", "(", ")", "-", ",", ":", "!", "{", "}"]);

const isWord = (token: Token | undefined, text: string): boolean =>
  token !== undefined && token.kind === "text" && token.text.toLowerCase() === text;

const isJoin = (token: Token): boolean =>
  isSymbol(token, ",") || isSymbol(token, ";") || isWord(token, "and") || isWord(token, "or");

/** Without signs that only lead to the answer or end the sentence, and without a group around everything. */
function trim(tokens: readonly Token[]): readonly Token[] {
  let [start, end] = [0, tokens.length];
  while (start < end && tokens[start]!.kind === "symbol" && LEADING.has(tokens[start]!.text)) start++;
  while (end > start && tokens[end - 1]!.kind === "symbol" && isTrailing(tokens, start, end)) end--;
  while (isSymbol(tokens[start], "{") && isEnclosed(tokens.slice(start, end))) [start, end] = [start + 1, end - 1];
  return tokens.slice(start, end);
}

/** A `!` behind a value is a factorial. */
function isTrailing(tokens: readonly Token[], start: number, end: number): boolean {
  const { text } = tokens[end - 1]!;
  return TRAILING.has(text) && (text !== "!" || tokens[Math.max(start, end - 2)]!.kind === "text");
}

/** 4:30, with what may follow it: a time of day is no ratio. */
function isClock(tokens: readonly Token[]): boolean {
  const [hour, colon, minute, next] = tokens;
  if (hour?.kind !== "number" || minute?.kind !== "number" || !isSymbol(colon, ":") || isSymbol(next, ":"))
    return false;
  return /^\d{1,2}$/.test(hour.text) && /^\d\d$/.test(minute.text);
}

function isWords(tokens: readonly Token[]): boolean {
  const isText = tokens.every(({ kind, text }) => kind === "text" || (kind === "symbol" && WORD_SIGNS.has(text)));
  return tokens[0]?.kind === "text" ? isText || !isKnownUnit(tokens[0].text) : isClock(tokens);
}

/** The tokens side by side, without braces around a single one. */
function flatten(tokens: readonly Token[]): string {
  const isNeeded = ({ kind, text }: Token, at: number): boolean => {
    if (kind !== "symbol") return true;
    if (text === "{") return !isSymbol(tokens[at + 2], "}");
    return text !== "}" || !isSymbol(tokens[at - 2], "{");
  };
  return tokens
    .filter(isNeeded)
    .map(({ text }) => text)
    .join(" ");
}

function readForm(untrimmed: readonly Token[], nesting: number): Form | null {
  const tokens = trim(untrimmed);
  if (tokens.length === 0 || nesting > MAX_NESTING) return null;
  const joined = readCollection(tokens, nesting);
  if (joined !== undefined) return joined;
  const relation = readRelation(tokens, (side) => readForm(side, nesting + 1));
  if (relation !== undefined) return relation;
  if (isWords(tokens)) return { kind: "words", text: wordsOf(flatten(tokens)) };
  return (
    readBracketed(tokens, nesting) ??
    readMatrix(tokens, nesting) ??
    readRatio(tokens) ??
    readBased(tokens) ??
    readScalar(tokens)
  );
}

/** All of them, or null when one cannot be read or there are too many. */
function readAll(parts: readonly (readonly Token[])[], nesting: number): readonly Form[] | null {
  if (parts.length > MAX_ITEMS) return null;
  const items: Form[] = [];
  for (const part of parts) {
    const item = readForm(part, nesting + 1);
    if (item === null) return null;
    items.push(item);
  }
  return items;
}

/** A union, a list, or a value with `\pm`; undefined when the tokens are none of these. */
function readCollection(tokens: readonly Token[], nesting: number): Form | null | undefined {
  const union = splitAt(tokens, (token) => isSymbol(token, "cup")).parts;
  if (union.length > 1) return collection("set", readAll(union, nesting));
  const { parts, separators } = splitAt(tokens, isJoin);
  if (parts.length > MAX_ITEMS) return null;
  const variants = parts.filter((part) => part.length > 0).map(plusMinusVariants);
  if (variants.includes(null)) return null;
  const items = (variants as (readonly (readonly Token[])[])[]).flat();
  if (items.length === 1) return separators.length > 0 ? readForm(items[0]!, nesting + 1) : undefined;
  return collection("list", readAll(items, nesting));
}

function collection(join: Collection["join"], items: readonly Form[] | null): Collection | null {
  return items === null ? null : { kind: "collection", join, items };
}

/** A set, or a tuple or interval; null for other tokens. */
function readBracketed(tokens: readonly Token[], nesting: number): Sequence | Collection | null {
  const [first, last] = [tokens[0]!, tokens.at(-1)!];
  if (first.kind !== "symbol" || !isEnclosed(tokens)) return null;
  const inner = tokens.slice(1, -1);
  if (first.text === "\\{" && last.text === "\\}") return readSet(inner, nesting);
  const [open, close] = [first.text, last.text];
  if ((open !== "(" && open !== "[") || (close !== ")" && close !== "]")) return null;
  const { parts } = splitAt(inner, (token) => isSymbol(token, ",") || isSymbol(token, ";"));
  if (parts.length < 2) return null;
  const items = readAll(parts, nesting);
  return items === null ? null : { kind: "sequence", open, close, items };
}

function readSet(inner: readonly Token[], nesting: number): Collection | null {
  if (inner.length === 0) return { kind: "collection", join: "set", items: [] };
  const form = readForm(inner, nesting + 1);
  if (form === null) return null;
  const isList = form.kind === "collection" && form.join === "list";
  return { kind: "collection", join: "set", items: isList ? form.items : [form] };
}

function readMatrix(tokens: readonly Token[], nesting: number): Matrix | null {
  const first = tokens[0]!;
  if (first.kind !== "begin" || !MATRICES.has(first.text) || !isEnclosed(tokens)) return null;
  const inner = tokens.slice(1, -1);
  const rows = splitAt(inner, (token) => isSymbol(token, "\\\\")).parts.filter((row) => row.length > 0);
  const cells = rows.map((row) => splitAt(row, (token) => isSymbol(token, "&")).parts);
  const items = readAll(cells.flat(), nesting);
  const bars = first.text[0]!.toLowerCase() === "v" ? "determinant " : "";
  const shape = `${bars}${cells.map((row) => row.length).join(" ")}`;
  return items === null ? null : { kind: "matrix", shape, items };
}

function readRatio(tokens: readonly Token[]): Form | null {
  const { parts } = splitAt(tokens, (token) => isSymbol(token, ":"));
  const terms = parts.length < 2 || parts.length > MAX_ITEMS ? [] : parts.map(parseMaths);
  if (terms.length === 0 || terms.includes(null)) return null;
  const last = terms.at(-1)!;
  const quotients = terms.slice(0, -1).map((left) => valuesOf({ op: "/", left: left!, right: last }));
  return quotients.every(isAnywhereDefined) ? { kind: "ratio", quotients } : null;
}

/** Words, signs, powers, and letters behind a stroke or a dot: cm^2, m/s. Another number would be another value: 5 ft 3 in. */
function isUnitToken({ kind, text }: Token, before: Token | undefined): boolean {
  if (kind === "text") return true;
  if (kind === "number") return before !== undefined && "^{-".includes(before.text);
  if (kind === "name") return isSymbol(before, "/") || isSymbol(before, "*");
  return kind === "symbol" && UNIT_SIGNS.has(text);
}

/** Where the unit behind a value begins; the length when there is none. */
function unitStart(tokens: readonly Token[]): number {
  const start = findOutside(tokens, (token) => token.kind === "text");
  const isUnit = start > 0 && tokens.slice(start).every((token, at) => isUnitToken(token, tokens[start + at - 1]));
  return isUnit ? start : tokens.length;
}

function signOfInfinity(expression: MathsExpression): -1 | 0 | 1 {
  if (expression.op === "infinity") return 1;
  return expression.op === "negate" && expression.of.op === "infinity" ? -1 : 0;
}

function readScalar(tokens: readonly Token[]): Scalar | null {
  const from = tokens[0]!.kind === "text" && isKnownUnit(tokens[0]!.text) ? 1 : 0; // USD 5
  const value = tokens.slice(from);
  const end = unitStart(value);
  const expression = parseMaths(value.slice(0, end));
  if (expression === null) return null;
  const values = valuesOf(expression);
  const infinite = signOfInfinity(expression);
  if (infinite === 0 && !isAnywhereDefined(values)) return null;
  const unit = [...tokens.slice(0, from), ...value.slice(end)].map(({ text }) => text).join(" ");
  const only = end === 1 && value[0]!.kind === "number" ? value[0]!.text : ".";
  return {
    kind: "scalar",
    expression,
    values,
    infinite,
    percent: expression.op === "percent" ? valuesOf(expression.of) : null,
    unit: unit === "" ? null : unit,
    digits: only.includes(".") ? null : only,
  };
}

/** Without the asterisks and quotes of marked-up text around it, and the full stop behind them. */
function withoutMarkup(text: string): string {
  const marks = "*`\"' \t\n\r";
  let [start, end] = [0, text.length];
  while (start < end && marks.includes(text[start]!)) start++;
  while (end > start && (marks.includes(text[end - 1]!) || text[end - 1] === ".")) end--;
  return text.slice(start, end);
}

/** Reads an answer of any text; never throws. */
export function readMathsAnswer(text: string, rules: TokenRules = { plainComma: "thousands" }): MathsReading {
  const bare = withoutMarkup(text);
  const tokens = tokenise(bare, rules);
  if (tokens === null) return { form: null, flat: bare };
  return { form: readForm(tokens, 0), flat: flatten(trim(tokens)) };
}
