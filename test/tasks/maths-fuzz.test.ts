// Random and mutated answers: nothing throws, nothing takes long, and every grade is well formed.
import { describe, expect, test } from "vitest";
import { type Random, random } from "../../src/data/random.js";
import { extractMathsAnswer, gradeMaths } from "../../src/tasks/index.js";
import { milliseconds } from "../helpers/timing.js";

const SEEDS = [
  String.raw`\left( 3, \frac{\pi}{2} \right)`,
  String.raw`\{1\pm\sqrt{5},-2\}`,
  String.raw`\begin{pmatrix} -1/3 \\ 2/3 \\ 5/3 \end{pmatrix}`,
  String.raw`(-\infty, 2) \cup (3, \infty)`,
  "5x - 7y + 11z + 4 = 0",
  String.raw`864 \mbox{ inches}^2`,
  String.raw`11,\! 111,\! 111,\! 100`,
  "4210_{5}",
  "x^8 + x^7 + x^6 + x^5 + x^4 + x^3 + x^2 + x + 1",
  String.raw`\text{4:30 p.m.}`,
  String.raw`2\frac{1}{2}\%`,
  String.raw`-2 \le x < 7`,
];
const PIECES =
  String.raw`\frac \sqrt \sqrt[ { } ( ) [ ] \{ \} ^ _ + - * / ! % = < \le \in \cup \pm \mp , . : ; | & \\ 0 1 7 12 999 0.5 1,000 x y ` +
  String.raw`\pi e i \infty \circ \text{ \text{cm} \begin{pmatrix} \end{pmatrix} \begin{array}{cc} \sin \log_ \binom \lfloor \rfloor ` +
  String.raw`\left \right \boxed{ \overline{ \unknown \ $ #### and or apples A C 9^9 \,`;
const TOKENS = [...PIECES.split(" "), " ", "\u00bd", "\u2212", "\ud83d", "\u0000", "\n"];
const REFERENCES = ["5", ...SEEDS];

const randomTokens = (stream: Random): string =>
  Array.from({ length: 1 + stream.int(12) }, () => stream.choice(TOKENS)).join(stream.choice(["", " "]));

/** One to four places cut out, doubled or overwritten. */
function mutated(stream: Random): string {
  let text = stream.choice(SEEDS);
  for (let edits = 1 + stream.int(4); edits > 0; edits--) {
    const at = stream.int(text.length + 1);
    const end = Math.min(text.length, at + stream.int(6));
    const middle = stream.choice(["", text.slice(at, end).repeat(2), stream.choice(TOKENS)]);
    text = text.slice(0, at) + middle + text.slice(end);
  }
  return text;
}

const MANY = 6000;
const MEAN = 5; // milliseconds a grade
const LIMIT = 50; // milliseconds of one grade, wide enough for a busy machine

describe("any text", () => {
  test.each([
    ["mutations", mutated],
    ["random tokens", randomTokens],
  ])("%s", { timeout: 60_000 }, (_, make) => {
    const stream = random(7);
    let readable = 0;
    let total = 0;
    for (let count = 0; count < MANY; count++) {
      const answer = make(stream);
      const reference = stream.choice(REFERENCES);
      const grade = gradeMaths(answer, reference);
      if (grade.correct !== (grade.reason === null)) expect.fail(`a malformed grade for ${JSON.stringify(answer)}`);
      if (grade.reason !== "unreadable answer") readable++;
      const spent = milliseconds(() => gradeMaths(answer, reference), LIMIT);
      total += spent;
      if (spent > LIMIT) expect.fail(`${spent.toFixed(1)} ms for ${JSON.stringify(answer)} against ${reference}`);
      const itself = answer.trim() === "" || gradeMaths(answer, answer).correct;
      if (!itself) expect.fail(`${JSON.stringify(answer)} does not equal itself`);
      extractMathsAnswer(answer);
    }
    expect(total / MANY).toBeLessThan(MEAN);
    expect(readable).toBeGreaterThan(MANY / 50); // the walk reaches past the tokeniser
    expect(readable).toBeLessThan(MANY);
  });

  // Built to be slow: long chains that grow, deep nesting, many signs, sets of sets.
  test.each([
    "x^9".repeat(170),
    "x^9+".repeat(127),
    "|x".repeat(255),
    `${"{".repeat(255)}1${"}".repeat(255)}`,
    `${String.raw`\sqrt{`.repeat(60)}2${"}".repeat(60)}`,
    Array.from({ length: 30 }, (_, at) => String.raw`\frac{x}{y+${1009 + 2 * at}}`).join("+"),
    String.raw`\pm\pm\pm\pm x^9`.repeat(20),
    `\\{${Array.from({ length: 30 }, (_, at) => `\\{1,2,3,${at}\\}`).join(",")}\\}`,
    String.raw`\binom{1000}{500}+`.repeat(28),
    "9^{300}+".repeat(60),
  ])("slow on purpose %#", (answer) => {
    expect(milliseconds(() => gradeMaths(answer, answer), LIMIT)).toBeLessThan(LIMIT);
  });

  test.each([String.raw`\boxed{`, "{", "}", String.raw`\boxed `, "1,", "answer is ", "####", "\\", "1/", " "])(
    "extracting from 200,000 times %j",
    (piece) => {
      const limit = 1000; // milliseconds; linear work takes some tens
      expect(milliseconds(() => extractMathsAnswer(piece.repeat(200_000)), limit)).toBeLessThan(limit);
    },
  );
});
