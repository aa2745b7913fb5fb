// The run folder and the clock: what a run leaves, whole lines whatever happens, and a time left that is neither early nor late.
import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import { ChatTemplate } from "../../src/prompt/chat.js";
import { RunClock } from "../../src/train/clock.js";
import { Run } from "../../src/train/run.js";
import { copyTokenizer, RunFolder } from "../../src/train/run-folder.js";
import { FakeEngine, fakeSpec } from "../helpers/fake-engine.js";
import { folderOf } from "../helpers/files.js";
import { eventsOf, readLines, testHost } from "../helpers/run-host.js";
import { temporaryFolder } from "../helpers/temporary.js";

const fresh = () => temporaryFolder("folder");

describe("RunFolder", () => {
  test("holds the resolved recipe, the lines as they come, the summary", () => {
    const out = join(fresh(), "deep", "run");
    const folder = new RunFolder(out, "test", { seed: 3 });
    folder.metrics({ phase: "sft", step: 1, loss: 0.5 });
    expect(readLines(out, "metrics.jsonl")).toEqual([{ phase: "sft", step: 1, loss: 0.5 }]); // before it is closed
    folder.rollout({ answer: "line\nbreak" });
    folder.heldOut({ problem: 4 });
    folder.summary({ done: true });
    folder.close();
    folder.close();
    expect(JSON.parse(readFileSync(join(out, "recipe.json"), "utf8"))).toEqual({ recipe: "test", config: { seed: 3 } });
    expect(readLines(out, "rollouts.jsonl")).toEqual([{ answer: "line\nbreak" }]);
    expect(JSON.parse(readFileSync(join(out, "summary.json"), "utf8"))).toEqual({ done: true });
    expect(readLines(out, "held-out.jsonl")).toEqual([{ problem: 4 }]);
    expect(readdirSync(out).sort()).toEqual([
      "held-out.jsonl",
      "metrics.jsonl",
      "recipe.json",
      "rollouts.jsonl",
      "summary.json",
    ]);
  });

  test("saves weights with the tokenizer files of another folder", async () => {
    const from = folderOf({
      "tokenizer.json": "{}",
      "additional_chat_templates/rag.jinja": "{{ messages }}",
      "additional_chat_templates/notes.txt": "",
    });
    execFileSync("mkfifo", [join(from, "additional_chat_templates", "pipe.jinja")]);
    const folder = new RunFolder(fresh(), "test", {});
    const model = await folder.saveModel("model", new FakeEngine(fakeSpec(3, 0)), copyTokenizer(from));
    expect(existsSync(join(model, "table.json"))).toBe(true);
    expect(readdirSync(join(model, "additional_chat_templates"))).toEqual(["rag.jinja"]);
    expect(await ChatTemplate.load(model, { name: "rag" })).not.toBeNull();
    expect(readFileSync(join(model, "tokenizer.json"), "utf8")).toBe("{}");
    expect(existsSync(join(model, "tokenizer_config.json"))).toBe(false);
  });
});

describe("Run", () => {
  test("leaves out values that JSON cannot say, in file and event alike", () => {
    const host = testHost();
    using run = new Run(host, "test", {}, [{ name: "a", title: "A", steps: 2, work: 1 }]);
    run.begin("a");
    run.step(1, { loss: 1, kl: Number.NaN, ratio: Number.POSITIVE_INFINITY });
    expect(readLines(host.out, "metrics.jsonl")[0]).toEqual({
      phase: "a",
      step: 1,
      seconds: expect.any(Number),
      loss: 1,
    });
    expect(eventsOf(host, "step")[0]!.metrics).toEqual({ loss: 1 });
    expect(eventsOf(host, "phase")).toEqual([{ type: "phase", name: "a", title: "A", steps: 2 }]);
  });

  test("a part may end after seconds", () => {
    vi.useFakeTimers();
    onTestFinished(() => void vi.useRealTimers());
    using run = new Run(testHost(), "test", {}, [{ name: "a", title: "A", steps: 100, work: 1 }]);
    run.begin("a", 0.02);
    vi.advanceTimersByTime(19);
    expect(run.over).toBe(false);
    vi.advanceTimersByTime(2);
    expect(run.over).toBe(true);
    expect([run.stepsInTime(0, 100), run.stepsInTime(7, 100)]).toEqual([100, 7]);
  });

  test("a step outside a part and an unknown part are mistakes", () => {
    using run = new Run(testHost(), "test", {}, []);
    expect(() => run.step(1, {})).toThrow(/expected a part to have begun/);
    expect(() => run.begin("b")).toThrow(/got b/);
  });
});

describe("RunClock", () => {
  const parts = [
    { name: "a", title: "A", steps: 10, work: 20 },
    { name: "b", title: "B", steps: 10, work: 40 },
    { name: "c", title: "C", steps: 1, work: 10 },
  ];

  test("knows nothing before a second has passed", () => {
    const clock = new RunClock(parts);
    expect(clock.remaining()).toBeNull();
    clock.begin("a");
    clock.tick(0.5, 0.9);
    expect(clock.remaining()).toBeNull();
  });

  test("extrapolates the part by its pace and later parts by their work", () => {
    const clock = new RunClock(parts);
    clock.begin("a");
    clock.tick(0.5, 5); // 10 units in 5 seconds
    expect(clock.remaining()).toBeCloseTo(5 + 25, 9);
    clock.tick(1, 10);
    clock.begin("b");
    expect(clock.remaining()).toBeNull();
    clock.tick(0.25, 10); // 30 units in 20 seconds
    expect(clock.remaining()).toBeCloseTo(30 + 10 * (20 / 30), 9);
  });
});
