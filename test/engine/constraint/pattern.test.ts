// Regular expressions as automata over bytes, against JavaScript's own: the same texts match, and what is refused is refused by its name.
import { describe, expect, test } from "vitest";
import { type Random, random } from "../../../src/data/random.js";
import { type ByteAutomaton, DEAD } from "../../../src/engine/constraint/automaton.js";
import { compileConstraint } from "../../../src/engine/constraint/compile.js";

const compile = (pattern: string) => compileConstraint({ kind: "regex", pattern });

function accepts(automaton: ByteAutomaton, bytes: Uint8Array): boolean {
  let state = 0;
  for (const byte of bytes) {
    state = automaton.next[state * automaton.classCount + automaton.classes[byte]!]!;
    if (state === DEAD) return false;
  }
  return automaton.accepting[state] === 1;
}

const encoder = new TextEncoder();
const matches = (automaton: ByteAutomaton, text: string) => accepts(automaton, encoder.encode(text));
const wholeMatch = (pattern: string) => new RegExp(`^(?:${pattern})$`, "u");

/** Agreement on texts; returns how many of them match. */
function agree(pattern: string, texts: readonly string[]): number {
  const automaton = compile(pattern);
  const regex = wholeMatch(pattern);
  const found = texts.filter((text) => matches(automaton, text));
  expect(found, pattern).toEqual(texts.filter((text) => regex.test(text)));
  return found.length;
}

const SYNTAX: readonly (readonly [string, readonly string[]])[] = [
  ["", ["", "a"]],
  ["a|b|", ["", "a", "b", "ab"]],
  ["(a|bc)*d", ["d", "ad", "bcad", "bd", "abcbcd"]],
  ["a{2}b{1,3}c{2,}", ["aabcc", "abcc", "aabbbccc", "aabbbbcc"]],
  ["(?:ab){0}x?", ["", "x", "ab"]],
  ["[a-c]+[^a-c]", ["abcd", "abc", "d", "ab\n", "ab😀"]],
  ["[]|[^]", ["", "a", "\n", "😀", "ab"]],
  ["[a\\-\\]\\\\^-]+", ["a-]\\^", "b"]],
  ["[\\b]", ["\b", "b"]],
  [".", ["a", "\n", "\r", "\u2028", "\u2029", "é", "😀", ""]],
  ["\\d\\D\\w\\W\\s\\S", ["1a_- x", "11_- x", "1é_é\u00a0x"]],
  ["\\s", ["\t", "\n", "\v", "\f", "\r", " ", "\u00a0", "\u1680", "\u2003", "\u202f", "\u3000", "\ufeff", "\u200b"]],
  ["\\t\\n\\v\\f\\r\\0", ["\t\n\v\f\r\0"]],
  ["\\x41\\u00e9\\u{1F600}\\uD83D\\uDE00", ["Aé😀😀"]],
  ["\\^\\$\\.\\*\\+\\?\\(\\)\\[\\]\\{\\}\\|\\/\\\\", ["^$.*+?()[]{}|/\\"]],
  ["[é-ü]+|[\\u{10000}-\\u{1F600}]", ["éü", "é", "þ", "😀", "😁"]],
  ['"([^"\\\\]|\\\\.)*"', ['""', '"a\\"b"', '"a"b"', '"\\']],
  ["-?(0|[1-9][0-9]*)(\\.[0-9]+)?", ["0", "-12.50", "01", "1.", "-"]],
  ["((a?)*)*b", ["b", "aab", "a"]],
  ["(|a)+", ["", "aaa", "b"]],
];

test.each(SYNTAX)("%s", (pattern, texts) => {
  expect(agree(pattern, texts)).toBeGreaterThan(0);
});

/** A random pattern over a small alphabet, of every construct. */
function randomPattern(draw: Random, depth: number): string {
  const kind = draw.int(depth === 0 ? 4 : 9);
  const inner = () => randomPattern(draw, depth - 1);
  const pick = (options: readonly string[]) => options[draw.int(options.length)]!;
  if (kind < 2) return pick(["a", "b", "0", "é", "😀", "-", "\\.", "\\x61", "\\u00e9", " "]);
  if (kind === 2)
    return pick([".", "\\d", "\\w", "\\s", "\\D", "\\W", "\\S", "[ab]", "[^a]", "[é-￿]", "[^é0-9]", "[a\\d-]"]);
  if (kind === 3) return "";
  if (kind === 4) return `(${inner()}|${inner()})`;
  if (kind === 5) return `(?:${inner()})${pick(["*", "+", "?", "{2}", "{0,2}", "{1,}", "{0}"])}`;
  return `${inner()}${inner()}`;
}

/** A random text, with some luck one that a pattern over the same alphabet matches. */
function randomText(draw: Random): string {
  const letters = [..."aabb0é😀-. \n", "\u2028", "ü", "￿", "\u{10ffff}"];
  return Array.from({ length: draw.int(7) }, () => letters[draw.int(letters.length)]!).join("");
}

test("random patterns match the texts that JavaScript's match", () => {
  let found = 0;
  for (let seed = 0; seed < 1500; seed++) {
    const draw = random(seed, 1);
    const pattern = randomPattern(draw, 4);
    let texts = Array.from({ length: 40 }, () => randomText(draw));
    if (!texts.some((text) => wholeMatch(pattern).test(text))) texts = [...texts, ""];
    if (pattern.includes("[]")) continue;
    found += agree(pattern, texts);
  }
  expect(found).toBeGreaterThan(3000);
});

test("classes hold every character that JavaScript's hold, and nothing that is no UTF-8", () => {
  const edges = [
    0, 0x7f, 0x80, 0x7ff, 0x800, 0xd7ff, 0xe000, 0xffff, 0x10000, 0x3ffff, 0x40000, 0xfffff, 0x100000, 0x10ffff,
  ];
  for (let seed = 0; seed < 300; seed++) {
    const draw = random(seed, 2);
    const near = () => Math.min(0x10ffff, Math.max(0, edges[draw.int(edges.length)]! + draw.int(140) - 70));
    const [a, b] = [near(), near()].sort((x, y) => x - y) as [number, number];
    if ([a, b].some((point) => point >= 0xd800 && point <= 0xdfff)) continue;
    const pattern = `[\\u{${a.toString(16)}}-\\u{${b.toString(16)}}]`;
    const points = [...edges, a - 1, a, a + 1, b - 1, b, b + 1, near(), near()];
    const valid = points.filter((p) => p >= 0 && p <= 0x10ffff && (p < 0xd800 || p > 0xdfff));
    agree(
      pattern,
      valid.map((point) => String.fromCodePoint(point)),
    );
  }
  const any = compile("[^]*");
  for (let seed = 0; seed < 3000; seed++) {
    const draw = random(seed, 3);
    const bytes = Uint8Array.from({ length: 1 + draw.int(4) }, (_, i) =>
      i === 0 ? 0x60 + draw.int(0xa0) : draw.int(4) > 0 ? 0x80 + draw.int(0x40) : draw.int(256),
    );
    let isText = true;
    try {
      new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
    } catch {
      isText = false;
    }
    expect(accepts(any, bytes), String(bytes)).toBe(isText);
  }
});

test("choices are literal", () => {
  const automaton = compileConstraint({ kind: "choice", choices: ["1", "12", "tie", "a.b", "é(", ""] });
  for (const text of ["1", "12", "tie", "a.b", "é(", ""]) expect(matches(automaton, text)).toBe(true);
  for (const text of ["2", "ti", "tied", "axb", "é"]) expect(matches(automaton, text)).toBe(false);
});

describe("refused", () => {
  test.each([
    ["^a", "anchors"],
    ["a$", "anchors"],
    ["a*?", "lazy repetition"],
    ["a{2,3}?", "lazy repetition"],
    ["(?=a)", "lookahead"],
    ["(?!a)", "lookahead"],
    ["(?<=a)", "lookbehind"],
    ["(?<!a)", "lookbehind"],
    ["(?<n>a)", "named groups"],
    ["(?i:a)", "group modifiers"],
    ["\\bword", "word boundaries"],
    ["(a)\\1", "backreferences"],
    ["\\k<n>", "backreferences"],
    ["\\p{L}", "Unicode properties"],
    ["\\cA", "control escapes"],
    ["\\ud83d", "half a surrogate pair"],
  ])("%s: %s", (pattern, name) => {
    expect(() => compile(pattern)).toThrow(expect.objectContaining({ code: "PATTERN_UNSUPPORTED" }));
    expect(() => compile(pattern)).toThrow(`[generate constraint] expected a regular pattern, got ${name}`);
  });

  test.each([
    "(a",
    "a)",
    "[a",
    "a**",
    "+a",
    "a{",
    "a{x}",
    "a{3,2}",
    "a]",
    "a}",
    "[b-a]",
    "[\\d-z]",
    "\\",
    "\\q",
    "\\-",
    "\\x4",
    "\\u12",
    "\\u{",
    "\\u{110000}",
    "\\00",
  ])("%s is no pattern, to JavaScript neither", (pattern) => {
    expect(() => compile(pattern)).toThrow(expect.objectContaining({ code: "PATTERN_INVALID" }));
    expect(() => new RegExp(pattern, "u")).toThrow(SyntaxError);
  });

  test.each([
    ["a{10001}", "a repetition of at most 10000"],
    ["(a{1000}){1000}", "parts"],
    ["((){10000}){10000}", "parts"],
    ["((a?){1000}){1000}", "parts"],
    ["[ab]*a[ab]{20}", "at most 10000 states"],
    ["((a{0,100}){0,100}b?){0,15}", "fewer ways"],
    [`${"(".repeat(201)}${")".repeat(201)}`, "groups at most 200 deep"],
    ["a".repeat(16_385), "at most 16384 characters"],
  ])("%s is too large", (pattern, words) => {
    expect(() => compile(pattern)).toThrow(expect.objectContaining({ code: "PATTERN_TOO_LARGE" }));
    expect(() => compile(pattern)).toThrow(words);
  });

  test("a pattern that nothing matches", () => {
    expect(() => compile("a[]b")).toThrow(expect.objectContaining({ code: "CONSTRAINT_UNSATISFIABLE" }));
  });

  test.each([
    [{ kind: "json" }],
    [{ kind: "choice", choices: [] }],
    [{ kind: "choice", choices: ["\ud800"] }],
    [{ kind: "regex", pattern: 5 }],
  ])("%j", (constraint) => {
    expect(() => compileConstraint(constraint as never)).toThrow(expect.objectContaining({ code: "BAD_ARGUMENT" }));
  });
});
