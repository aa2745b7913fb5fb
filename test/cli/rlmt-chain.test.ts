// RLMT from nothing but prompts, a model and preferences, by the commands that a user gives, each of which takes what the one before it left:
// a teacher's demonstrations, a warm start with and without thoughts, a reward model, two arms of rlmt, their comparison with a second judge, and
// a judge of their thoughts.
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { beforeAll, describe, expect, test } from "vitest";
import type { JudgeResult } from "../../src/cli/judge.js";
import type { TrainResult } from "../../src/cli/train.js";
import type { Comparison } from "../../src/eval/comparison/compare.js";
import { chatServer, completion } from "../helpers/chat-server.js";
import { jsonl } from "../helpers/recipes.js";
import { readLines } from "../helpers/run-host.js";
import { temporaryFolder } from "../helpers/temporary.js";
import { toyModel } from "../helpers/toy-model.js";
import { cliIsBuilt, main } from "./process.js";

let folder: string;
let base: string;
beforeAll(async () => {
  folder = temporaryFolder("chain");
  base = await toyModel({ chat: true });
});

/** The document of a command that must end well; the teacher and the judge live in this process, so it must not wait for the command. */
async function run<Document>(...args: string[]): Promise<Document> {
  const { stdout } = await promisify(execFile)(process.execPath, [main, ...args, "--json"], { maxBuffer: 2 ** 26 });
  return JSON.parse(stdout) as Document;
}

async function train(recipe: string, name: string, settings: Readonly<Record<string, unknown>>): Promise<TrainResult> {
  const sets = Object.entries({ threads: 1, ...settings }).flatMap(([key, value]) => [
    ...["--set", `${key}=${typeof value === "string" ? value : JSON.stringify(value)}`],
  ]);
  return run<TrainResult>("train", recipe, "--out", join(folder, name), ...sets);
}

const modelOf = ({ summary }: TrainResult): string => summary.model as string;

/** Teaches, and judges answers by their length. */
const sage = () =>
  chatServer(({ body }) => {
    const text = body.messages[0]!.content;
    const [, prompt] = text.split("Message:\n");
    if (prompt === undefined) {
      const [one, two] = ["a", "b"].map(
        (name) => new RegExp(`<response_${name}>\\n([^]*?)\\n<`).exec(text)![1]!.length,
      );
      return { body: completion(`Verdict: ${one! > two! ? "A" : one! < two! ? "B" : "tie"}`) };
    }
    const plan = `The user asks this: ${prompt}`;
    return { body: completion(`<think>\n${plan}\n</think>\n<response>It is what it is.</response>`) };
  });

describe.skipIf(!cliIsBuilt)("the whole of RLMT", { timeout: 300_000 }, () => {
  test("each step's output is the next one's input", async () => {
    await using server = await sage();
    const prompts = jsonl(...Array.from({ length: 60 }, (_, i) => ({ prompt: `What is the meaning of number ${i}?` })));
    const endpoint = { "endpoint.baseURL": server.url, "endpoint.model": "sage" };
    const lessons = await train("teach", "lessons", { data: prompts, ...endpoint, threads: 1 });
    const demonstrations = join(lessons.out, "demonstrations.jsonl");
    expect(readLines(lessons.out, "demonstrations.jsonl")).toHaveLength(60);

    const warmed = { model: base, data: demonstrations, "sft.epochs": 1 };
    const warm = {
      think: await train("rlmt-warm-start", "warm-think", warmed),
      plain: await train("rlmt-warm-start", "warm-plain", { ...warmed, thinking: false }),
    };
    const preferences = Array.from({ length: 12 }, (_, i) => ({
      ...{ prompt: `What is number ${i}?`, chosen: "It is what it is.", rejected: `Number ${i} is no number.` },
    }));
    const reward = (name: string, seed: number) =>
      train("reward-model", name, {
        ...{ model: base, data: jsonl(...preferences), seed },
        ...{ "reward.steps": 2, "reward.pairsPerStep": 4 },
      });
    const [first, second] = [await reward("reward", 0), await reward("second-reward", 1)];

    const settings = {
      ...{ data: demonstrations, "reward.model": modelOf(first) },
      ...{ "grpo.steps": 2, "grpo.prompts": 2, "grpo.samplesPerPrompt": 2, "grpo.sampling.maxTokens": 24 },
    };
    const arms = {
      plain: await train("rlmt", "plain", { ...settings, model: modelOf(warm.plain), thinking: false }),
      think: await train("rlmt", "think", { ...settings, model: modelOf(warm.think) }),
    };
    for (const arm of Object.values(arms)) {
      const steps = readLines(arm.out, "metrics.jsonl").filter((line) => line["reward/mean"] !== undefined);
      expect(steps).toHaveLength(2);
      for (const step of steps) expect(step).toMatchObject({ "mismatch/max_abs": 0, malformed: expect.any(Number) });
      expect(existsSync(join(modelOf(arm), "chat_template.jinja"))).toBe(true);
    }

    const page = join(folder, "comparison.html");
    const runs = [arms.plain.out, arms.think.out];
    const comparison = await run<Comparison>("compare", ...runs, "--judge", modelOf(second), "--out", page);
    expect(comparison.settings.map(({ key }) => key)).toEqual(expect.arrayContaining(["model", "thinking"]));
    expect(comparison.settings.map(({ key }) => key).filter((key) => key !== "model" && key !== "thinking")).toEqual(
      [],
    );
    expect(comparison.judge!.wins[1]).toMatchObject({ n: 6, interval: [expect.any(Number), expect.any(Number)] });
    expect(existsSync(page)).toBe(true);

    const small = { prompts: 4, samplesPerPrompt: 4, sampling: { maxTokens: 24 } };
    const others = await Promise.all(
      [
        { ppo: { ...small, steps: 2 } },
        { dpo: { ...small, rollouts: 2, pairsPerStep: 2, epochs: 1, heldOutShare: 0.1 } },
      ].map((own) => {
        const [algorithm] = Object.keys(own) as [string];
        return train("rlmt", algorithm, {
          ...settings,
          ...own,
          algorithm,
          model: modelOf(warm.plain),
          thinking: false,
        });
      }),
    );
    const loops = await run<Comparison>("compare", arms.plain.out, ...others.map(({ out }) => out));
    expect(loops.runs.map(({ phase, steps, finished }) => [phase, steps, finished])).toEqual([
      ["grpo", 2, true],
      ["ppo", 2, true],
      ["dpo", 2, true],
    ]);
    expect(loops.settings).toContainEqual({ key: "algorithm", values: ["grpo", "ppo", "dpo"] });
    const measured = (name: string) =>
      loops.measures.find((measure) => measure.name === name)!.values.map((value) => value !== null);
    for (const name of ["reward/mean/end", "malformed/end"]) expect(measured(name), name).toEqual([true, true, false]);
    for (const name of ["held-out/sampled", "held-out/answer", "seconds"])
      expect(measured(name), name).toEqual([true, true, true]);
    expect(loops.notes).toContainEqual(
      expect.stringMatching(/dpo: its last \d+ steps train on what was sampled before/),
    );

    const sets = Object.entries(endpoint).flatMap(([key, value]) => ["--set", `${key}=${value}`]);
    const judged = await run<JudgeResult>("judge", ...runs, "--set", "bothOrders=true", ...sets);
    expect(judged).toMatchObject({ pairs: 6, unmatched: 0, answers: { n: 6, unparsed: 0 } });
    const parts = [`${arms.think.out}#evaluate-before`, arms.think.out];
    expect(await run<JudgeResult>("judge", ...parts, ...sets)).toMatchObject({ pairs: 6, answers: { n: 6 } });

    const said = await run<{ samples: unknown[] }>(
      "generate",
      "--model",
      modelOf(arms.think),
      "--prompt",
      "What?",
      "--max-tokens",
      "4",
    );
    expect(said.samples).toHaveLength(1);
  });
});
