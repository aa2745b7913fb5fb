// The reporter on a made-up terminal and on a pipe, with a clock that the test moves.
import { describe, expect, test } from "vitest";
import type { RunEvent } from "../../src/report/events.js";
import { terminalReporter } from "../../src/report/terminal.js";

const phase: RunEvent = { type: "phase", name: "grpo", title: "GRPO", steps: 40 };
const esc = "\u001b";

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

function setup(isTTY: boolean, env: Record<string, string> = {}) {
  const clock = { now: 0 };
  const written: string[] = [];
  const output = { isTTY, columns: 60, write: (text: string) => written.push(text) };
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
    expect(lines[0]).toBe("GRPO (40 steps)");
    expect(lines[1]).toBe("grpo 1/40  reward 0.025  31.0k tok/s  39 s left");
    expect(lines.slice(1).map((line) => line.split(/[ /]/)[1])).toEqual([
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

  test("writes notes and tables, and marks warnings", () => {
    const { reporter, text } = setup(false);
    reporter.emit({ type: "note", level: "warning", text: "few rewards" });
    reporter.emit({ type: "note", level: "info", text: "done" });
    reporter.emit({ type: "table", title: "Held out", columns: ["arm", "pass@1"], rows: [["SFT", "36.6%"]] });
    expect(text()).toBe("warning: few rewards\ndone\n\nHeld out\narm  pass@1\n───  ──────\nSFT   36.6%\n\n");
  });

  test("a mismatch of log-probs is not kept quiet", () => {
    const { reporter, text } = setup(false);
    reporter.emit(phase);
    reporter.emit(step(1, { loss: 0.5, "mismatch/max_abs": 1e-7 }));
    expect(text()).toContain("loss 0.5");
    expect(text()).toContain("log-prob mismatch 1e-7");
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
    expect(text()).toContain("  grpo step 1, reward 1:\n  19 16 14 -> 11\n  thought 1\n");
    expect(text().match(/^ {2}reward 1:$/gm)).toHaveLength(2);
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
    const [note, title, bar, curve, ...rest] = screen(text());
    expect([note, title]).toEqual(["a note", "GRPO"]);
    expect(bar).toBe("████████████░░░░░░░░░░░░ 20/40  31.0k tok/s  20 s left");
    expect(curve).toMatch(/^reward ▁[▁-█]{18}█ 0\.5$/);
    expect(rest).toEqual([""]);
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
