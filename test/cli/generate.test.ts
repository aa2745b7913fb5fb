// `zazen generate` beyond plain sampling: stop strings and constraints of the engine, and what generation_config.json recommends.
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, onTestFinished, test, vi } from "vitest";
import { jsonObject } from "../../src/cli/flags.js";
import { type GenerateOptions, generate } from "../../src/cli/generate.js";
import { logprobs } from "../../src/cli/logprobs.js";
import { Engine } from "../../src/engine/engine.js";
import { Tokenizer } from "../../src/prompt/tokenizer.js";
import { TOY_BOS, TOY_EOS, toyModel } from "../helpers/toy-model.js";

const base: GenerateOptions = {
  model: "",
  prompt: "Once upon a time",
  n: 3,
  seed: 1,
  dtype: "float32",
  maxTokens: 60,
  raw: true,
};

describe("with a model", { timeout: 60_000 }, () => {
  let folder: string;
  beforeAll(async () => {
    folder = await toyModel();
  });
  const options = (more: Partial<GenerateOptions>): GenerateOptions => ({ ...base, model: folder, ...more });

  test("a stop string across tokens ends the sample there; the ids are whole", async () => {
    const free = await generate(options({ seed: 5 }));
    const stop = free[0]!.text.slice(20, 25);
    const samples = await generate(options({ seed: 5, stop: [stop] }));
    expect(samples[0]).toMatchObject({
      text: free[0]!.text.slice(0, free[0]!.text.indexOf(stop)),
      finish: "stop",
      stop,
    });
    expect(free[0]!.tokens.slice(0, samples[0]!.tokens.length)).toEqual(samples[0]!.tokens);
    expect(free[0]!.logprobs.slice(0, samples[0]!.tokens.length)).toEqual(samples[0]!.logprobs);
  });

  test("text written as it comes is the text of the samples", async () => {
    const pieces: string[] = [];
    const samples = await generate(options({ stop: [" the"], temperature: 0.8, minP: 0.05 }), (text) =>
      pieces.push(text),
    );
    expect(pieces.join("")).toBe(samples.map(({ text }, i) => `--- ${i + 1}\n${text}\n`).join(""));
    expect(pieces.length).toBeGreaterThan(6);
  });

  test("a text that spells out its start token gets no second one", async () => {
    const greedy = { n: 1, temperature: 0, maxTokens: 5 };
    expect(await generate(options({ ...greedy, prompt: "<s>The cat" }))).toEqual(
      await generate(options({ ...greedy, prompt: "The cat" })),
    );
    const tokensOf = async (text: string) =>
      (await logprobs({ model: folder, text, top: 0, temperature: 1, dtype: "float32" })).tokens;
    expect(await tokensOf("<s>The cat")).toEqual(await tokensOf("The cat"));
    expect((await tokensOf("<s><s>The cat")).filter((id) => id === TOY_BOS)).toHaveLength(2); // as many as were written
  });

  test("choices and regular expressions", async () => {
    const choice = [" a dog", " a cat"];
    for (const { text, finish } of await generate(options({ n: 20, choice })))
      expect([choice.includes(text), finish]).toEqual([true, "stop"]);
    const samples = await generate(options({ n: 20, regex: " [A-Z][a-z]{2,6}( and [A-Z][a-z]{2,6})?\\." }));
    for (const { text } of samples) expect(text).toMatch(/^ [A-Z][a-z]{2,6}( and [A-Z][a-z]{2,6})?\.$/);
    await expect(generate(options({ choice, regex: "a" }))).rejects.toMatchObject({ code: "TWO_CONSTRAINTS" });
    await expect(generate(options({ regex: "^a" }))).rejects.toMatchObject({ code: "PATTERN_UNSUPPORTED" });
  });

  test("variables reach the chat template, and are refused where none would read them", async () => {
    const kwargs = { style: "Once upon a time", enable_thinking: false };
    const asked = { prompt: "Lily", raw: false, n: 1, chatTemplateKwargs: kwargs };
    const refused = (more: Partial<GenerateOptions>) => generate(options({ ...asked, ...more }));
    await expect(refused({})).rejects.toMatchObject({ code: "CHAT_TEMPLATE_MISSING" });
    await expect(refused({ raw: true })).rejects.toMatchObject({ code: "USAGE" });
    const template = "{{ style }}{% if enable_thinking is false %}, {{ messages[0].content }}{% endif %}";
    writeFileSync(join(folder, "chat_template.jinja"), template);
    onTestFinished(() => rmSync(join(folder, "chat_template.jinja")));
    const [told] = await generate(options(asked));
    const { model } = options({});
    using tokenizer = await Tokenizer.load(model);
    const ids = tokenizer.encode("Once upon a time, Lily", { addSpecialTokens: false });
    await using engine = await Engine.load(model, { trainable: false });
    const prompts = { ids: Int32Array.from(ids), cuSeqlens: Int32Array.of(0, ids.length) };
    const sampling = { maxTokens: 60, stopTokenIds: [TOY_EOS] };
    const { tokens } = await engine.generate({ prompts, samplesPerPrompt: 1, sampling, seed: 1 });
    expect(told!.tokens).toEqual([...tokens]);
    const reserved = refused({ chatTemplateKwargs: { messages: [] } });
    await expect(reserved).rejects.toMatchObject({ code: "CHAT_TEMPLATE_SETTING" });
  });

  test.each(["{", "[1]", "3", "null"])("--chat-template-kwargs %s is no JSON object", (text) => {
    expect(() => jsonObject(text)).toThrow(/Expected a JSON object such as/);
  });

  test("generation_config.json counts where no flag does, and stderr says so", async () => {
    const greedy = await generate(options({ temperature: 0, n: 1 }));
    const sampled = await generate(options({ temperature: 0.9, n: 1 }));
    const says = vi.spyOn(process.stderr, "write").mockReturnValue(true);
    try {
      const file = { eos_token_id: TOY_EOS, do_sample: false, top_k: 50, repetition_penalty: null };
      writeFileSync(join(folder, "generation_config.json"), JSON.stringify(file));
      expect(await generate(options({ n: 1 }))).toEqual(greedy);
      expect(says).toHaveBeenCalledWith("sampling as generation_config.json says: topK 50, temperature 0\n");
      says.mockClear();
      expect(await generate(options({ n: 1, temperature: 0.9, topK: 0 }))).toEqual(sampled);
      expect(says).not.toHaveBeenCalled();
      writeFileSync(
        join(folder, "generation_config.json"),
        JSON.stringify({ typical_p: 0.9, no_repeat_ngram_size: 0 }),
      );
      await generate(options({ n: 1 }));
      expect(says).toHaveBeenCalledWith(
        "generation_config.json asks for typical_p 0.9: not followed, since this engine does not do it\n",
      );
    } finally {
      says.mockRestore();
    }
  });
});
