// What a model's chat template and tokenizer make of prompts and demonstrations in training, to the id: BOS once, whoever writes it; the
// variables and the date of the settings; and the first day's date in a run that goes on on another day.
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, describe, expect, test, vi } from "vitest";
import { findRun } from "../../src/cli/resume.js";
import { resolveSettings, type Settings } from "../../src/config/resolve.js";
import type { Recipe } from "../../src/methods/recipe.js";
import { makeWarmStart } from "../../src/methods/rlmt-warm-start.js";
import { makeRlvr } from "../../src/methods/rlvr.js";
import { encodeTrial } from "../../src/tasks/countdown-trial.js";
import type { RunHost } from "../../src/train/run.js";
import { remains } from "../helpers/crash.js";
import { unpack } from "../helpers/engine.js";
import { FakeSource } from "../helpers/fake-engine.js";
import { jsonl, modelFolder } from "../helpers/recipes.js";
import { readLines, type TestHost, testHost } from "../helpers/run-host.js";

const [bos] = encodeTrial("<bos>");

/** A model whose tokenizer puts <bos> before every text that is given special tokens, and whose template is `template`. */
async function modelWith(template: string): Promise<string> {
  const folder = await modelFolder();
  const path = join(folder, "tokenizer.json");
  const post_processor = {
    type: "TemplateProcessing",
    single: [{ SpecialToken: { id: "<bos>", type_id: 0 } }, { Sequence: { id: "A", type_id: 0 } }],
    pair: [{ Sequence: { id: "A", type_id: 0 } }, { Sequence: { id: "B", type_id: 0 } }],
    special_tokens: { "<bos>": { id: "<bos>", ids: [bos], tokens: ["<bos>"] } },
  };
  writeFileSync(path, JSON.stringify({ ...JSON.parse(readFileSync(path, "utf8")), post_processor }));
  writeFileSync(join(folder, "chat_template.jinja"), template);
  return folder;
}

/** An arm of the tests: a recipe, its settings, and the sequences that its engines were given in order. */
interface Arm {
  readonly make: (source: FakeSource) => Recipe<never>;
  readonly settings: Settings;
  readonly seen: (source: FakeSource) => number[][];
}

const asked = { prompt: "5 6", answer: "11" };
const rlvr: Arm = {
  make: (source) => makeRlvr(source) as Recipe<never>,
  settings: {
    ...{ data: jsonl(asked), format: "warm-plain", rewards: [{ kind: "exact", timeoutMs: 60_000 }], rewardWorkers: 1 },
    grpo: { steps: 3, prompts: 1, samplesPerPrompt: 2, sampling: { maxTokens: 4 } },
    checkpoint: { every: 1 },
  },
  seen: ({ made }) =>
    made.flatMap(({ requests }) =>
      requests.flatMap(({ prompts: { ids, cuSeqlens } }) =>
        unpack(ids as Int32Array, cuSeqlens as Int32Array).map((row) => [...row]),
      ),
    ),
};
const warmStart: Arm = {
  make: (source) => makeWarmStart(source) as Recipe<never>,
  settings: {
    ...{ data: jsonl({ prompt: "5 6", thinking: "7", response: "8" }), filters: { english: false } },
    ...{ sft: { epochs: 3, batch: 1 }, checkpoint: { every: 1 } },
  },
  seen: ({ made }) =>
    made.flatMap(({ batches }) =>
      batches.flatMap(({ batch }) => unpack(batch.ids as Int32Array, batch.cuSeqlens).map((row) => [...row])),
    ),
};

async function run({ make, settings, seen }: Arm, change: Settings, host: RunHost = testHost()): Promise<number[][]> {
  const source = new FakeSource();
  const recipe = make(source);
  await recipe.run(resolveSettings(recipe.name, recipe.schema, { ...settings, ...change }), host);
  return seen(source);
}

describe("BOS is there once", () => {
  const template = "{{ bos_token }} {{ messages[0].content }} ->";

  test("where the template writes it and the tokenizer would add another", async () => {
    const prompts = await run(rlvr, { model: await modelWith(template) });
    expect(prompts).toEqual(new Array(3).fill(encodeTrial("<bos> 5 6 ->")));
  });

  test("where nobody but the tokenizer writes it", async () => {
    const [prompt] = await run(rlvr, { model: await modelWith(template), format: "zero-plain" });
    expect(prompt![0]).toBe(bos);
    expect(prompt!.filter((id) => id === bos)).toHaveLength(1);
  });
});

const turn = "{% if m.role == 'assistant' %}-> {% endif %}{{ m.content }} ";
const turns = `{% for m in messages %}${turn}{% endfor %}{% if add_generation_prompt %}-> {% endif %}`;
const dated = `{{ strftime_now('%d') }} {{ mark or 'x' }} ${turns}`;
const chat = { kwargs: { mark: "ok" }, date: "2001-03-17" };
const arms: readonly (readonly [string, Arm, string])[] = [
  ["rlvr", rlvr, "5 6 ->"],
  ["rlmt-warm-start", warmStart, "5 6 -> <think> 7 </think> 8 <eos>"],
];

describe.each(arms)("%s", (_, arm, text) => {
  test("renders with the variables and the date of the settings", async () => {
    const model = await modelWith(dated);
    expect(await run(arm, { model, chat })).toEqual(new Array(3).fill(encodeTrial(`17 ok ${text}`)));
    expect((await run(arm, { model, chat: { date: "2001-03-18" } }))[0]).toEqual(encodeTrial(`18 x ${text}`));
  });

  describe("on another day", () => {
    afterEach(() => vi.useRealTimers());
    const on = (day: string) => vi.useFakeTimers({ toFake: ["Date"], now: Date.parse(`${day}T12:00:00Z`) });

    /** Runs on one day to the first step, and goes on with what the run folder says on another. */
    async function interrupted(model: string): Promise<{ host: TestHost; sequences: number[][] }> {
      on("2025-01-31");
      const host = testHost();
      const emit: RunHost["emit"] = (event) => {
        if (event.type === "step" && event.step === 1) host.controller.abort(new Error("stop"));
      };
      await expect(run(arm, { model }, { ...host, emit })).rejects.toThrow("stop");
      on("2025-02-12");
      const source = new FakeSource();
      const recipe = arm.make(source);
      const { config, checkpoint } = await findRun([recipe as Recipe], host.out, {});
      await recipe.run(config as never, { ...testHost(), out: host.out, resume: { checkpoint } });
      return { host, sequences: arm.seen(source) };
    }

    test("a resumed run keeps its first day's date, and is the run that was not stopped", async () => {
      const model = await modelWith(dated);
      on("2025-01-31");
      const whole = testHost();
      await run(arm, { model }, whole);
      const { host, sequences } = await interrupted(model);
      expect(sequences).toEqual(new Array(2).fill(encodeTrial(`31 x ${text}`)));
      expect({ ...remains(host.out), checkpoints: [] }).toEqual({ ...remains(whole.out), checkpoints: [] });
      expect(readLines(host.out, "metrics.jsonl")).toHaveLength(3);
    });
  });
});

test("whether a template leaves the thought whole is asked with the variables and the date of the settings", async () => {
  const cut = turns.replace("m.content", "keep and strftime_now('%Y') == '2001' and m.content or 'x'");
  const model = await modelWith(cut);
  const refused = { code: "CHAT_TEMPLATE_CONTENT" };
  await expect(run(warmStart, { model, chat: { ...chat, kwargs: { keep: true } } })).resolves.toHaveLength(3);
  await expect(run(warmStart, { model, chat })).rejects.toMatchObject(refused);
  await expect(run(warmStart, { model, chat: { kwargs: { keep: true } } })).rejects.toMatchObject(refused);
});
