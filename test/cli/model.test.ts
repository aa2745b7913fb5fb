// `zazen generate`, `logprobs` and `doctor` as processes: on a small model whose greedy text is known, and on a pretrained one the ids and texts
// of ../shared/models/README.md; and the law that a sampled log-prob is, bit for bit, the one computed later in another process.
import { cpSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import type { DoctorReport } from "../../src/cli/doctor.js";
import type { TextSample } from "../../src/cli/generate.js";
import type { ScoredText } from "../../src/cli/logprobs.js";
import { fixture } from "../helpers/files.js";
import { temporaryFolder } from "../helpers/temporary.js";
import { TOY_BOS, TOY_STORY, toyIds, toyModel } from "../helpers/toy-model.js";
import { cliIsBuilt, failure, json, model, modelsAreThere, zazen } from "./process.js";

const generate = (args: readonly string[], folder: string) =>
  json<{ samples: readonly TextSample[] }>(["generate", "--model", folder, ...args]).samples;
const score = (args: readonly string[], folder: string) => json<ScoredText>(["logprobs", "--model", folder, ...args]);

/** The best token after each of a greedy text's is the next one, with its log-prob. */
function expectBestNext(folder: string, bos: number, greedy: readonly number[]): void {
  const { top, logprobs } = score(["--ids", [bos, ...greedy].join(","), "--top", "1"], folder);
  expect(top.slice(0, -1).map(([best]) => best?.id)).toEqual(greedy);
  expect(top.slice(0, -1).map(([best]) => best?.logprob)).toEqual(logprobs.slice(1));
}

describe.skipIf(!cliIsBuilt || !modelsAreThere)("on stories260k", { timeout: 60_000 }, () => {
  const stories = model("stories260k");
  const greedy = [403, 407, 261, 378, 432, 383, 286, 261, 376, 298, 315, 421, 395, 317, 426, 338, 401, 396];
  const firstSentence = "Once upon a time, there was a little girl named Lily";

  test("greedy text from BOS alone is the known one", () => {
    const [sample] = generate(["--prompt", "", "--raw", "--temperature", "0", "--max-tokens", "18"], stories);
    expect(sample?.tokens).toEqual(greedy);
    expect(sample?.text).toBe(`${firstSentence}. She loved`);
    expectBestNext(stories, 1, greedy);
  });

  test("a continuation keeps the space that joins it to its prompt", () => {
    const args = ["--prompt", "Once upon a time,", "--raw", "--temperature", "0", "--max-tokens", "4"];
    expect(generate(args, stories)[0]?.text).toMatch(/^ there was/);
  });

  test("known ids of a text", () => {
    const { tokens } = score(["--text", 'Lily said "Hello, Tom!" and ran.'], stories);
    expect(tokens).toEqual([1, 317, 336, 313, 440, 411, 306, 414, 432, 274, 287, 443, 436, 269, 352, 303, 426]);
  });
});

describe.skipIf(!cliIsBuilt)("on a small model", { timeout: 60_000 }, () => {
  const [firstSentence] = TOY_STORY.split(".") as [string];
  const greedily = ["--prompt", "", "--temperature", "0", "--max-tokens", "80"];
  let toy = "";
  let copies = "";
  let vocabSize = 0;
  beforeAll(async () => {
    toy = await toyModel();
    copies = temporaryFolder("model");
    vocabSize = JSON.parse(readFileSync(join(toy, "config.json"), "utf8")).vocab_size;
  });

  /** A copy of the model whose file is changed by `edit`; null removes it. */
  function changed(name: string, file: string, edit: ((text: string) => string) | null): string {
    const folder = join(copies, name);
    cpSync(toy, folder, { recursive: true });
    const text = readFileSync(join(folder, file), "utf8");
    rmSync(join(folder, file), { force: true });
    if (edit !== null) writeFileSync(join(folder, file), edit(text));
    return folder;
  }

  test("greedy text from BOS alone is what it was taught, up to its end token", () => {
    const [sample] = generate([...greedily, "--raw"], toy);
    expect(sample).toMatchObject({ text: TOY_STORY, finish: "stop" });
    expect(sample?.logprobs.length).toBe(sample?.tokens.length);
    expectBestNext(toy, TOY_BOS, sample!.tokens);
    const [cut] = generate([...greedily, "--raw", "--max-tokens", "18"], toy);
    expect(cut).toMatchObject({ tokens: sample!.tokens.slice(0, 18), finish: "length" });
  });

  test("a continuation keeps the space that joins it to its prompt", () => {
    const [sample] = generate(
      ["--prompt", firstSentence.slice(0, 7), "--raw", "--temperature", "0", "--max-tokens", "9"],
      toy,
    );
    expect(sample?.text).toMatch(/^ dog ran/);
  });

  test("a stop string trims the text, and the ids end with the token that completes it", () => {
    const [whole] = generate(greedily, toy);
    const [sample] = generate([...greedily, "--stop", "zzz", "--stop", "."], toy);
    expect(sample).toMatchObject({ text: firstSentence, finish: "stop" });
    expect(sample!.tokens).toEqual(whole!.tokens.slice(0, sample!.tokens.length));
    expect(score(["--ids", sample!.tokens.slice(-1).join()], toy).tokens).toEqual(
      score(["--text", "."], toy).tokens.slice(1),
    );
    expect(sample?.logprobs).toHaveLength(sample!.tokens.length);
  });

  test("same seed, same samples, whatever the threads; another seed, others", () => {
    const args = ["--prompt", "Tom", "--n", "3", "--max-tokens", "12", "--temperature", "0.9"];
    const one = generate([...args, "--seed", "5", "--threads", "1"], toy);
    expect(one).toHaveLength(3);
    expect(one[0]?.tokens).not.toEqual(one[1]?.tokens);
    expect(generate([...args, "--seed", "5", "--threads", "2"], toy)).toEqual(one);
    expect(generate([...args, "--seed", "6"], toy)).not.toEqual(one);
  });

  test.each(["0.7", "1"])(
    "sampled log-probs equal those computed later, bit for bit, at temperature %s",
    (temperature) => {
      const prompt = score(["--text", "Lily and Tom"], toy).tokens;
      const asked = ["--prompt", "Lily and Tom", "--n", "4", "--max-tokens", "20", "--temperature", temperature];
      for (const { tokens, logprobs } of generate(asked, toy)) {
        const ids = [...prompt, ...tokens].join(",");
        const scored = score(["--ids", ids, "--temperature", temperature], toy);
        expect(scored.logprobs.slice(prompt.length)).toEqual(logprobs);
      }
    },
  );

  test("logprobs: known ids, null first, the best tokens best first", () => {
    const { tokens, logprobs, top } = score(["--text", "Tom sat", "--top", "3"], toy);
    expect(tokens).toEqual([TOY_BOS, ...toyIds("T", "o", "m", "Ġs", "a", "t")]);
    expect(logprobs[0]).toBeNull();
    expect(logprobs.slice(1).every((value) => value !== null && value < 0)).toBe(true);
    expect(top).toHaveLength(tokens.length);
    for (const best of top) {
      expect(best.map(({ logprob }) => logprob)).toEqual(best.map(({ logprob }) => logprob).sort((a, b) => b - a));
      expect(new Set(best.map(({ id }) => id)).size).toBe(3);
    }
  });

  test("top lists the whole vocabulary when asked, and its mass is 1", () => {
    const { top } = score(["--ids", "1", "--top", String(vocabSize)], toy);
    expect(top[0]?.reduce((sum, { logprob }) => sum + Math.exp(logprob), 0)).toBeCloseTo(1, 5);
  });

  test.each([
    ["1,VOCABULARY", "at place 1"],
    ["-1", "got -1 at place 0"],
    ["1,2,99999999999", "got 99999999999 at place 2"],
  ])("ids %s are out of the vocabulary", (ids, message) => {
    const refused = failure(["logprobs", "--model", toy, "--ids", ids.replace("VOCABULARY", String(vocabSize))]);
    expect(refused).toMatchObject({ status: 2, code: "TOKEN_OUT_OF_RANGE" });
    expect(refused.message).toContain(`[logprobs] expected ids in [0, ${vocabSize})`);
    expect(refused.message).toContain(message);
  });

  test("more best tokens than there are tokens", () => {
    const refused = failure(["logprobs", "--model", toy, "--ids", "1", "--top", String(vocabSize + 1)]);
    expect(refused).toMatchObject({ status: 2, code: "TOP_OUT_OF_RANGE" });
  });

  test("without a tokenizer, ids still work and text is refused", () => {
    const folder = changed("no-tokenizer", "tokenizer.json", null);
    expect(score(["--ids", "1,68"], folder)).toEqual(score(["--ids", "1,68"], toy));
    for (const asked of [
      ["logprobs", "--text", "x"],
      ["generate", "--prompt", "x"],
    ]) {
      const [command, ...flags] = asked as [string, string, string];
      const refused = failure([command, "--model", folder, ...flags]);
      expect(refused).toMatchObject({ status: 2, code: "TOKENIZER_MISSING" });
    }
  });

  test("an empty prompt is refused where the tokenizer adds no BOS", () => {
    const withoutBos = (text: string) => JSON.stringify({ ...(JSON.parse(text) as object), post_processor: null });
    const folder = changed("no-bos", "tokenizer.json", withoutBos);
    expect(failure(["generate", "--model", folder, "--prompt", ""])).toMatchObject({ status: 2, code: "EMPTY_PROMPT" });
    expect(failure(["logprobs", "--model", folder, "--text", ""])).toMatchObject({ status: 2, code: "EMPTY_PROMPT" });
  });

  test("the chat template is used, unless --raw", () => {
    const template = (text: string) =>
      JSON.stringify({
        ...(JSON.parse(text) as object),
        chat_template: "{{ bos_token }}{{ messages[0].role }} {{ messages | length }}",
      });
    const folder = changed("chat", "tokenizer_config.json", template);
    const tokens = (prompt: string, ...more: string[]) =>
      generate(["--prompt", prompt, "--temperature", "0", "--max-tokens", "6", ...more], folder)[0]?.tokens;
    expect(tokens("A small")).toEqual(tokens("The cat"));
    expect(tokens("A small", "--raw")).not.toEqual(tokens("The cat", "--raw"));
  });

  test("without --json the output is for people", () => {
    expect(zazen(["generate", "--model", toy, ...greedily, "--stop", "."]).stdout).toBe(`${firstSentence}\n`);
    expect(zazen(["logprobs", "--model", toy, "--text", "Lily", "--top", "1"]).stdout).toMatch(
      /^place +id +token +logprob +best next$/m,
    );
  });
});

describe.skipIf(!cliIsBuilt)("a model folder that is not there", { timeout: 60_000 }, () => {
  test.each([
    ["generate", "--prompt", "x"],
    ["logprobs", "--text", "x"],
    ["logprobs", "--ids", "1"],
  ])("%s %s is told so, not what it lacks", (command, flag, value) => {
    const none = join(tmpdir(), "zazen-none");
    expect(failure([command, "--model", none, flag, value])).toEqual({
      status: 2,
      code: "MODEL_MISSING",
      message: `[${none}] expected a model folder, got nothing there; check the path`,
    });
  });
});

describe.skipIf(!cliIsBuilt)("a sequence classifier", { timeout: 60_000 }, () => {
  test.each([
    ["generate", "--prompt", "x"],
    ["logprobs", "--ids", "1"],
  ])("%s says that it writes no text", (command, flag, value) => {
    const told = failure([command, "--model", fixture("scalar/llama"), flag, value]);
    expect(told).toMatchObject({ status: 2, code: "WRONG_HEAD" });
    expect(told.message).toContain("expected a language model, got a sequence classifier");
  });
});

describe.skipIf(!cliIsBuilt)("doctor", { timeout: 120_000 }, () => {
  test("finds this machine's engine exact", () => {
    const report = json<DoctorReport>(["doctor"]);
    expect(report.engineError).toBeNull();
    expect(report.engine?.exactness).toMatchObject({ ok: true, failures: [] });
    expect(report.engine?.cpu.available).toContain(report.engine?.cpu.isa);
    expect(report.engine?.peak.gflops).toBeGreaterThan(0);
    expect(report.ok).toBe(true);
  });
});
