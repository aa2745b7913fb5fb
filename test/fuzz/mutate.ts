// Structured damage to files: keys dropped, doubled, renamed and moved, values of another type and at the edges of their range, nesting,
// long texts, and damage to bytes and lines. All of it is a function of the random stream.
import type { Random } from "../../src/data/random.js";
import { copyTree, type Entry, type JsonTree, type Slot, scalar, slotsOf, treeOf, writeTree } from "./json.js";

const NUMBERS = [
  "0",
  "-0",
  "1",
  "-1",
  "2",
  "7",
  "0.5",
  "1e-7",
  "255",
  "256",
  "65536",
  "2147483647",
  "2147483648",
].concat(
  ["4294967295", "4294967296", "9007199254740991", "9007199254740993", "9223372036854775807", "1e18", "1e300"],
  ["18446744073709551616", "1e400", "-1e400", "1e-400", "-2147483649"],
);
const TEXTS = [
  "",
  " ",
  "x",
  "true",
  "null",
  "0",
  "-1",
  "..",
  "../..",
  "/",
  "a.b",
  "\0",
  "\u001b[31m",
  "\u202e",
  "\ud800",
  "\u00e9",
].concat(["\ud83d\ude00", "__proto__", "constructor", "toString", "length", "[object Object]", "\r\n", "{{", "%s"]);
const KEYS = [
  "",
  "__proto__",
  "constructor",
  "toString",
  "hasOwnProperty",
  "length",
  "a.b",
  "0",
  "\0",
  "\u001b[2J",
  "\ud800",
  "type",
];
/** Not JSON, each in its own way. */
const WRONG = [
  "01",
  "1.",
  ".5",
  "0x10",
  "NaN",
  "Infinity",
  "",
  "'x'",
  "undefined",
  "tru",
  '"',
  '"\n"',
  '"\\x"',
  '"\\ud8"',
  "[",
  "}",
  ",",
  "/* */ 1",
  "// 1\n1",
  '"\u0001"',
];

const DEPTHS = [2, 9, 64, 200, 1_000, 20_000];
const LENGTHS = [17, 300, 5_000, 70_000];
const COUNTS = [2, 5, 40, 300];
const MOST_EDITS = 3;

const text = (value: string): JsonTree => scalar(JSON.stringify(value));

/** `words` are texts that mean something to the reader: names of its keys and of its choices. */
type Edit = (slot: Slot, all: readonly Slot[], random: Random, words: readonly string[]) => void;

const entryOf = ({ entries, index }: Slot): Entry => entries[index]!;

function aScalar(random: Random, words: readonly string[]): JsonTree {
  const kind = random.int(16);
  if (kind === 0) return scalar(random.choice(WRONG));
  if (kind <= 4) return scalar(random.choice(["null", "true", "false", "[]", "{}", "[null]", '[""]', '{"":0}']));
  if (kind <= 8) return scalar(random.choice(NUMBERS));
  return text(random.choice(random.int(2) === 0 ? TEXTS : [...words, "x"]));
}

const EDITS: readonly Edit[] = [
  ({ entries, index }) => entries.splice(index, 1),
  ({ entries, index }) => {
    const { key, value } = entries[index]!;
    entries.splice(index, 0, { key, value: copyTree(value) });
  },
  (slot, all, random, words) => {
    const known = entryOf(random.choice(all)).key;
    entryOf(slot).key = random.choice([known, random.choice(KEYS), random.choice([...words, "x"])]);
  },
  (slot, _, random, words) => {
    entryOf(slot).value = aScalar(random, words);
  },
  (slot, _, random, words) => {
    entryOf(slot).value = aScalar(random, words);
  },
  (slot, all, random) => {
    const numbers = all.filter((each) => /^-?\d/.test(scalarText(entryOf(each).value)));
    entryOf(numbers.length > 0 ? random.choice(numbers) : slot).value = scalar(random.choice(NUMBERS));
  },
  (slot, all, random) => {
    entryOf(slot).value = copyTree(entryOf(random.choice(all)).value);
  },
  (slot, _, random, words) => {
    const entry = entryOf(slot);
    const wrapped = { key: random.choice([...words, ""]), value: entry.value };
    entry.value = { kind: random.choice(["array", "object"]), entries: [wrapped] };
  },
  ({ entries, index }, _, random, words) => {
    const key = random.choice([random.choice(KEYS), random.choice([...words, "x"])]);
    entries.splice(index, 0, { key, value: aScalar(random, words) });
  },
  (slot, _, random) => {
    const depth = random.choice(DEPTHS);
    const [open, close] = random.choice([
      ["[", "]"],
      ['{"a":', "}"],
    ] as const);
    entryOf(slot).value = scalar(open.repeat(depth) + writeTree(entryOf(slot).value) + close.repeat(depth));
  },
  (slot, _, random) => {
    const long = random.choice(["x", "\u00e9", "\\", " ", "a "]).repeat(random.choice(LENGTHS));
    if (random.int(3) === 0) entryOf(slot).key = long;
    else entryOf(slot).value = text(long);
  },
  ({ entries, index }, _, random) => {
    const { key, value } = entries[index]!;
    const more = Array.from({ length: random.choice(COUNTS) }, (_, i) => ({
      key: `${key}${i}`,
      value: copyTree(value),
    }));
    entries.splice(index, 0, ...more);
  },
  ({ entries }, _, random) => {
    entries.splice(0, entries.length, ...random.shuffle(entries));
  },
];

const scalarText = (tree: JsonTree): string => (tree.kind === "scalar" ? tree.text : "");

/** The value as JSON after some edits. */
export function mutateValue(value: unknown, random: Random, words: readonly string[]): string {
  const root: JsonTree = { kind: "array", entries: [{ key: "", value: treeOf(value) }] }; // so that the whole value has a place too
  for (let edits = 1 + random.int(MOST_EDITS); edits > 0; edits--) {
    const slots = slotsOf(root);
    const inner = slots.slice(1);
    if (slots.length === 0) break;
    const slot = inner.length === 0 || random.int(40) === 0 ? slots[0]! : random.choice(inner);
    random.choice(EDITS)(slot, slots, random, words);
  }
  return root.entries.map((entry) => writeTree(entry.value)).join(random.choice(["\n", " "]));
}

const PIECES = [
  "\0",
  "\ufeff",
  "\r\n",
  "\n",
  "\t",
  "{",
  "}",
  "[",
  "]",
  ",",
  ":",
  '"',
  "\\",
  "#",
  "null",
  "1e999",
  "\u2028",
];
const INVALID_UTF8 = [[0xff], [0xc0, 0x80], [0xed, 0xa0, 0x80], [0xf4, 0x90, 0x80, 0x80], [0xe2, 0x82], [0x80]];
const PIECE_LENGTH = 48;

type Damage = (bytes: Buffer, at: number, random: Random, words: readonly string[]) => Buffer;

const put = (bytes: Buffer, at: number, piece: Uint8Array, removed = 0): Buffer =>
  Buffer.concat([bytes.subarray(0, at), piece, bytes.subarray(at + removed)]);

const withByte = (bytes: Buffer, at: number, value: number): Buffer => {
  const copy = Buffer.from(bytes);
  if (copy.length > 0) copy[at] = value;
  return copy;
};

const DAMAGES: readonly Damage[] = [
  (bytes, at, random) => withByte(bytes, at, (bytes[at] ?? 0) ^ (1 << random.int(8))),
  (bytes, at, random) => withByte(bytes, at, random.int(256)),
  (bytes, at, random) => put(bytes, at, Buffer.alloc(0), 1 + random.int(PIECE_LENGTH)),
  (bytes, at) => bytes.subarray(0, at),
  (bytes, at, random) => {
    const from = random.int(bytes.length + 1);
    return put(bytes, at, bytes.subarray(from, from + random.int(PIECE_LENGTH)));
  },
  (bytes, at, random, words) => put(bytes, at, Buffer.from(random.choice([...PIECES, ...words]))),
  (bytes, at, random) => put(bytes, at, Uint8Array.from(random.choice(INVALID_UTF8))),
  (bytes) => put(bytes, 0, Buffer.from("\ufeff")),
  (bytes) => Buffer.from(bytes.toString("latin1").replaceAll("\n", "\r\n"), "latin1"),
  (bytes, at, random) => {
    const tail = bytes.subarray(at).toString("latin1");
    return Buffer.concat([
      bytes.subarray(0, at),
      Buffer.from(tail.replace(/-?\d[\d.e+-]*/, random.choice(NUMBERS)), "latin1"),
    ]);
  },
];

/** One damage to a file's bytes. */
export function damageBytes(bytes: Buffer, random: Random, words: readonly string[] = []): Buffer {
  return random.choice(DAMAGES)(bytes, random.int(Math.max(1, bytes.length)), random, words);
}

/** Lines dropped, doubled, moved, indented, and pieces put among them: for text whose form is in its lines. */
export function mutateLines(source: string, random: Random, pieces: readonly string[]): string {
  let lines = source.split("\n");
  for (let edits = 1 + random.int(MOST_EDITS); edits > 0; edits--) {
    const at = random.int(lines.length + 1);
    const line = lines[at] ?? "";
    const column = random.int(line.length + 1);
    const edited = random.choice([
      [],
      [line, line],
      [`  ${line}`],
      [line.trimStart()],
      [random.choice(pieces), line],
      [line.slice(0, column) + random.choice(pieces) + line.slice(column)],
      [line.slice(0, column), line.slice(column)],
      [line, lines[random.int(lines.length + 1)] ?? ""],
    ]);
    lines = [...lines.slice(0, at), ...edited, ...lines.slice(at + 1)];
  }
  return lines.join("\n");
}

/** A JSON file: mostly another structure, sometimes damaged bytes, sometimes both. */
export function mutateJsonFile(value: unknown, random: Random, words: readonly string[]): Buffer {
  const kind = random.int(8);
  const good = kind < 6 ? mutateValue(value, random, words) : JSON.stringify(value, null, random.choice([0, 2]));
  const bytes = Buffer.from(good);
  return kind < 5 ? bytes : damageBytes(bytes, random, words);
}

/** Every key and every short text of a value: words that its reader knows. */
export function wordsOf(value: unknown): string[] {
  const words = new Set<string>();
  const visit = (tree: JsonTree) => {
    if (tree.kind === "scalar" && /^"[^"\\]{1,40}"$/.test(tree.text)) words.add(tree.text.slice(1, -1));
    if (tree.kind === "scalar") return;
    for (const { key, value } of tree.entries) {
      if (key !== "") words.add(key);
      visit(value);
    }
  };
  visit(treeOf(value));
  return [...words];
}
