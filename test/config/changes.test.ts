// Which settings may change when a run is resumed: as the schemas of the recipes say, and refused by name otherwise.
import { describe, expect, test } from "vitest";
import { checkChanges } from "../../src/config/changes.js";
import { describeSettings } from "../../src/config/describe.js";
import { applySets } from "../../src/config/recipe-file.js";
import { resolveSettings, type Settings } from "../../src/config/resolve.js";
import { recipes } from "../../src/methods/index.js";

const recipe = (name: string) => recipes.find((each) => each.name === name)!;
const given: Record<string, Settings> = { rlvr: { model: "m" } };

/** Resumes a run of the recipe, begun with `begun`, with other settings, while it stands in `part`. */
function resume(name: string, part: string | null, begun: readonly string[], sets: readonly string[]): void {
  const { schema } = recipe(name);
  const before = resolveSettings(name, schema, applySets(given[name] ?? {}, begun)) as Settings;
  checkChanges(schema, before, resolveSettings(name, schema, applySets(before, sets)) as Settings, part);
}

describe("may change", () => {
  test.each(["quickstart", "sft", "rlvr"])(
    "%s: threads, memory, logging and checkpoint, and nothing else freely",
    (name) => {
      const free = describeSettings(recipe(name).schema).filter((setting) => setting.resume === "free");
      expect(free.map(({ key }) => key)).toEqual([
        "threads",
        "recompute",
        "microBatchTokens",
        "kvBytes",
        "checkpoint.every",
        "checkpoint.seconds",
        "checkpoint.keep",
        "logging.rolloutGroups",
        "logging.showEvery",
      ]);
      resume(name, null, [], ["threads=3", "microBatchTokens=512", "checkpoint.every=7", "logging.showEvery=2"]);
    },
  );

  test("steps, upwards, in the part in hand, under a constant learning rate", () => {
    resume("rlvr", "grpo", ["grpo.steps=5"], ["grpo.steps=9"]);
    resume("sft", "sft", ["sft.optimizer.schedule=constant", "sft.steps=5"], ["sft.steps=6"]);
  });
});

describe("may not change", () => {
  test.each([
    ["sft", "sft", [], ["seed=1"], "seed: expected 0, as the run began with, got 1"],
    ["rlvr", "grpo", [], ["model=other"], 'model: expected "m", as the run began with, got "other"'],
    [
      "sft",
      "sft",
      ["sft.steps=5"],
      ["sft.steps=6"],
      "expected 5, as the run began with, since the cosine learning rate",
    ],
    ["rlvr", "grpo", ["grpo.steps=5"], ["grpo.steps=4"], "grpo.steps: expected 5 or more, got 4"],
    ["quickstart", "sft", [], ["grpo.steps=90"], "expected 60, as the run began with, since the run does not stand in"],
    ["rlvr", null, ["grpo.steps=5"], ["grpo.steps=6"], "since the run does not stand in that part, got 6"],
    ["quickstart", "sft", [], ["demonstrations.attemptWeights=[1]"], "demonstrations.attemptWeights: expected [0.55,"],
  ] as const)("%s in %s: %j then %j", (name, part, begun, sets, message) => {
    const act = () => resume(name, part, begun, sets);
    expect(act).toThrow(expect.objectContaining({ name: "InputError", code: "RESUME_SETTING" }));
    expect(act).toThrow(message);
  });

  test("all are named at once", () => {
    expect(() => resume("sft", "sft", [], ["seed=1", "threads=2", "thinking=false"])).toThrow(
      /seed: .*got 1\n\[train --resume\] thinking: expected true.*got false\nThe settings of a run/,
    );
  });
});
