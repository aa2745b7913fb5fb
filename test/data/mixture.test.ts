// Mixtures: shares, epochs, exhaustion, and a place that goes through JSON and comes back.
import { describe, expect, test } from "vitest";
import { Mixture, type MixtureOptions } from "../../src/data/mixture.js";
import { OrderedSource } from "../../src/data/order.js";

const letters = (letter: string, count: number) => Array.from({ length: count }, (_, i) => `${letter}${i}`);
const parts = (weights: readonly number[], counts: readonly number[]) =>
  weights.map((weight, i) => ({ weight, records: letters("abc"[i]!, counts[i]!) }));
const countOf = (drawn: readonly string[], letter: string) => drawn.filter((one) => one.startsWith(letter)).length;

function mixture(weights: readonly number[], counts: readonly number[], options: Partial<MixtureOptions> = {}) {
  return new Mixture(parts(weights, counts), { seed: 7, ...options });
}

test("one source is the seeded order as it is", () => {
  const records = letters("a", 11);
  const order = new OrderedSource(records, { seed: 7, epoch: 0, position: 0 });
  expect(mixture([5], [11]).next(30)).toEqual(order.next(30));
});

test("shares follow the weights", () => {
  const draws = 20_000;
  const drawn = mixture([1, 2, 5], [10, 1_000, 7]).next(draws);
  for (const [letter, share] of [
    ["a", 1 / 8],
    ["b", 2 / 8],
    ["c", 5 / 8],
  ] as const) {
    const deviation = Math.sqrt((share * (1 - share)) / draws);
    expect(Math.abs(countOf(drawn, letter) / draws - share)).toBeLessThan(4 * deviation);
  }
});

test("repeat: every source goes through its own epochs, each record once an epoch", () => {
  const drawn = mixture([1, 3], [6, 9]).next(600);
  for (const [letter, count] of [
    ["a", 6],
    ["b", 9],
  ] as const) {
    const own = drawn.filter((one) => one.startsWith(letter));
    const whole = Math.floor(own.length / count);
    expect(whole).toBeGreaterThan(10);
    const epochs = Array.from({ length: whole }, (_, e) => own.slice(e * count, (e + 1) * count));
    for (const epoch of epochs) expect([...epoch].sort()).toEqual(letters(letter, count));
    expect(epochs[0]).not.toEqual(epochs[1]);
  }
});

test("sources of like length have orders of their own", () => {
  const drawn = mixture([1, 1], [50, 50]).next(400);
  const numbers = (letter: string) =>
    drawn
      .filter((one) => one.startsWith(letter))
      .slice(0, 50)
      .map((one) => one.slice(1));
  expect(numbers("a")).not.toEqual(numbers("b"));
});

test("leave: all records come once before any comes again, the heavier source first", () => {
  const source = mixture([1, 9], [8, 8], { exhausted: "leave" });
  const firstHalves: string[] = [];
  for (let epoch = 0; epoch < 20; epoch++) {
    const drawn = source.next(16);
    expect([...drawn].sort()).toEqual([...letters("a", 8), ...letters("b", 8)]);
    firstHalves.push(...drawn.slice(0, 8));
  }
  expect(countOf(firstHalves, "b") / firstHalves.length).toBeGreaterThan(0.8);
});

describe.each(["repeat", "leave"] as const)("resumed under %s", (exhausted) => {
  test("from any place, through JSON, it goes on as it would have", () => {
    for (let cut = 0; cut <= 60; cut++) {
      const whole = mixture([2, 1, 1], [5, 7, 3], { exhausted });
      whole.next(cut);
      const resumed = mixture([2, 1, 1], [5, 7, 3], { exhausted });
      resumed.next(3); // what it did before does not count
      resumed.restore(JSON.parse(JSON.stringify(whole.save())));
      expect(resumed.next(40)).toEqual(whole.next(40));
      expect(resumed.save()).toEqual(whole.save());
    }
  });

  test("same seed, same draws; another seed, others", () => {
    const draw = (seed: number) => mixture([1, 1], [40, 40], { seed, exhausted }).next(80);
    expect(draw(1)).toEqual(draw(1));
    expect(draw(1)).not.toEqual(draw(2));
  });
});

test("a state of other data or another seed is refused", () => {
  const saved = mixture([1, 1], [4, 5]).save();
  const refused = (other: Mixture<string>, message: RegExp) =>
    expect(() => other.restore(saved)).toThrow(
      expect.objectContaining({ code: "CURSOR_RANGE", message: expect.stringMatching(message) }),
    );
  refused(mixture([1, 1], [4, 6]), /expected the 5 records that it was made on, got 6/);
  refused(mixture([1], [4]), /expected seed 7 and 2 sources, which it was made on, got seed 7 and 1/);
  refused(mixture([1, 1], [4, 5], { seed: 8 }), /got seed 8/);
  expect(() => mixture([], [])).toThrow(expect.objectContaining({ code: "SOURCE_EMPTY" }));
  expect(() => mixture([1], [0])).toThrow(expect.objectContaining({ code: "SOURCE_EMPTY" }));
});
