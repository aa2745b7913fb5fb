// The reporter on a made-up terminal and on a pipe, with a clock that the test moves.
import { describe, expect, test } from "vitest";
import type { RunEvent } from "../../src/report/events.js";
import { terminalReporter } from "../../src/report/terminal.js";

const phase: RunEvent = { type: "phase", name: "grpo", title: "GRPO", steps: 40 };
const esc = "\u001b";
const measured = { type: "step", phase: "eval", steps: 2, seconds: 2, remaining: null } as const;
const evaluation: readonly RunEvent[] = [
  { type: "phase", name: "eval", title: "Evaluation", steps: 2 },
  { ...measured, step: 1, label: "sampled", metrics: { "pass@1": 0.3662, tokens_per_second: 900 } },
  { ...measured, step: 2, label: "greedy", metrics: { "pass@1": 0.525, tokens_per_second: 900 } },
];

function step(
  n: number,
  metrics: Record<string, number> = { "reward/mean": n / 40, tokens_per_second: 31_000 },
): RunEvent {
  return { type: "step", phase: "grpo", step: n, steps: 40, metrics, seconds: n, remaining: 40 - n };
}

function rollout(n: number): RunEvent {
  const parts = { prompt: "19 16 14 -> 11", thinking: `thought ${n}\n${esc}[2J`, answer: "14 - 3" };
  return { type: "rollout", phase: "grpo", step: n, ...parts, reward: 1 };
}

function setup(isTTY: boolean, env: Record<string, string> = {}, columns = 60) {
  const clock = { now: 0 };
  const written: string[] = [];
  const output = { isTTY, ...(isTTY ? { columns } : {}), write: (text: string) => written.push(text) };
  const reporter = terminalReporter({ output, env, now: () => clock.now });
  return { reporter, clock, written, text: () => written.join("") };
}

const codes = new RegExp(`(${esc}\\[\\d*[A-Za-z]|\n)`);
const cursorUp = new RegExp(`^${esc}\\[(\\d+)A$`);

/** What a terminal shows after these bytes: understands line breaks, cursor up and erase to the end, and ignores styles. */
function screen(bytes: string): readonly string[] {
  let lines = [""];
  for (const part of bytes.split(codes)) {
    const up = cursorUp.exec(part);
    if (part === "\n") lines.push("");
    else if (up !== null) lines = [...lines.slice(0, lines.length - Number(up[1]) - 1), ""];
    else if (!part.startsWith(esc)) lines[lines.length - 1] += part;
  }
  return lines;
}

describe("on a pipe", () => {
  test("writes plain lines at a pace, without escape codes", () => {
    const { reporter, clock, text } = setup(false);
    reporter.emit(phase);
    for (let n = 1; n <= 40; n++) {
      clock.now += 1000;
      reporter.emit(step(n));
    }
    reporter.close();
    const lines = text().trimEnd().split("\n");
    expect(lines.slice(0, 2)).toEqual(["", "GRPO (40 steps)"]);
    expect(lines[2]).toBe("grpo 1/40  reward 0.025  31.0k tok/s  run: 39 s left");
    expect(lines.at(-1)).toBe("grpo 40/40  reward 1  31.0k tok/s  took 40 s");
    expect(lines.slice(2).map((line) => line.split(/[ /]/)[1])).toEqual([
      "1",
      "6",
      "11",
      "16",
      "21",
      "26",
      "31",
      "36",
      "40",
    ]);
    expect(text()).not.toContain(esc);
  });

  test("training on pairs shows its loss and the pairs in the right order, not the scores", () => {
    const { reporter, text } = setup(false);
    const pairs = { loss: 0.61, accuracy: 0.71875, "reward/mean": 0.2, tokens_per_second: 900 };
    reporter.emit(step(40, pairs));
    reporter.emit(step(40, { loss: 0.6, "rewards/accuracies": 0.5 }));
    expect(text()).toMatch(
      /^grpo 40\/40 {2}loss 0\.61 {2}accuracy 71\.9% {2}900 tok\/s .*\n.* loss 0\.6 {2}accuracy 50\.0%/,
    );
  });

  test("a malformed sample says what its reward was given for", () => {
    const { reporter, text } = setup(false);
    const heads = (["[NULL]", null, "14 - 3"] as const).map((graded, n) => {
      reporter.emit({ ...rollout(0), graded } as RunEvent);
      return text().split("\n\n")[n]!.split("\n")[0];
    });
    expect(heads).toEqual([
      "grpo, reward 1 for [NULL], the marks of the format are missing:",
      "grpo, reward 1 for no answer, the marks of the format are missing:",
      "grpo, reward 1 for the whole text, the marks of the format are missing:",
    ]);
  });

  test("writes notes and tables, and marks warnings", () => {
    const { reporter, text } = setup(false);
    reporter.emit({ type: "note", level: "warning", text: "few rewards" });
    reporter.emit({ type: "note", level: "info", text: "done" });
    reporter.emit({ type: "table", title: "Held out", columns: ["arm", "pass@1"], rows: [["SFT", "36.6%"]] });
    expect(text()).toBe("warning: few rewards\ndone\n\nHeld out\narm  pass@1\n───  ──────\nSFT   36.6%\n");
  });

  test("a run that goes on is never said to have 0 s left", () => {
    const { reporter, text } = setup(false);
    reporter.emit({ type: "step", phase: "a", step: 1, steps: 2, metrics: {}, seconds: 9, remaining: 0.2 });
    expect(text()).toBe("a 1/2  run: 1 s left\n");
  });

  test("an evaluation says its pass rates, and which is which", () => {
    const { reporter, text } = setup(false);
    for (const event of evaluation) reporter.emit(event);
    expect(text().trim().split("\n").slice(1)).toEqual([
      "eval 1/2  pass@1 sampled 36.6%  900 tok/s",
      "eval 2/2  pass@1 greedy 52.5%  900 tok/s  took 2.0 s",
    ]);
  });

  test("a mismatch of log-probs is not kept quiet", () => {
    const { reporter, text } = setup(false);
    reporter.emit(phase);
    reporter.emit(step(1, { loss: 0.5, "mismatch/max_abs": 1e-7 }));
    expect(text()).toContain("loss 0.5");
    expect(text()).toContain("log-prob mismatch 1e-7");
  });

  test("samples that gave way are spoken of only where there are any", () => {
    const { reporter, clock, text } = setup(false);
    reporter.emit(phase);
    reporter.emit(step(1, { loss: 0.5, "kv/preemptions": 0, "kv/peak_blocks": 7 }));
    expect(text()).not.toContain("preempted");
    clock.now += 10_000;
    reporter.emit(step(2, { loss: 0.5, "kv/preemptions": 1234, "kv/peak_blocks": 9 }));
    expect(text()).toContain("loss 0.5  run: 38 s left  1.2k preempted");
  });
});

describe("rollouts", () => {
  test("the first of a phase, one now and then, and that of the last step", () => {
    const { reporter, clock, text } = setup(false);
    reporter.emit(phase);
    for (let n = 1; n <= 40; n++) {
      clock.now += 500;
      reporter.emit(rollout(n));
    }
    const shown = [...text().matchAll(/thought (\d+)/g)].map((match) => match[1]);
    expect(shown).toEqual(["1", "11", "21", "31", "40"]);
  });

  test("those outside the steps are all shown, without a step", () => {
    const { reporter, text } = setup(false);
    reporter.emit(phase);
    reporter.emit(rollout(1));
    reporter.emit(rollout(0));
    reporter.emit(rollout(0));
    expect(text()).toContain("GRPO, a sample of step 1, reward 1:\n  19 16 14 -> 11\n  thought 1\n");
    expect(text().match(/^GRPO, reward 1:$/gm)).toHaveLength(2);
  });

  test("a label says whose sample it is; without one, another phase's sample is named by its phase", () => {
    const { reporter, text } = setup(false);
    reporter.emit({ ...phase, name: "eval", title: "Evaluation" });
    reporter.emit({ ...rollout(0), label: "Before (SFT)" } as RunEvent);
    reporter.emit(rollout(40));
    const heads = text().match(/^.*reward 1:$/gm);
    expect(heads).toEqual(["Before (SFT), reward 1:", "grpo, a sample of step 40, reward 1:"]);
  });

  test("on a terminal they are wrapped to its width, indented", () => {
    const { reporter, text } = setup(true);
    reporter.emit({ ...rollout(0), thinking: "1 + 2 = 3 ; ".repeat(20) } as RunEvent);
    const lines = screen(text());
    expect(lines.length).toBeGreaterThan(6);
    for (const line of lines.slice(1)) expect(line).toMatch(/^( {2}\S.{0,57})?$/);
  });

  test("thinking is dimmed on a terminal, and what a model writes cannot steer it", () => {
    const { reporter, text } = setup(true);
    reporter.emit(phase);
    reporter.emit(rollout(1));
    expect(text()).toContain(`${esc}[2m  thought 1${esc}[22m`);
    expect(text()).not.toContain(`${esc}[2J`);
  });
});

describe("on a terminal", () => {
  test("redraws one block in place, and other lines scroll above it", () => {
    const { reporter, clock, text } = setup(true);
    reporter.emit(phase);
    for (let n = 1; n <= 20; n++) {
      clock.now += 200;
      reporter.emit(step(n));
    }
    reporter.emit({ type: "note", level: "info", text: "a note" });
    const [gap, note, title, bar, curve, ...rest] = screen(text());
    expect([gap, note, title]).toEqual(["", "a note", "GRPO"]);
    expect(bar).toBe("████████████░░░░░░░░░░░░ 20/40  31.0k tok/s  run: 20 s left");
    expect(curve).toMatch(/^reward 0\.025 ▁[▁-█]{18}▅ 0\.5$/); // on the scale of 0..1, not its own
    expect(rest).toEqual([""]);
  });

  test("rewards outside 0..1 and losses are drawn on their own scale", () => {
    const { reporter, clock, text } = setup(true);
    reporter.emit(phase);
    for (const reward of [-1, 3]) {
      clock.now += 200;
      reporter.emit(step(1, { "reward/mean": reward }));
    }
    expect(screen(text())).toContain("reward -1 ▁█ 3");
  });

  test("a part that is over shows what it took, done or not", () => {
    const { reporter, text } = setup(true);
    reporter.emit(phase);
    reporter.emit(step(12));
    reporter.emit({ ...phase, title: "Next" });
    reporter.emit(step(40));
    reporter.close();
    const bars = screen(text()).filter((line) => line.includes("/40"));
    expect(bars).toEqual([
      expect.stringMatching(/ 12\/40 .* took 12 s$/),
      expect.stringMatching(/ 40\/40 .* took 40 s$/),
    ]);
  });

  test("an evaluation's block collects its pass rates", () => {
    const { reporter, text } = setup(true);
    for (const event of evaluation) reporter.emit(event);
    expect(screen(text()).slice(1)).toEqual([
      "Evaluation",
      "████████████████████████ 2/2  900 tok/s  took 2.0 s",
      "pass@1: sampled 36.6%, greedy 52.5%",
      "",
    ]);
  });

  test("a terminal that reports 0 columns is taken to have 80", () => {
    const { reporter, text } = setup(true, {}, 0);
    reporter.emit(phase);
    reporter.emit({ type: "note", level: "info", text: "word ".repeat(40).trim() });
    reporter.emit(step(40));
    expect(screen(text())).toContain("GRPO");
    expect(text()).toMatch(/40\/40 {2}31\.0k tok\/s {2}took 40 s/);
    expect(Math.max(...screen(text()).map((line) => line.length))).toBe(74); // 15 words
  });

  test("notes are wrapped, commands are not", () => {
    const { reporter, text } = setup(true);
    const command = `  npx zazen generate --model ${"x".repeat(60)} --prompt a`;
    reporter.emit({ type: "note", level: "info", text: `${"word ".repeat(20)}end\n${command}` });
    expect(screen(text())).toEqual([Array(11).fill("word").join(" "), `${"word ".repeat(9)}end`, command, ""]);
  });

  test("a table has its legend below it, wrapped", () => {
    const { reporter, text } = setup(true, { NO_COLOR: "1" });
    const legend = ["a: what the first column means, and what it does not", "b: more"];
    reporter.emit({ type: "table", title: "T", columns: ["a", "b"], rows: [["1", "2"]], legend });
    expect(screen(text()).slice(0, -1)).toEqual(["", "T", "a  b", "─  ─", "1  2", ...legend]);
  });

  test("the block of a phase stays when the next begins, and close is idempotent", () => {
    const { reporter, text } = setup(true);
    reporter.emit(phase);
    reporter.emit(step(40));
    reporter.emit({ ...phase, title: "Evaluation" });
    reporter.close();
    reporter.close();
    const lines = screen(text());
    expect(lines.filter((line) => line === "GRPO")).toHaveLength(1);
    expect(lines.indexOf("Evaluation")).toBeGreaterThan(lines.findIndex((line) => line.includes("40/40")));
  });

  test("what comes after a phase's last step stands below its block", () => {
    const { reporter, text } = setup(true);
    reporter.emit(phase);
    reporter.emit(step(40));
    reporter.emit({ type: "note", level: "info", text: "the end" });
    reporter.close();
    expect(screen(text()).slice(-3)).toEqual([expect.stringContaining("reward"), "the end", ""]);
  });

  test("draws at most ten times a second, but always the last step", () => {
    const { reporter, clock, written } = setup(true);
    reporter.emit(phase);
    for (let n = 1; n < 40; n++) {
      clock.now += 10;
      reporter.emit(step(n));
    }
    expect(written.length).toBe(1 + 3);
    reporter.emit(step(40));
    expect(written.at(-1)).toContain("40/40");
  });

  test("lines keep to the terminal's width", () => {
    const { reporter, text } = setup(true);
    reporter.emit({ ...phase, title: "x".repeat(200) });
    reporter.emit(step(40));
    for (const line of screen(text())) expect([...line].length).toBeLessThan(60);
  });

  test("NO_COLOR takes the styles away, TERM=dumb the block", () => {
    const plain = setup(true, { NO_COLOR: "1" });
    plain.reporter.emit(phase);
    expect(plain.text()).not.toContain(`${esc}[1m`);
    const dumb = setup(true, { TERM: "dumb" });
    dumb.reporter.emit(phase);
    dumb.reporter.emit(step(1));
    expect(dumb.text()).not.toContain(esc);
  });
});
