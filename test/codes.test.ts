// Every error code of src and native is named in a test, or in the list of those that no input reaches, with the reason. Then the codes
// that stand alone: one bad argument each.
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, describe, expect, test, vi } from "vitest";
import { generate } from "../src/cli/generate.js";
import { logprobs } from "../src/cli/logprobs.js";
import { exitCodeOf, reportFailure } from "../src/cli/output.js";
import { recipeOf } from "../src/cli/try.js";
import { InputError, ZazenError } from "../src/errors.js";
import { tokenWeights } from "../src/objective/weights.js";
import { Slots } from "../src/reward/slots.js";
import { packSequences, unpackSamples } from "../src/rollout/pack.js";
import { exactReferences } from "../src/tasks/exact.js";
import { checkCountdownProblem, choiceReference, decodeTrial, encodeTrial, evaluate } from "../src/tasks/index.js";
import { codesOf, filesWithCodes, root } from "./fuzz/codes.js";
import { tempFolder } from "./helpers/recipes.js";

/** Codes that no test can give, with the reason. */
const UNREACHABLE: Readonly<Record<string, string>> = {
  INTERNAL:
    "a C++ exception that is neither ours nor a refusal of memory: the boundary's last resort, thrown by nothing in native/",
  THREADS: "the system refuses a thread: no limit on them holds for every user who runs the tests",
};

function testTexts(): string {
  const names = readdirSync(join(root, "test"), { recursive: true }).map(String);
  const files = names.filter((name) => /\.(ts|mjs|cc|h)$/.test(name) && name !== "codes.test.ts");
  return files.map((name) => readFileSync(join(root, "test", name), "utf8")).join("\n");
}

test("every code is named in a test, or cannot be reached", () => {
  const own = readFileSync(fileURLToPath(import.meta.url), "utf8");
  const texts = testTexts() + own.slice(own.lastIndexOf("const cases")); // behind the list of the unreachable
  const named = (code: string) => new RegExp(`\\b${code}\\b`).test(texts);
  const codes = [...codesOf(["src", "native"].flatMap(filesWithCodes))];
  expect(codes.length).toBeGreaterThan(100);
  expect(codes.filter((code) => !named(code) && !(code in UNREACHABLE))).toEqual([]);
  expect(Object.keys(UNREACHABLE).filter((code) => named(code) || !codes.includes(code))).toEqual([]);
});

const unpacked = { tokens: new Int32Array(0), cuSeqlens: new Int32Array(1), finish: [] };
const none = { logprobs: new Float32Array(0), samplerLogprobs: new Float32Array(0) };
const asked = { model: "none", n: 1, seed: 0, dtype: "float32", maxTokens: 1, raw: true, prompt: "a" } as const;
const scored = { model: "none", top: 0, temperature: 1, dtype: "float32" } as const;

const cases: readonly (readonly [code: string, task: () => unknown, message: RegExp])[] = [
  ["CHOICE_REFERENCE", () => choiceReference("G"), /expected one of the labels A, B.*got "G"; correct/],
  ["CONSTANT_LENGTH", () => tokenWeights([[1]], "constant", 0), /expected constantLength > 0.*got 0/],
  ["COUNTDOWN_PROBLEM", () => checkCountdownProblem({ numbers: [1.5], target: 2 }), /got numbers \[1\.5\]/],
  ["EMPTY_SEQUENCE", () => packSequences([[1], []]), /^\[sequence 1\] expected at least one token/],
  ["EMPTY_STOP", () => generate({ ...asked, stop: [""] }), /\[generate --stop\] expected text/],
  ["EXACT_REFERENCE", () => exactReferences([]), /expected a text, a number, or a list.*got \[\]/],
  [
    "EXPRESSION_TOO_LARGE",
    () => evaluate({ operator: "*", left: 2 ** 40, right: 2 ** 40 }),
    /expected numbers whose \(n \+ 1\) multiply/,
  ],
  ["IDS_SYNTAX", () => logprobs({ ...scored, ids: "1,x" }), /expected integers with commas between, got "x"/],
  ["LOGPROBS_INPUT", () => logprobs(scored), /expected one of --text and --ids, got neither/],
  ["LOGPROBS_INPUT", () => logprobs({ ...scored, ids: "1", text: "a" }), /got both/],
  ["SAMPLE_COUNT", () => unpackSamples([Int32Array.of(1)], { ...unpacked, ...none }, 2), /expected 2 samples, got 0/],
  ["TRIAL_ID_UNKNOWN", () => decodeTrial([121]), /expected ids in 0\.\.120, got 121/],
  ["TRIAL_UNKNOWN", () => recipeOf("rlmy"), /^\[try\] expected one of .*rlmt.*, got "rlmy"/],
  ["TRIAL_TOKEN_UNKNOWN", () => encodeTrial("1 + one"), /expected a token of the trial, got "one"/],
];

test.each(cases)("%s", async (code, task, message) => {
  const error: unknown = await (async () => task())().catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(InputError);
  expect(error).toMatchObject({ code, message: expect.stringMatching(message) as string });
});

test("REWARD_QUEUE: who waits for a worker is told when too many do", async () => {
  const slots = new Slots(1);
  const { signal } = new AbortController();
  let release = () => {};
  const first = slots.use(signal, () => new Promise<void>((done) => (release = done)));
  const waiting = Array.from({ length: 4096 }, () => slots.use(signal, async () => {}));
  await expect(slots.use(signal, async () => {})).rejects.toMatchObject({
    code: "REWARD_QUEUE",
    message: expect.stringContaining("at most 4096 batches to wait") as string,
  });
  release();
  await expect(Promise.all([first, ...waiting])).resolves.toHaveLength(4097);
});

describe("an addon", () => {
  afterEach(() => {
    vi.unstubAllEnvs();
    vi.resetModules();
  });
  const load = async (path: string) => {
    vi.stubEnv("ZAZEN_ADDON", path);
    vi.resetModules();
    const { addon } = await import("../src/engine/addon.js");
    return addon();
  };

  test("that is not there is ADDON_MISSING", async () => {
    const path = join(tempFolder(), "zazen.node");
    await expect(load(path)).rejects.toMatchObject({
      code: "ADDON_MISSING",
      message: `[engine] expected the native addon, got none at ${path}; run: npm run build`,
    });
  });

  test("that does not load is ADDON_BROKEN", async () => {
    const path = join(tempFolder(), "zazen.node");
    writeFileSync(path, "no library");
    await expect(load(path)).rejects.toMatchObject({
      code: "ADDON_BROKEN",
      message: expect.stringMatching(/zazen\.node to load, got: .*; build it again: npm run build$/) as string,
    });
  });
});

test("UNEXPECTED is an error that nobody planned, with its stack", () => {
  const write = vi.spyOn(process.stderr, "write").mockReturnValue(true);
  const exitCode = process.exitCode;
  reportFailure(new TypeError("x is not a function"), true);
  process.exitCode = exitCode;
  const [line] = write.mock.calls[0]!;
  write.mockRestore();
  const { error } = JSON.parse(String(line)) as { error: { code: string; message: string } };
  expect(error).toMatchObject({ code: "UNEXPECTED", message: expect.stringContaining("codes.test.ts") as string });
  expect(exitCodeOf(new ZazenError("X", "x"))).toBe(1);
});
