// `zazen judge` on files and run folders, with a judge on this machine.
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { afterEach, describe, expect, test, vi } from "vitest";
import { type JudgeCommandOptions, judge } from "../../src/cli/judge.js";
import { type ChatServer, chatServer, completion } from "../helpers/chat-server.js";
import { readLines } from "../helpers/run-host.js";
import { temporaryFolder } from "../helpers/temporary.js";
import { cliIsBuilt, start, zazen } from "./process.js";

const servers: ChatServer[] = [];
afterEach(async () => {
  for (const server of servers.splice(0)) await server[Symbol.asyncDispose]();
});

/** Prefers the longer text. */
async function longerWins(): Promise<ChatServer> {
  const server = await chatServer(({ body }) => {
    const text = body.messages[0]!.content;
    const [a, b] = ["a", "b"].map(
      (name) => new RegExp(`<(?:response|plan)_${name}>\\n([^]*?)\\n<`).exec(text)![1]!.length,
    );
    return { body: completion(`Verdict: ${a! > b! ? "A" : a! < b! ? "B" : "tie"}`) };
  });
  servers.push(server);
  return server;
}

const lines = (rows: readonly unknown[]) => rows.map((row) => `${JSON.stringify(row)}\n`).join("");

function file(rows: readonly unknown[], folder = temporaryFolder("judge"), name = "rows.jsonl"): string {
  const path = join(folder, name);
  writeFileSync(path, lines(rows));
  return path;
}

const rows = (length: number, from = 0) =>
  Array.from({ length: 6 }, (_, i) => ({
    ...{ prompt: `Question ${i + from}?`, thinking: "t".repeat(length), response: "r".repeat(length) },
  }));
const sets = (server: { url: string }) => [`endpoint.baseURL=${server.url}`, "endpoint.model=judge"];
const never = new AbortController().signal;

function judged(server: ChatServer, first: string, second: string, options: Partial<JudgeCommandOptions> = {}) {
  return judge(first, second, { by: "answers", set: sets(server), ...options }, never);
}

describe("judge", () => {
  test("pairs rows by their prompts", async () => {
    const server = await longerWins();
    const result = await judged(server, file(rows(3)), file(rows(5, 2).reverse()));
    expect(result).toMatchObject({ pairs: 4, unmatched: 4, traits: null });
    expect(result.answers).toMatchObject({ wins: 4, losses: 0, rate: 1 });
    expect(result.spent).toMatchObject({ requests: 4 });
  });

  test("compares thoughts by traits, and both", async () => {
    const server = await longerWins();
    const traits = "traits.list={long: It is long., dense: It is dense.}";
    const result = await judged(server, file(rows(5)), file(rows(3)), { by: "both", set: [...sets(server), traits] });
    expect(result.answers).toMatchObject({ losses: 6, rate: 0 });
    expect(Object.keys(result.traits!)).toEqual(["long", "dense"]);
    expect(server.asked).toHaveLength(18);
  });

  test("reads the last held-out answers of a run folder", async () => {
    const server = await longerWins();
    const held = (step: number, decoded: string, answer: string) =>
      [0, 1].map((i) => ({
        ...{ phase: "grpo", step, decoded, problem: i, thinking: null, answer },
        messages: [{ role: "user", content: `Question ${i}?` }],
      }));
    const folder = temporaryFolder("judge-run");
    file(
      [...held(5, "sampled", "a long answer"), ...held(10, "sampled", "ab"), ...held(10, "greedy", "abcdefgh")],
      folder,
      "held-out.jsonl",
    );
    expect((await judged(server, file(rows(3)), folder)).answers).toMatchObject({ losses: 2 });
    const teacher = temporaryFolder("judge-teacher");
    file(rows(9), teacher, "demonstrations.jsonl");
    expect((await judged(server, file(rows(3)), teacher)).answers).toMatchObject({ wins: 6 });
  });

  test("finds traits in some pairs, and compares them on the others", async () => {
    const server = await chatServer(({ body }) => {
      const text = body.messages[0]!.content;
      if (text.includes("<notes>")) return { body: completion("Lists: It lists.\nDoubts: It doubts.") };
      return { body: completion(text.includes("Trait: ") ? "Verdict: tie" : "Lists: It lists.") };
    });
    servers.push(server);
    const some = ["traits.find=2", "traits.findPairs=4"];
    const result = await judged(server, file(rows(5)), file(rows(3)), {
      by: "traits",
      set: [...sets(server), ...some],
    });
    expect(result.found).toMatchObject({ pairs: 4, notes: 4, unparsed: 0, traits: { lists: "It lists." } });
    expect(result.traits).toMatchObject({ lists: { n: 2, ties: 2 }, doubts: { n: 2, ties: 2 } });
    const questions = server.asked.map(({ body }) => /Question \d/.exec(body.messages[0]!.content)?.[0]);
    const [read, compared] = [questions.slice(0, 4), questions.slice(5)];
    expect(new Set([...read, ...compared]).size).toBe(6);
    expect(compared.filter((question) => read.includes(question))).toEqual([]);
    const all = ["traits.find=2", "traits.findPairs=6"];
    const failed = judged(server, file(rows(5)), file(rows(3)), { by: "traits", set: [...sets(server), ...all] });
    await expect(failed).rejects.toThrow(
      /expected more pairs with thoughts than the 6 .*, got 6; lower traits.findPairs/,
    );
  });

  test("compares the parts of one run: before its training and after", async () => {
    const server = await longerWins();
    const held = (phase: string, answer: string) =>
      [0, 1, 2].map((i) => ({
        ...{ phase, step: 1, decoded: "sampled", problem: i, thinking: null, answer },
        messages: [{ role: "user", content: `Question ${i}?` }],
      }));
    const folder = temporaryFolder("judge-parts");
    file([...held("evaluate-before", "long answer"), ...held("evaluate-after", "short")], folder, "held-out.jsonl");
    expect((await judged(server, `${folder}#evaluate-before`, folder)).answers).toMatchObject({ losses: 3 });
    expect((await judged(server, folder, `${folder}#evaluate-before`)).answers).toMatchObject({ wins: 3 });
    await expect(judged(server, folder, `${folder}#after`)).rejects.toThrow(
      /expected one of the parts evaluate-before, evaluate-after, got after; correct its name/,
    );
    await expect(judged(server, folder, `${file(rows(3))}#x`)).rejects.toThrow(
      /expected rows of a run, which name their part, got x/,
    );
  });

  test("keeps answers, and does not ask for those that it has", async () => {
    const server = await longerWins();
    const keep = join(temporaryFolder("judge-keep"), "verdicts.jsonl");
    const [first, second] = [file(rows(3)), file(rows(5))];
    const once = await judged(server, first, second, { keep });
    expect(readLines(join(keep, ".."), "verdicts.jsonl")).toHaveLength(6);
    writeFileSync(keep, readFileSync(keep, "utf8").slice(0, -10)); // as a killed process leaves it
    const again = await judged(server, first, second, { keep });
    expect(again.answers).toEqual(once.answers);
    expect(server.asked).toHaveLength(7);
  });

  /** Answers so many times and is down then, until it is mended. */
  async function breaksAfter(answers: number): Promise<ChatServer & { mend(): void }> {
    const state = { mended: false };
    const server = await chatServer(({ n }) =>
      n > answers && !state.mended ? { status: 503, body: "down" } : { body: completion("Verdict: A") },
    );
    servers.push(server);
    return Object.assign(server, {
      mend: () => {
        state.mended = true;
      },
    });
  }
  const alone = ["endpoint.concurrency=1", "endpoint.retries=0"];

  test("what fails in the middle loses no answer: the same command asks for the others alone", async () => {
    const server = await breaksAfter(4);
    const [first, second] = [file(rows(3)), file(rows(5))];
    const set = [...sets(server), ...alone];
    const log = vi.spyOn(process.stderr, "write").mockReturnValue(true);
    await expect(judged(server, first, second, { set })).rejects.toMatchObject({ code: "ENDPOINT_DOWN" });
    const said = log.mock.calls.map(([text]) => String(text));
    log.mockRestore();
    const [kept] = readdirSync(dirname(second)).filter((name) => name.startsWith("verdicts-"));
    expect(readLines(dirname(second), kept!)).toHaveLength(4);
    expect(said).toContainEqual(
      expect.stringMatching(
        /^judge: 5 requests, 40 tokens in, 20 out; its answers are in .*verdicts-\w+\.jsonl, and the same/,
      ),
    );
    server.mend();
    const result = await judged(server, first, second, { set });
    expect([result.answers!.n, result.kept]).toEqual([6, join(dirname(second), kept!)]);
    expect(server.asked).toHaveLength(5 + 2);
    await judged(server, first, second, { set: [...set, "endpoint.model=another"] }); // whose answers are others
    expect(server.asked).toHaveLength(5 + 2 + 6);
  });

  test("answers of a run folder are kept in it, whichever part of it is judged", async () => {
    const server = await longerWins();
    const folder = temporaryFolder("judge-kept");
    const answers = [0, 1].map((i) => ({
      ...{ phase: "grpo", step: 1, decoded: "sampled", problem: i, thinking: null, answer: "yes" },
      messages: [{ role: "user", content: `Question ${i}?` }],
    }));
    file(answers, folder, "held-out.jsonl");
    const { kept } = await judged(server, file(rows(3)), `${folder}#grpo`);
    expect(dirname(kept)).toBe(folder);
    expect(readLines(folder, basename(kept))).toHaveLength(2);
  });

  test.each<[string, (folder: string) => [string, string, Partial<JudgeCommandOptions>?], string, RegExp]>([
    ["files on other prompts", () => [file(rows(1)), file(rows(1, 9))], "JUDGE_PAIRS", /a prompt that both .* have/],
    ["no such file", () => [file(rows(1)), "no/such.jsonl"], "JSONL_MISSING", /no\/such.jsonl/],
    [
      "a folder without rows",
      (folder) => [file(rows(1)), folder],
      "JUDGE_PAIRS",
      /held-out.jsonl or demonstrations.jsonl/,
    ],
    [
      "rows of another form",
      () => [file(rows(1)), file([{ question: "x" }])],
      "JUDGE_PAIRS",
      /expected \{prompt, thinking, response\}/,
    ],
    [
      "no thoughts",
      () => [file(rows(1)), file(rows(1).map(({ thinking, ...row }) => row)), { by: "traits" }],
      "JUDGE_PAIRS",
      /expected rows with thoughts in both.*--by answers/,
    ],
    [
      "a file of other lines to keep answers in",
      () => [file(rows(1)), file(rows(2)), { keep: file(rows(1)) }],
      "JSONL_LINE",
      /rows.jsonl:1\] expected \{key, text\}/,
    ],
    ["no endpoint", () => [file(rows(1)), file(rows(2)), { set: [] }], "ENDPOINT_SETTING", /endpoint.baseURL/],
    [
      "a misspelt setting",
      () => [file(rows(1)), file(rows(2)), { set: ["endpont.model=x"] }],
      "RECIPE_KEY",
      /endpoint/,
    ],
  ])("%s", async (_, input, code, message) => {
    const server = await longerWins();
    const folder = temporaryFolder("judge-empty");
    mkdirSync(folder, { recursive: true });
    const [first, second, options] = input(folder);
    const failed = judged(server, first, second, options);
    await expect(failed).rejects.toMatchObject({ code });
    await expect(failed).rejects.toThrow(message);
    expect(server.asked).toEqual([]);
  });
});

describe.skipIf(!cliIsBuilt)("zazen judge", { timeout: 60_000 }, () => {
  test("prints a table, and where an endpoint is down what it is", async () => {
    const server = await longerWins();
    const args = ["judge", file(rows(3)), file(rows(5)), ...sets(server).flatMap((set) => ["--set", set])];
    const keep = join(temporaryFolder("judge-cli"), "kept.jsonl");
    expect(await start([...args, "--keep", keep]).ended).toMatchObject({ code: 0 });
    expect(existsSync(keep)).toBe(true);
    // All answers are kept, so that no endpoint is asked.
    const { stdout, status } = zazen([...args, "--keep", keep]);
    expect(status).toBe(0);
    expect(stdout).toMatch(/6 prompts that both have\n/);
    expect(stdout).toMatch(/better answer +100.0 \[\d\d\.\d, 100.0\] +6 +0 +0 +0\n/);
    expect(stdout).toMatch(/0 requests/);
    const url = server.url;
    await servers.pop()![Symbol.asyncDispose]();
    const down = [
      ...args.slice(0, 3),
      "--set",
      `endpoint.baseURL=${url}`,
      "--set",
      "endpoint.model=j",
      "--set",
      "endpoint.retries=0",
    ];
    const { status: failed, stderr } = zazen(down);
    expect(failed).toBe(1);
    expect(stderr).toMatch(/^error: \[endpoint .*ECONNREFUSED/m);
  });
});
