// An endpoint against a server on this machine: what is sent, what is tried again and when, what ends a call, and what a user is told.
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, describe, expect, test, vi } from "vitest";
import type { EndpointInput } from "../../src/config/endpoint.js";
import { Endpoint, type EndpointOptions } from "../../src/endpoint/endpoint.js";
import type { ChatRequest } from "../../src/endpoint/types.js";
import { type Asked, type ChatServer, chatServer, completion, type Reply, settingsOf } from "../helpers/chat-server.js";

const hello: ChatRequest = { messages: [{ role: "user", content: "Hello?" }] };
const good: Reply = { body: completion("Hello.") };
const key = "sk-a-very-secret-key";

const servers: ChatServer[] = [];
afterEach(async () => {
  for (const server of servers.splice(0)) await server[Symbol.asyncDispose]();
});

/** A server that gives these replies in turn, the last one from then on; and an endpoint that asks it. */
async function opened(
  replies: readonly Reply[] | ((asked: Asked) => Reply),
  own: Partial<EndpointInput> = {},
  options: EndpointOptions = {},
) {
  const answer = typeof replies === "function" ? replies : ({ n }: Asked) => replies[Math.min(n, replies.length) - 1]!;
  const server = await chatServer(answer);
  servers.push(server);
  return { server, endpoint: await Endpoint.open(settingsOf(server.url, own), options) };
}

/** A port that nobody listens on. */
async function nobody(): Promise<string> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return `http://127.0.0.1:${port}/v1`;
}

describe("a request", () => {
  test("is answered, and counted", async () => {
    const { endpoint, server } = await opened([good], { price: { input: 2, output: 8 } });
    const answer = await endpoint.chat({ ...hello, temperature: 0.7, topP: 0.9, maxTokens: 64, stop: ["END"] });
    expect(answer).toEqual({
      text: "Hello.",
      finish: "stop",
      usage: { promptTokens: 10, completionTokens: 5 },
      attempts: 1,
    });
    expect(server.asked[0]!.body).toEqual({
      ...{ model: "teacher", messages: hello.messages },
      ...{ temperature: 0.7, top_p: 0.9, max_tokens: 64, stop: ["END"] },
    });
    const spent = { requests: 1, retries: 0, promptTokens: 10, completionTokens: 5, withoutUsage: 0, cost: 6e-5 };
    expect(endpoint.spent).toEqual(spent);
  });

  test("has the fields that settings add, and not those that they leave out", async () => {
    const { endpoint, server } = await opened([good], {
      omit: ["temperature", "max_tokens"],
      extra: { max_completion_tokens: 9, reasoning_effort: "low" },
    });
    await endpoint.chat({ ...hello, temperature: 0.7, topP: 1, maxTokens: 64 });
    expect(server.asked[0]!.body).toEqual({
      ...{ model: "teacher", messages: hello.messages, top_p: 1 },
      ...{ max_completion_tokens: 9, reasoning_effort: "low" },
    });
  });

  test("brings the key of the named variable, and no other", async () => {
    vi.stubEnv("OPENAI_API_KEY", "sk-of-another-endpoint");
    vi.stubEnv("OPENAI_ORG_ID", "org-of-another-endpoint");
    const withKey = await opened([good], { apiKeyEnv: "MY_KEY" }, { env: { MY_KEY: key } });
    await withKey.endpoint.chat(hello);
    const without = await opened([good]);
    await without.endpoint.chat(hello);
    vi.unstubAllEnvs();
    expect(withKey.server.asked[0]!.headers.authorization).toBe(`Bearer ${key}`);
    expect(without.server.asked[0]!.headers.authorization).toBeUndefined();
    expect(JSON.stringify([withKey.server.asked, without.server.asked])).not.toContain("another-endpoint");
  });

  test("may be cut off by the endpoint, which is said", async () => {
    const { endpoint } = await opened([{ body: completion("Hel", [10, 1], "length") }]);
    expect(await endpoint.chat(hello)).toMatchObject({ text: "Hel", finish: "length" });
  });

  test("without usage in its answer costs what is not known", async () => {
    const { endpoint } = await opened([{ body: completion("Hello.", null) }], { price: { input: 1, output: 1 } });
    expect((await endpoint.chat(hello)).usage).toBeNull();
    expect(endpoint.spent).toMatchObject({ promptTokens: 0, withoutUsage: 1, cost: 0 });
  });
});

describe("is sent again", () => {
  const junk: readonly [string, Reply][] = [
    ["HTTP 500", { status: 500, body: { error: { message: "overloaded" } } }],
    ["HTTP 503 in HTML", { status: 503, type: "text/html", body: "<h1>Bad gateway</h1>" }],
    ["HTTP 408", { status: 408 }],
    ["HTTP 429", { status: 429, body: { error: { message: "slow down" } } }],
    ["a connection that is cut", { cut: "at once" }],
    ["a body that is cut", { ...good, cut: "in the body" }],
    ["a page in HTML", { type: "text/html", body: "<h1>Welcome</h1>" }],
    ["half of a JSON", { body: '{"choices": [' }],
    ["no object", { body: "[1, 2]" }],
    ["nothing", { body: "" }],
    ["no choices", { body: { choices: [] } }],
    ["choices of another kind", { body: { choices: [{ text: "Hello." }] } }],
  ];
  test.each(junk)("after %s", async (_, reply) => {
    const { endpoint, server } = await opened([reply, reply, good]);
    expect(await endpoint.chat(hello)).toMatchObject({ text: "Hello.", attempts: 3 });
    expect(server.asked).toHaveLength(3);
    expect(endpoint.spent).toMatchObject({ requests: 3, retries: 2, promptTokens: 10 });
  });

  test("and its caller is told why, and when, without the key", async () => {
    const told: string[] = [];
    const failing: Reply = { status: 500, body: { error: { message: `no ${key}` } } };
    const options = { env: { MY_KEY: key }, onRetry: (text: string) => told.push(text) };
    const { endpoint } = await opened([failing, good], { apiKeyEnv: "MY_KEY" }, options);
    await endpoint.chat(hello);
    expect(told).toHaveLength(1);
    expect(told[0]).toMatch(/^\[endpoint http:\S+ teacher\] HTTP 500: no \*\*\*; retry 1 of 3 in 0.0 s$/);
  });

  test("after a deadline, which holds for the body as well", async () => {
    const late: Reply = { ...good, delayMs: 2000 };
    const { endpoint } = await opened([late, { ...good, stall: true }, good], { deadlineSeconds: 0.5 });
    expect(await endpoint.chat(hello)).toMatchObject({ attempts: 3 });
  });

  test("not before Retry-After is over, and no other request is either", async () => {
    const at: number[] = [];
    const limited: Reply = { status: 429, headers: { "retry-after": "0.4" } };
    const answer = ({ n }: Asked): Reply => {
      at.push(performance.now());
      return n === 1 ? limited : good;
    };
    const { endpoint } = await opened(answer, { concurrency: 4 });
    const first = endpoint.chat(hello);
    await vi.waitUntil(() => at.length === 1);
    await new Promise((resolve) => setTimeout(resolve, 100));
    await Promise.all([first, endpoint.chat(hello)]);
    expect(at).toHaveLength(3);
    for (const later of at.slice(1)) expect(later - at[0]!).toBeGreaterThan(390);
  });

  test("after waits that the seed draws", async () => {
    const timers = vi.spyOn(globalThis, "setTimeout");
    const waits = async (seed: number, key: number): Promise<number[]> => {
      timers.mockClear();
      const { endpoint } = await opened([{ status: 500 }], { backoffSeconds: 0.01, retries: 3 }, { seed });
      await endpoint.chat(hello, { key }).catch(() => {});
      return timers.mock.calls.map(([, ms]) => ms ?? 0).filter((ms) => ms > 0 && ms < 100);
    };
    const drawn = await waits(3, 7);
    expect(drawn).toHaveLength(3);
    drawn.forEach((ms, i) => {
      expect(ms).toBeGreaterThanOrEqual(5 * 2 ** i);
      expect(ms).toBeLessThan(10 * 2 ** i);
    });
    expect(await waits(3, 7)).toEqual(drawn);
    expect(await waits(4, 7)).not.toEqual(drawn);
    expect(await waits(3, 8)).not.toEqual(drawn);
    timers.mockRestore();
  });
});

describe("gives up", () => {
  test.each<[string, Reply, string, RegExp]>([
    ["HTTP 500", { status: 500, body: { error: { message: "overloaded" } } }, "ENDPOINT_DOWN", /HTTP 500: overloaded/],
    ["HTTP 429", { status: 429 }, "ENDPOINT_LIMIT", /HTTP 429.*lower endpoint.concurrency/],
    [
      "a page",
      { type: "text/html", body: "<h1>Hi</h1>" },
      "ENDPOINT_ANSWER",
      /no JSON object.*<h1>Hi.*endpoint.baseURL/,
    ],
    ["half of a JSON", { body: '{"choices": [' }, "ENDPOINT_ANSWER", /JSON/],
    ["no choices", { body: { choices: [] } }, "ENDPOINT_ANSWER", /without choices/],
    ["other JSON", { body: { error: "x" } }, "ENDPOINT_ANSWER", /no chat completion: {"error":"x"}/],
    ["cut connections", { cut: "at once" }, "ENDPOINT_DOWN", /socket|hang up|closed|ECONNRESET/i],
  ])("on %s after all retries", async (_, reply, code, message) => {
    const { endpoint, server } = await opened([reply]);
    const failed = endpoint.chat(hello);
    await expect(failed).rejects.toMatchObject({ name: "EndpointError", code });
    await expect(failed).rejects.toThrow(message);
    await expect(failed).rejects.toThrow(/expected a chat completion, got .* at the last of 4 attempts; /);
    expect(server.asked).toHaveLength(4);
  });

  test("where nobody listens", async () => {
    const endpoint = await Endpoint.open(settingsOf(await nobody(), { retries: 1 }));
    const failed = endpoint.chat(hello);
    await expect(failed).rejects.toMatchObject({ code: "ENDPOINT_DOWN" });
    await expect(failed).rejects.toThrow(/ECONNREFUSED.*at the last of 2 attempts; see whether it runs/);
  });

  test("where nobody listens after a few retries, said one by one, however many the settings allow", async () => {
    const told: string[] = [];
    const endpoint = await Endpoint.open(settingsOf(await nobody(), { retries: 50 }), { onRetry: (t) => told.push(t) });
    await expect(endpoint.chat(hello)).rejects.toThrow(/ECONNREFUSED.*at the last of 4 attempts/);
    expect(told.map((text) => /retry \d of \d/.exec(text)![0])).toEqual([
      "retry 1 of 3",
      "retry 2 of 3",
      "retry 3 of 3",
    ]);
  });

  test("at once on a port that fetch does not use", async () => {
    const endpoint = await Endpoint.open(settingsOf("http://127.0.0.1:1/v1", { retries: 50 }));
    const failed = endpoint.chat(hello);
    await expect(failed).rejects.toMatchObject({ name: "InputError", code: "ENDPOINT_SETTING" });
    await expect(failed).rejects.toThrow(/bad port; correct endpoint\.baseURL/);
    expect(endpoint.spent).toMatchObject({ requests: 1, retries: 0 });
  });

  test("on deadlines", async () => {
    const { endpoint } = await opened([{ ...good, delayMs: 1000 }], { deadlineSeconds: 0.05, retries: 1 });
    const failed = endpoint.chat(hello);
    await expect(failed).rejects.toMatchObject({ code: "ENDPOINT_TIMEOUT" });
    await expect(failed).rejects.toThrow(/none within 0.05 s at the last of 2/);
  });

  test("at once on a body without end", { timeout: 30_000 }, async () => {
    const { endpoint } = await opened([{ body: "x".repeat(65 * 2 ** 20) }], { retries: 0 });
    await expect(endpoint.chat(hello)).rejects.toThrow(/more than 67108864 bytes/);
  });

  test.each<[string, Reply, string, string]>([
    [
      "HTTP 401",
      { status: 401, body: { error: { message: `wrong key ${key}` } } },
      "ENDPOINT_KEY",
      "endpoint.apiKeyEnv",
    ],
    ["HTTP 403", { status: 403 }, "ENDPOINT_KEY", "endpoint.apiKeyEnv"],
    ["HTTP 404", { status: 404 }, "ENDPOINT_SETTING", "endpoint.model"],
    ["HTTP 400", { status: 400, body: { error: { message: "no such field" } } }, "ENDPOINT_REFUSED", "endpoint.omit"],
    ["an exhausted quota", { status: 429, body: { error: { code: "insufficient_quota" } } }, "ENDPOINT_LIMIT", "quota"],
    ["an empty text", { body: completion("") }, "ENDPOINT_EMPTY", "finish_reason stop"],
    ["no text", { body: completion(null, [10, 5], "content_filter") }, "ENDPOINT_EMPTY", "content_filter"],
    [
      "Retry-After beyond the limit",
      { status: 429, headers: { "retry-after": "3600" } },
      "ENDPOINT_LIMIT",
      "3600.0 s away",
    ],
  ])("at once on %s", async (_, reply, code, told) => {
    const { endpoint, server } = await opened([reply], { apiKeyEnv: "MY_KEY" }, { env: { MY_KEY: key } });
    const error = await endpoint.chat(hello).catch((thrown: unknown) => thrown as Error);
    expect(error).toMatchObject({ code });
    expect(String((error as Error).message)).toContain(told);
    expect(server.asked).toHaveLength(1);
  });

  test("without a word of the key", async () => {
    const reply: Reply = { status: 401, body: { error: { message: `Incorrect key: ${key}`, echo: { key } } } };
    const { endpoint } = await opened([reply], { apiKeyEnv: "MY_KEY" }, { env: { MY_KEY: key } });
    const error = (await endpoint.chat(hello).catch((thrown: unknown) => thrown)) as Error;
    expect(error.message).toContain("Incorrect key: ***");
    expect([error.message, error.stack, JSON.stringify(error), String(error.cause)].join()).not.toContain(key);
  });

  test("after retrySeconds, however many retries are left", async () => {
    const { endpoint, server } = await opened([{ status: 500 }], {
      retries: 100,
      backoffSeconds: 0.05,
      retrySeconds: 0.2,
    });
    await expect(endpoint.chat(hello)).rejects.toThrow(/over retrySeconds 0.2/);
    expect(server.asked.length).toBeLessThan(6);
  });

  test("counts what answers without use took", async () => {
    const { endpoint } = await opened([{ body: completion("", [7, 90]) }]);
    const usage = { promptTokens: 7, completionTokens: 90 };
    await expect(endpoint.chat(hello)).rejects.toMatchObject({ code: "ENDPOINT_EMPTY", usage });
    expect(endpoint.spent).toMatchObject({ promptTokens: 7, completionTokens: 90 });
  });
});

describe("many requests", () => {
  test("keep to the places that there are, and are all answered", async () => {
    const { endpoint, server } = await opened(
      ({ body }) => ({ delayMs: 10, body: completion(body.messages[0]!.content) }),
      {
        concurrency: 3,
      },
    );
    const texts = Array.from({ length: 20 }, (_, i) => `question ${i}`);
    const answers = await Promise.all(texts.map((content) => endpoint.chat({ messages: [{ role: "user", content }] })));
    expect(answers.map(({ text }) => text)).toEqual(texts);
    expect(server.most).toBe(3);
  });

  test("more than the line holds are refused", async () => {
    const { endpoint } = await opened([good], { concurrency: 1 });
    const calls = await Promise.allSettled(Array.from({ length: 66 }, () => endpoint.chat(hello)));
    expect(calls.filter(({ status }) => status === "rejected")).toHaveLength(1);
    expect(calls.at(-1)).toMatchObject({ reason: { code: "ENDPOINT_QUEUE" } });
  });
});

describe("an abort", () => {
  test("ends a request under way, one in line, and a wait", async () => {
    const { endpoint, server } = await opened([{ ...good, delayMs: 5000 }], { concurrency: 1 });
    const controller = new AbortController();
    const calls = [1, 2].map(() => endpoint.chat(hello, { signal: controller.signal }));
    await vi.waitUntil(() => server.asked.length === 1);
    const reason = new Error("enough");
    controller.abort(reason);
    for (const call of calls) await expect(call).rejects.toBe(reason);
    await expect(endpoint.chat(hello, { signal: controller.signal })).rejects.toBe(reason);

    const failing = await opened([{ status: 500 }], { backoffSeconds: 60 });
    const later = new AbortController();
    const waiting = failing.endpoint.chat(hello, { signal: later.signal });
    await vi.waitUntil(() => failing.server.asked.length === 1);
    setTimeout(() => later.abort(reason), 50);
    await expect(waiting).rejects.toBe(reason);
  });

  test("that only stops lets a request finish, and no other begin", async () => {
    const { endpoint, server } = await opened([{ ...good, delayMs: 100 }], { concurrency: 1 });
    const controller = new AbortController();
    const [first, second] = [1, 2].map(() => endpoint.chat(hello, { stop: controller.signal }));
    await vi.waitUntil(() => server.asked.length === 1);
    controller.abort(new Error("enough"));
    await expect(second).rejects.toThrow("enough");
    expect(await first).toMatchObject({ text: "Hello." });
    expect(server.asked).toHaveLength(1);
  });

  test("leaves no listener behind", async () => {
    const { endpoint } = await opened([{ status: 500 }, good]);
    const { signal } = new AbortController();
    const [add, remove] = [vi.spyOn(signal, "addEventListener"), vi.spyOn(signal, "removeEventListener")];
    await endpoint.chat(hello, { signal });
    expect(add.mock.calls.length).toBeGreaterThan(0);
    expect(remove.mock.calls.length).toBeGreaterThanOrEqual(add.mock.calls.length);
  });
});

describe("settings that cannot be", () => {
  test.each<[string, Partial<EndpointInput>, Record<string, string>, RegExp]>([
    ["no URL", { baseURL: "" }, {}, /endpoint.baseURL\] expected the URL/],
    ["no model", { model: "" }, {}, /endpoint.model\] expected the name/],
    ["a price below 0", { price: { input: -1 } }, {}, /endpoint.price.input\] expected a value of its range/],
    ["no http", { baseURL: "localhost" }, {}, /endpoint.baseURL\] .*an http or https URL/],
    ["no such variable", { apiKeyEnv: "MY_KEY" }, {}, /MY_KEY, which is not set; run it as MY_KEY=/],
    ["an empty variable", { apiKeyEnv: "MY_KEY" }, { MY_KEY: "" }, /MY_KEY, which is empty/],
    ["a variable with a line break", { apiKeyEnv: "MY_KEY" }, { MY_KEY: `${key}\n` }, /blanks or other characters/],
  ])("%s", async (_, own, env, message) => {
    const opening = Endpoint.open(settingsOf("http://localhost:1/v1", own), { env });
    await expect(opening).rejects.toMatchObject({ name: "InputError", code: "ENDPOINT_SETTING" });
    await expect(opening).rejects.toThrow(message);
    await expect(opening).rejects.not.toThrow(key);
  });
});
