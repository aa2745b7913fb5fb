// The recipe teach from settings to run folder: a teacher at an endpoint on this machine, and a small model whose answers a pattern keeps
// in form.
import { appendFileSync, existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import { resolveSettings, type Settings } from "../../src/config/resolve.js";
import { teachRecipe as recipe } from "../../src/methods/teach.js";
import { TEACHER_TEMPLATE, teacherText } from "../../src/methods/teach-prompts.js";
import { TEACHER_TAGS } from "../../src/prompt/warm-start.js";
import { cliIsBuilt, start, zazen } from "../cli/process.js";
import { type Asked, type ChatServer, chatServer, completion, type Reply } from "../helpers/chat-server.js";
import { jsonl, notes, summaryOf, tempFolder } from "../helpers/recipes.js";
import { eventsOf, readLines, type TestHost, testHost } from "../helpers/run-host.js";
import { TOY_POSITIONS, toyModel } from "../helpers/toy-model.js";

const servers: ChatServer[] = [];
afterEach(async () => {
  for (const server of servers.splice(0)) await server[Symbol.asyncDispose]();
});

async function serve(answer: (asked: Asked) => Reply | Promise<Reply>): Promise<ChatServer> {
  const server = await chatServer(answer);
  servers.push(server);
  return server;
}

/** What the user wants to know. */
const promptIn = ({ body }: Asked): string => body.messages[0]!.content.split("Message:\n")[1]!;

const planOf = (prompt: string) => `The user asks this: ${prompt} I say what is known about it.`;
const responseOf = (prompt: string) => `This is what is known about "${prompt}", in a few words.`;
const taught = (prompt: string) => `<think>\n${planOf(prompt)}\n</think>\n<response>${responseOf(prompt)}</response>`;
const good = (asked: Asked): Reply => ({ body: completion(taught(promptIn(asked))) });

const questions = (count: number) => Array.from({ length: count }, (_, i) => `What is the meaning of number ${i}?`);
const rowsOf = (prompts: readonly string[]) => prompts.map((prompt, i) => ({ id: `p${i}`, prompt }));
const demonstration = (prompt: string, i: number) => ({
  ...{ id: `p${i}`, prompt, thinking: planOf(prompt), response: responseOf(prompt) },
});

function settingsFor(server: { url: string }, data: string, own: Settings = {}): Settings {
  const { endpoint = {}, ...others } = own as { endpoint?: Settings };
  const quick = { baseURL: server.url, model: "teacher", backoffSeconds: 0.001, retries: 2 };
  return { data, endpoint: { ...quick, ...endpoint }, ...others };
}

async function run(settings: Settings, host: TestHost = testHost()) {
  const summary = await recipe.run(resolveSettings("teach", recipe.schema, settings), host);
  return { host, summary };
}

/** The run goes on in its folder. */
const again = (host: TestHost): TestHost => ({ ...testHost(), out: host.out, resume: { checkpoint: null } });
const rows = (host: TestHost) => readLines(host.out, "demonstrations.jsonl");
const answers = (host: TestHost) => readLines(host.out, "answers.jsonl");

describe("a teacher at an endpoint", () => {
  test("makes demonstrations in the order of the prompts, and says what they cost", async () => {
    const prompts = questions(10);
    // Later prompts are answered sooner.
    const server = await serve((asked) => ({ ...good(asked), delayMs: 60 - 6 * prompts.indexOf(promptIn(asked)) }));
    const price = { input: 3, output: 15 };
    const own = { endpoint: { concurrency: 3, price }, sampling: { temperature: 0.5, topP: 0.9, maxTokens: 99 } };
    const { host, summary } = await run(
      settingsFor(server, jsonl(...rowsOf(prompts)), { ...own, logging: { every: 4 } }),
    );
    expect(rows(host)).toEqual(prompts.map(demonstration));
    expect(server.most).toBe(3);
    expect(server.asked[0]!.body).toEqual({
      ...{ model: "teacher", temperature: 0.5, top_p: 0.9, max_tokens: 99 },
      messages: [{ role: "user", content: teacherText(TEACHER_TEMPLATE, TEACHER_TAGS, promptIn(server.asked[0]!)) }],
    });
    expect(summary).toMatchObject({
      ...{ recipe: "teach", prompts: 10, kept: 10, dropped: {}, tries: 10, promptTokens: 100, completionTokens: 50 },
      requests: { requests: 10, retries: 0 },
    });
    expect(summary.cost).toBeCloseTo((100 * 3 + 50 * 15) / 1e6, 12);
    expect(summaryOf(host)).toEqual(summary);
    expect(readLines(host.out, "metrics.jsonl").map(({ step }) => step)).toEqual([4, 8, 10]);
    const steps = eventsOf(host, "step");
    expect(steps.map(({ step, steps }) => [step, steps])).toEqual(prompts.map((_, i) => [i + 1, 10]));
    expect(steps.at(-1)!.metrics).toMatchObject({ kept: 10, dropped: 0, cost: summary.cost });
    expect(notes(host).at(-1)).toMatch(
      /^10 of 10 prompts became demonstrations\n10 answers, 100 tokens in, 50 out, cost 0.0010\n/,
    );
  });

  test("is asked again where an answer does not pass, and a prompt left out where none does", async () => {
    const prompts = questions(4);
    const seen = new Map<string, number>();
    const server = await serve((asked) => {
      const prompt = promptIn(asked);
      const n = (seen.get(prompt) ?? 0) + 1;
      seen.set(prompt, n);
      if (prompt === prompts[1] && n === 1) return { body: completion("I would rather not plan.") };
      if (prompt === prompts[2]) return { body: completion("<think>only this", [10, 5], "length") };
      if (prompt === prompts[3]) return { body: completion(`<think>a <answer> b</think><response>c</response>`) };
      return good(asked);
    });
    const { host, summary } = await run(settingsFor(server, jsonl(...rowsOf(prompts))));
    expect(rows(host)).toEqual([0, 1].map((i) => demonstration(prompts[i]!, i)));
    expect(summary).toMatchObject({ kept: 2, tries: 7, dropped: { "cut off": 1, "stray tags": 1 } });
    expect(server.asked).toHaveLength(7);
    expect(answers(host).filter(({ index }) => index === 1)).toMatchObject([
      { try: 1, text: "I would rather not plan.", usage: { promptTokens: 10, completionTokens: 5 } },
      { try: 2, text: taught(prompts[1]!) },
    ]);
  });

  test("is not asked what makes no demonstration", async () => {
    const user = (content: string) => ({ role: "user", content });
    const assistant = (content: string) => ({ role: "assistant", content });
    const data = jsonl(
      { prompt: "What is a tree made of?" },
      { messages: [user("What is a stone made of?"), assistant("Of minerals.")] },
      { messages: [user("a"), assistant("b"), user("c")] },
      { messages: [{ role: "system", content: "Be brief." }, user("c")] },
      { prompt: "What is a tree made of?" },
      { prompt: "De quoi les arbres sont-ils faits, et pourquoi le sont-ils ?" },
    );
    const server = await serve(good);
    const { host, summary } = await run(settingsFor(server, data));
    expect(rows(host).map(({ prompt }) => prompt)).toEqual(["What is a tree made of?", "What is a stone made of?"]);
    expect(server.asked).toHaveLength(2);
    const dropped = { "more than one turn": 2, "prompt seen before": 1, "another language": 1 };
    expect(summary.data).toMatchObject([{ rows: 6, dropped }]);
    const line = "6 rows, 4 left out (more than one turn 2, prompt seen before 1, another language 1)";
    expect(notes(host)[0]).toMatch(new RegExp(`: ${line.replace(/[()]/g, "\\$&")}$`)); // before the first answer
    expect(notes(host).at(-1)).toContain(line);
  });

  test("short prompts are asked, in English or not: their language cannot be told", async () => {
    const prompts = ["Hi", "Hello", "Define entropy", "Explain TCP vs UDP", "Recipe for tiramisu"];
    const server = await serve(good);
    const { host } = await run(settingsFor(server, jsonl(...rowsOf(prompts))));
    expect(rows(host).map(({ prompt }) => prompt)).toEqual(prompts);
  });

  test("is asked each prompt once, and each id of a source", async () => {
    const [one, two, three] = questions(3);
    const first = jsonl({ id: 1, prompt: one }, { id: 1, prompt: two });
    const second = jsonl({ id: 1, prompt: three }, { id: 2, prompt: one });
    const server = await serve(good);
    const settings = settingsFor(server, first);
    const { host, summary } = await run({ ...settings, data: [{ source: first }, { source: second }] });
    expect(rows(host).map(({ prompt }) => prompt)).toEqual([one, three]);
    const dropped = { "prompt seen before": 1 };
    expect(summary.data).toMatchObject([{ dropped }, { dropped }]);
  });

  test("may refuse some prompts, and not too many in a row", async () => {
    const prompts = questions(8);
    const refused: Reply = { status: 400, body: { error: { message: "not that" } } };
    const some = await serve((asked) => (prompts.indexOf(promptIn(asked)) % 2 === 0 ? refused : good(asked)));
    const data = jsonl(...rowsOf(prompts));
    const { summary } = await run(settingsFor(some, data, { maxFailures: 1 }));
    expect(summary).toMatchObject({ kept: 4, dropped: { "refused by the endpoint": 4 } });

    const all = await serve((asked) => (prompts.indexOf(promptIn(asked)) < 1 ? good(asked) : refused));
    const host = testHost();
    const settings = settingsFor(all, data, { maxFailures: 3, endpoint: { concurrency: 1 } });
    await expect(run(settings, host)).rejects.toMatchObject({ code: "ENDPOINT_REFUSED" });
    expect(rows(host)).toHaveLength(1);
  });

  test("that answers with nothing has had its tries", async () => {
    const server = await serve(() => ({ body: completion("", [10, 7]) }));
    const price = { input: 0, output: 1e6 };
    const { summary } = await run(settingsFor(server, jsonl(...rowsOf(questions(3))), { endpoint: { price } }));
    expect(summary).toMatchObject({ kept: 0, tries: 6, dropped: { "no text": 3 }, completionTokens: 42, cost: 42 });
    const met = new Set<string>();
    const shy = await serve((asked) => {
      const isNew = !met.has(promptIn(asked));
      met.add(promptIn(asked));
      return isNew ? { body: completion("") } : good(asked);
    });
    const strict = { maxFailures: 0 };
    expect((await run(settingsFor(shy, jsonl(...rowsOf(questions(3))), strict))).summary).toMatchObject({ kept: 3 });
  });
});

describe("an endpoint that fails", () => {
  test.each<[string, Reply, string]>([
    ["that is down", { status: 503 }, "ENDPOINT_DOWN"],
    ["that limits", { status: 429 }, "ENDPOINT_LIMIT"],
    ["that talks junk", { type: "text/html", body: "<h1>Welcome</h1>" }, "ENDPOINT_ANSWER"],
    ["that cuts connections", { cut: "at once" }, "ENDPOINT_DOWN"],
    ["that stalls", { body: completion("x"), stall: true }, "ENDPOINT_TIMEOUT"],
    ["that takes the key no more", { status: 401 }, "ENDPOINT_KEY"],
    ["that has the model no more", { status: 404 }, "ENDPOINT_SETTING"],
  ])("%s stops the run; what was answered is not asked again", async (_, failure, code) => {
    const prompts = questions(12);
    const data = jsonl(...rowsOf(prompts));
    let broken = true;
    const answered = new Map<string, number>();
    const server = await serve((asked) => {
      if (broken && answered.size >= 5) return failure;
      answered.set(promptIn(asked), (answered.get(promptIn(asked)) ?? 0) + 1);
      return good(asked);
    });
    const hasty = code === "ENDPOINT_TIMEOUT" ? { deadlineSeconds: 3, retries: 0 } : { retries: 1 };
    const settings = settingsFor(server, data, { endpoint: { concurrency: 2, ...hasty } });
    const host = testHost();
    await expect(run(settings, host)).rejects.toMatchObject({ code });
    expect(answers(host)).toHaveLength(5);
    const isTriedAgain = !["ENDPOINT_KEY", "ENDPOINT_SETTING", "ENDPOINT_TIMEOUT"].includes(code);
    if (isTriedAgain) expect(notes(host).join()).toMatch(/; retry 1 of 1 in/);
    const before = rows(host);
    expect(before).toEqual(prompts.slice(0, before.length).map(demonstration));
    expect(existsSync(join(host.out, "summary.json"))).toBe(false);

    broken = false;
    const { host: later, summary } = await run(settings, again(host));
    expect(rows(later)).toEqual(prompts.map(demonstration));
    expect([...answered.values()]).toEqual(prompts.map(() => 1));
    expect(summary).toMatchObject({ kept: 12, tries: 12, promptTokens: 120, completionTokens: 60 });
  });
});

describe("a run that is stopped", () => {
  test("finishes what is under way, keeps it, and goes on", async () => {
    const prompts = questions(12);
    const server = await serve((asked) => ({ ...good(asked), delayMs: 30 }));
    const settings = settingsFor(server, jsonl(...rowsOf(prompts)), { endpoint: { concurrency: 3 } });
    const host = testHost();
    const running = run(settings, host);
    await vi.waitUntil(() => server.asked.length >= 6);
    const reason = new Error("enough");
    host.controller.abort(reason);
    await expect(running).rejects.toBe(reason);
    const asked = server.asked.length;
    expect(asked).toBeLessThan(12);
    expect(answers(host)).toHaveLength(asked);
    const { host: later } = await run(settings, again(host));
    expect(server.asked).toHaveLength(12);
    expect(rows(later)).toEqual(prompts.map(demonstration));
    expect(notes(later)).toContain(`${asked} prompts were answered before`);
  });

  test("goes on behind half a line, and with rows that were lost", async () => {
    const prompts = questions(4);
    const server = await serve(good);
    const settings = settingsFor(server, jsonl(...rowsOf(prompts)));
    const { host } = await run(settings);
    const journal = join(host.out, "answers.jsonl");
    const lines = readFileSync(journal, "utf8").split("\n");
    writeFileSync(journal, `${lines.slice(0, 3).join("\n")}\n${lines[3]!.slice(0, 20)}`);
    writeFileSync(join(host.out, "demonstrations.jsonl"), '{"id":"p0"');
    appendFileSync(join(host.out, "metrics.jsonl"), '{"ph');
    const { host: later } = await run(settings, again(host));
    expect(server.asked).toHaveLength(5);
    expect(rows(later)).toEqual(prompts.map(demonstration));
    expect(answers(later)).toHaveLength(4);
    expect(readLines(later.out, "metrics.jsonl")).toHaveLength(2);
  });

  test("does not go on with other prompts, or with lines that it did not write", async () => {
    const server = await serve(good);
    const { host } = await run(settingsFor(server, jsonl(...rowsOf(questions(3)))));
    const other = jsonl(...rowsOf(questions(4).slice(1)));
    const refused = run(settingsFor(server, other), again(host));
    await expect(refused).rejects.toMatchObject({ name: "InputError", code: "TEACH_JOURNAL" });
    await expect(refused).rejects.toThrow(/answers.jsonl:1\] expected an answer to prompt \d of the data/);
    const journal = join(host.out, "answers.jsonl");
    for (const [line, message] of [
      ["not JSON", /answers.jsonl:4\] expected a line as the run wrote it, got .*JSON/],
      ['{"index":-1}', /answers.jsonl:4\] .*index/],
    ] as const) {
      const text = readFileSync(journal, "utf8");
      writeFileSync(journal, `${text}${line}\n`);
      await expect(run(settingsFor(server, jsonl(...rowsOf(questions(3)))), again(host))).rejects.toThrow(message);
      writeFileSync(journal, text);
    }
  });
});

describe("a key", () => {
  test("is in no file and in no message, whatever the endpoint says", async () => {
    const key = "sk-a-very-secret-key";
    vi.stubEnv("TEACHER_KEY", key);
    let n = 0;
    const server = await serve((asked) =>
      ++n > 3 ? { status: 401, body: { error: { message: `wrong key: ${key}` } } } : good(asked),
    );
    const settings = settingsFor(server, jsonl(...rowsOf(questions(6))), {
      endpoint: { apiKeyEnv: "TEACHER_KEY", concurrency: 1 },
    });
    const host = testHost();
    const error = (await run(settings, host).catch((thrown: unknown) => thrown)) as Error;
    vi.unstubAllEnvs();
    expect(error.message).toContain("wrong key: ***");
    expect(server.asked[0]!.headers.authorization).toBe(`Bearer ${key}`);
    const files = readdirSync(host.out).map((name) => readFileSync(join(host.out, name), "utf8"));
    expect(files.length).toBeGreaterThanOrEqual(4);
    expect(files.join()).toContain("TEACHER_KEY");
    expect([...files, JSON.stringify(host.events), error.stack, error.message].join()).not.toContain(key);
  });
});

describe("bad input", () => {
  const url = "http://127.0.0.1:1/v1";
  const data = () => jsonl(...rowsOf(questions(2)));
  const endpoint = { baseURL: url, model: "teacher" };
  test.each<[string, () => Settings, string, RegExp]>([
    [
      "no teacher",
      () => ({ data: data() }),
      "RECIPE_VALUE",
      /model, endpoint.baseURL: expected one of the two, got neither/,
    ],
    [
      "two teachers",
      () => ({ data: data(), model: "m", endpoint }),
      "RECIPE_VALUE",
      /expected one of the two, got both/,
    ],
    ["no name of a model", () => ({ data: data(), endpoint: { baseURL: url } }), "ENDPOINT_SETTING", /endpoint.model/],
    [
      "a key that is not there",
      () => ({ data: data(), endpoint: { ...endpoint, apiKeyEnv: "NO_SUCH_KEY" } }),
      "ENDPOINT_SETTING",
      /NO_SUCH_KEY, which is not set; run it as NO_SUCH_KEY=/,
    ],
    [
      "a URL that is none",
      () => ({ data: data(), endpoint: { baseURL: "localhost" } }),
      "RECIPE_VALUE",
      /endpoint.baseURL/,
    ],
    [
      "a price below 0",
      () => ({ data: data(), endpoint: { price: { input: -1 } } }),
      "RECIPE_VALUE",
      /endpoint.price.input/,
    ],
    ["no file of prompts", () => ({ data: "no/such.jsonl", endpoint }), "JSONL_MISSING", /no\/such.jsonl/],
    [
      "a row without a prompt",
      () => ({ data: jsonl({ text: "x" }), endpoint }),
      "JSONL_LINE",
      /:1\] expected a prompt/,
    ],
    [
      "no prompt that is left",
      () => ({ data: jsonl({ prompt: " " }), endpoint }),
      "DATA_EMPTY",
      /1 left out: empty prompt/,
    ],
    [
      "a template without prompt",
      () => ({ data: data(), endpoint, template: "x" }),
      "RECIPE_VALUE",
      /a text with \{prompt\}/,
    ],
    [
      "sampling that an endpoint does not know",
      () => ({ data: data(), endpoint, sampling: { topK: 5 } }),
      "RECIPE_VALUE",
      /sampling: expected temperature, topP, maxTokens and stopStrings for an endpoint.*endpoint.extra/,
    ],
    ["no such model folder", () => ({ data: data(), model: "no/such" }), "MODEL_MISSING", /no\/such/],
  ])("%s", async (_, settings, code, message) => {
    const host = testHost();
    const failed = run(settings(), host);
    await expect(failed).rejects.toMatchObject({ name: "InputError", code });
    await expect(failed).rejects.toThrow(message);
    expect(readdirSync(host.out)).toEqual([]);
  });
});

describe("a model folder", { timeout: 60_000 }, () => {
  let model: string;
  beforeAll(async () => {
    model = await toyModel();
  });
  const settings = (own: Settings = {}): Settings => ({
    ...{ model, raw: true, template: "{prompt}", batch: 4, filters: { english: false } },
    sampling: { maxTokens: 100, regex: "<think>[a-z ]{8,16}</think>\\n<response>[a-z ]{8,16}</response>" },
    ...own,
  });
  const stories = Array.from({ length: 10 }, (_, i) => ({ prompt: `Once there were ${i} trees.` }));

  test("teaches in batches, the same way each time", async () => {
    const data = jsonl(...stories);
    const { host, summary } = await run(settings({ data }));
    expect(summary).toMatchObject({ prompts: 10, kept: 10, dropped: {}, cost: 0, teacher: model });
    for (const { thinking, response } of rows(host)) expect(`${thinking}${response}`).toMatch(/^[a-z ]+$/);
    expect(new Set(rows(host).map(({ thinking }) => thinking)).size).toBeGreaterThan(5);
    expect(notes(host)[0]).toMatch(/^memory: /);
    const { host: other } = await run(settings({ data, batch: 3 }));
    expect(rows(other)).toEqual(rows(host));
  });

  test("tries again with other draws, and leaves out what does not pass", async () => {
    const data = jsonl(...stories);
    const { host, summary } = await run(settings({ data, sampling: { maxTokens: 8 } }));
    expect(summary).toMatchObject({ kept: 0, tries: 20 });
    const [first, second] = answers(host).filter(({ index }) => index === 0);
    expect(first!.text).not.toBe(second!.text);
  });

  test("goes on to the run that was not stopped", async () => {
    const data = jsonl(...stories);
    const { host } = await run(settings({ data }));
    const stopped = testHost();
    const emit = stopped.emit.bind(stopped);
    const counting: TestHost = {
      ...stopped,
      emit: (event) => {
        emit(event);
        if (event.type === "step" && event.step === 5) stopped.controller.abort(new Error("enough"));
      },
    };
    await expect(run(settings({ data }), counting)).rejects.toThrow("enough");
    const { host: later } = await run(settings({ data }), again(stopped));
    expect(rows(later)).toEqual(rows(host));
    expect(answers(later)).toEqual(answers(host));
  });

  test("leaves out a prompt that is longer than its positions", async () => {
    const data = jsonl({ prompt: "tree ".repeat(TOY_POSITIONS) }, stories[0]);
    const { summary } = await run(settings({ data }));
    expect(summary).toMatchObject({ kept: 1, dropped: { "prompt longer than the model's positions": 1 } });
  });

  test("without a chat template is not asked through one", async () => {
    const host = testHost();
    const failed = run(settings({ data: jsonl(...stories), raw: false }), host);
    await expect(failed).rejects.toMatchObject({ code: "CHAT_TEMPLATE_MISSING" });
    await expect(failed).rejects.toThrow(/set raw=true/);
    expect(readdirSync(host.out)).toEqual([]);
  });
});

describe.skipIf(!cliIsBuilt)("the command line", { timeout: 60_000 }, () => {
  const flags = (server: { url: string }, data: string) =>
    [`data=${data}`, `endpoint.baseURL=${server.url}`, "endpoint.model=teacher", "endpoint.concurrency=2"].flatMap(
      (set) => ["--set", set],
    );

  test("loses nothing where it is killed, and asks nothing twice that was answered", async () => {
    const prompts = questions(16);
    const sent = new Map<string, number>();
    const server = await serve((asked) => {
      sent.set(promptIn(asked), (sent.get(promptIn(asked)) ?? 0) + 1);
      return { ...good(asked), delayMs: 40 };
    });
    const out = join(tempFolder(), "run");
    const running = start(["train", "teach", ...flags(server, jsonl(...rowsOf(prompts))), "--out", out]);
    const lines = () => (existsSync(join(out, "answers.jsonl")) ? readLines(out, "answers.jsonl").length : 0);
    await vi.waitUntil(() => lines() >= 6, { timeout: 30_000 });
    running.kill("SIGKILL");
    expect((await running.ended).signal).toBe("SIGKILL");
    const known = readLines(out, "answers.jsonl").map(({ index }) => prompts[index as number]!);
    sent.clear();
    const resumed = start(["train", "--resume", out]);
    expect(await resumed.ended).toMatchObject({ code: 0 });
    expect(known.filter((prompt) => sent.has(prompt))).toEqual([]);
    expect(readLines(out, "demonstrations.jsonl")).toEqual(prompts.map(demonstration));
  });

  test("says after Ctrl-C how to go on, and from where", async () => {
    const server = await serve((asked) => ({ ...good(asked), delayMs: 40 }));
    const out = join(tempFolder(), "run");
    const running = start(["train", "teach", ...flags(server, jsonl(...rowsOf(questions(30)))), "--out", out]);
    await vi.waitUntil(() => server.asked.length >= 6, { timeout: 30_000 });
    running.kill("SIGINT");
    const { code, told } = await running.ended;
    expect(code).toBe(130);
    expect(told).toContain(`go on with it: npx zazen train --resume ${out}`);
    const { stdout } = zazen(["train", "--resume", out, "--dry-run"]);
    expect(stdout).toContain(`# goes on from what ${join(out, "answers.jsonl")} has`);
  });
});
