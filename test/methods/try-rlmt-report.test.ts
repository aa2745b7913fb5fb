// What the trial of RLMT says of its figures, whichever way they fell: thinking wins, loses or neither, judges agree or not, rewards are gamed.
import { describe, expect, test } from "vitest";
import { type Arm, compareJudgements, type JudgedAnswer, type Judgement } from "../../src/methods/try-rlmt-figures.js";
import { conclusion, courseTable, figureTable, samplesToShow } from "../../src/methods/try-rlmt-report.js";
import { meanOf, wilson } from "../../src/objective/intervals.js";

const PROMPTS = 200;

/** An evaluation whose rewards are around `reward`, and of whose answers the first `right` are right. */
function judged(step: number, reward: number, right: number, thought: number | null): Judgement {
  const answers = Array.from({ length: PROMPTS }, (_, p): JudgedAnswer => {
    const own = { phase: "x", step: 1, decoded: "sampled" as const, figure: "reward", problem: p };
    const text = {
      messages: [{ role: "user" as const, content: `${p}` }],
      answer: `y${p}`,
      thinking: thought ? "z" : null,
    };
    const lengths = { malformed: false, thoughtTokens: thought ?? 0, answerTokens: 9 };
    return { ...own, ...text, ...lengths, reward: reward + ((p * 7) % 10) / 10, right: p < right };
  });
  const rewards = answers.map((answer) => answer.reward!);
  const right_ = wilson(right, PROMPTS);
  const lengths = (length: number) => ({ n: PROMPTS, mean: length, interval: [length, length] as const });
  const figures = {
    ...{ reward: meanOf(rewards), right: right_, malformed: wilson(0, PROMPTS) },
    ...{ thoughtTokens: lengths(thought ?? 0), answerTokens: lengths(9) },
  };
  return { step, answers, figures };
}

type Point = readonly [reward: number, right: number];

function arm(title: string, before: Point, after: Point, thought: number | null): Arm {
  const train = { steps: 40, seconds: thought ? 90 : 30, tokens: 1, tokensPerSecond: 1, best: null };
  const [first, last] = [judged(0, ...before, thought), judged(40, ...after, thought)];
  return { name: title, title, train, before: first, course: [judged(20, ...after, thought)], after: last };
}

const arms = (plain: readonly [Point, Point], thinking: readonly [Point, Point]) =>
  [arm("No thinking", ...plain, null), arm("Thinking", ...thinking, 40)] as const;

const said = (plain: readonly [Point, Point], thinking: readonly [Point, Point]) =>
  conclusion(arms(plain, thinking), wilson(180, 200), 3);

const START: Point = [0, 50];

describe("the conclusion", () => {
  test("thinking wins by both judges", () => {
    const lines = said([START, [1, 80]], [START, [2, 150]]);
    expect(lines[0]).toMatch(/^Thinking helped, says the reward model: reward 1\.45 without and 2\.45 with thinking/);
    expect(lines[1]).toMatch(
      /^The verifier, which no training saw, agrees: 40\.0% right answers without and 75\.0% with/,
    );
    expect(lines[2]).toMatch(/^No thinking: GRPO raised the reward, and right answers with it \(reward 0\.45 to 1\.45/);
    expect(lines[4]).toBe(
      "The reward model has 90.0 [85.1, 93.4]% of its 200 held-out pairs right: what it says of the arms is worth no more than that.",
    );
    expect(lines[6]).toBe("This is seed 3 of a tiny model; another one: --set seed=4.");
    expect(lines[5]).toBe(
      "A thought takes 40 tokens before an answer of 9; GRPO took 90 s with thinking and 30 s without.",
    );
  });

  test("thinking loses", () => {
    const lines = said([START, [2, 150]], [START, [1, 80]]);
    expect(lines[0]).toMatch(
      /^Thinking hurt, says the reward model: .* a difference of -1\.00 \[.*thinking has the better answer on 0\.0/,
    );
    expect(lines[1]).toMatch(/agrees: 75\.0% right answers without and 40\.0% with thinking/);
    expect(lines.join("\n")).not.toContain("helped");
  });

  test("neither is shown to be better", () => {
    const lines = said([START, [1, 80]], [START, [1, 82]]);
    expect(lines[0]).toMatch(/^The reward model does not tell the arms apart: .* on 200 prompts; .* 50\.0 \[/);
    expect(lines[1]).toMatch(/^The verifier, which no training saw, does not tell them apart/);
  });

  test("the judges disagree", () => {
    expect(said([START, [1, 150]], [START, [2, 80]])[1]).toMatch(
      /says that thinking hurt, against the reward model: 75/,
    );
    expect(said([START, [2, 80]], [START, [1, 150]])[1]).toMatch(/says that thinking helped, against the reward model/);
    expect(said([START, [1, 80]], [START, [1, 150]])[1]).toMatch(/says that thinking helped: 40/);
  });

  test.each([
    [[1, 50], "raised the reward; right answers did not change by more than chance"],
    [[1, 46], "raised the reward; right answers did not change by more than chance"],
    [[1, 10], "raised the reward at the cost of right answers: the reward model was gamed"],
    [[0, 50], "did not change the reward by more than chance; nor right answers"],
    [[0, 90], "did not change the reward by more than chance; there are more right answers"],
    [[-1, 10], "lowered the reward; there are fewer right answers"],
    [[-1, 50], "lowered the reward; right answers did not change by more than chance"],
    [[-1, 90], "lowered the reward; there are more right answers"],
  ] as const)("GRPO that leads to %j", (after, words) => {
    expect(said([START, after], [START, [1, 80]])[2]).toContain(`No thinking: GRPO ${words} (`);
  });
});

describe("caveats", () => {
  test("a reward model that may be a coin is said to be one", () => {
    const lines = conclusion(arms([START, START], [START, START]), wilson(108, 200), 3);
    expect(lines.join("\n")).toMatch(/54\.0 \[47\.1, 60\.8\]% of its 200 held-out pairs right, which may be chance/);
  });

  test("many malformed answers of an arm are said, a few are not", () => {
    const [plain, thinking] = arms([START, START], [START, START]);
    const malformed = (count: number) => {
      const figures = { ...thinking.before.figures, malformed: wilson(count, PROMPTS) };
      return conclusion([plain, { ...thinking, before: { ...thinking.before, figures } }], wilson(180, 200), 3).join(
        "\n",
      );
    };
    expect(malformed(60)).toMatch(
      /^Thinking: 30\.0 \[.*\]% of the answers before GRPO and 0\.0 \[0\.0, 1\.9\]% after/m,
    );
    expect(malformed(12)).not.toContain("are malformed");
  });
});

describe("tables and samples", () => {
  const both = arms([START, [1, 80]], [START, [2, 150]]);

  test("the table has both arms and their paired difference, within 80 columns", () => {
    const { rows, columns } = figureTable(both);
    const row = (name: string) => rows.find(([first]) => first === name)!;
    expect(row("reward after")[3]).toBe("+1.00 [+1.00, +1.00]");
    expect(row("right after")).toEqual([
      "right after",
      "40.0 [33.5, 46.9]",
      "75.0 [68.6, 80.5]",
      expect.stringMatching(/^\+35\.0/),
    ]);
    expect(row("wins")[3]).toMatch(/^100\.0/);
    const widths = columns.map((_, c) => Math.max(...[columns, ...rows].map((each) => each[c]!.length)));
    expect(widths.reduce((sum, width) => sum + width + 2, -2)).toBeLessThanOrEqual(80);
  });

  test("the course has every evaluation; an arm that stopped early has dashes", () => {
    const [plain, thinking] = both;
    expect(courseTable(both)!.rows.map(([when]) => when)).toEqual(["before", "step 20", "after"]);
    expect(courseTable([{ ...plain, course: [] }, thinking])!.rows.map((row) => row.slice(1, 3))).toEqual([
      ["0.45", "25.0"],
      ["-", "-"],
      ["1.45", "40.0"],
    ]);
    expect(
      courseTable([
        { ...plain, course: [] },
        { ...thinking, course: [] },
      ]),
    ).toBeNull();
  });

  test("samples show where only thinking is right and where only no thinking is, or any", () => {
    const [plain, thinking] = both;
    expect(
      samplesToShow(both)
        .flat()
        .map(({ label, prompt }) => [label, prompt]),
    ).toEqual([
      ["No thinking, wrong", "80"],
      ["Thinking, right", "80"],
    ]);
    expect(
      samplesToShow([thinking, plain])
        .flat()
        .map(({ label }) => label),
    ).toEqual(["Thinking, right", "No thinking, wrong"]);
    expect(samplesToShow([plain, plain])).toHaveLength(1);
  });

  test("a prompt that could not be scored in one arm is in no pair", () => {
    const [plain, thinking] = both;
    const answers = plain.after.answers.map((answer, p) => (p < 5 ? { ...answer, reward: null } : answer));
    expect(compareJudgements({ ...plain.after, answers }, thinking.after).reward.n).toBe(PROMPTS - 5);
  });
});
