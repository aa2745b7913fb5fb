// The parts of an endpoint on their own: waits, headers that ask to wait, cost, the order of results, and settings that are refused.
import { describe, expect, test } from "vitest";
import { z } from "zod";
import { endpointPart } from "../../src/config/endpoint.js";
import { resolveSettings } from "../../src/config/resolve.js";
import { failureOf, timeoutFailure } from "../../src/endpoint/faults.js";
import { inOrder } from "../../src/endpoint/in-order.js";
import { costOf, Meter } from "../../src/endpoint/meter.js";
import { backoffMs, retryAfterMs } from "../../src/endpoint/retry.js";

test("a deadline at its most is not advised to be raised", () => {
  expect(timeoutFailure(299).advice).toMatch(/^raise endpoint\.deadlineSeconds, /);
  const { advice } = timeoutFailure(endpointPart().parse({}).deadlineSeconds);
  expect(advice).toMatch(/^lower the tokens of an answer .*deadlineSeconds is at its most$/);
});

describe("backoffMs", () => {
  const policy = { retries: 8, retrySeconds: 600, backoffSeconds: 0.5 };
  test.each([
    [1, 0, 250],
    [1, 1, 500],
    [3, 0, 1000],
    [3, 0.5, 1500],
    [7, 1, 32_000],
    [8, 1, 60_000],
    [2000, 0, 30_000],
  ])("failure %i, drawn %f: %i ms", (failures, uniform, ms) => expect(backoffMs(policy, failures, uniform)).toBe(ms));
});

describe("retryAfterMs", () => {
  const now = Date.parse("2025-01-31T12:00:00Z");
  test.each<[Record<string, string>, number | null]>([
    [{}, null],
    [{ "retry-after": "3" }, 3000],
    [{ "retry-after": "1.5" }, 1500],
    [{ "retry-after": "Fri, 31 Jan 2025 12:00:20 GMT" }, 20_000],
    [{ "retry-after": "Fri, 31 Jan 2025 11:00:00 GMT" }, 0],
    [{ "retry-after": "soon" }, null],
    [{ "retry-after-ms": "250", "retry-after": "3" }, 250],
  ])("%j: %s", (headers, ms) => expect(retryAfterMs(new Headers(headers), now)).toBe(ms));

  test("no headers ask for nothing", () => expect(retryAfterMs(undefined, now)).toBeNull());
});

describe("cost", () => {
  test("is tokens times prices per million", () => {
    expect(costOf({ promptTokens: 1_500_000, completionTokens: 250_000 }, { input: 0.4, output: 1.6 })).toBe(1);
    expect(costOf({ promptTokens: 0, completionTokens: 0 }, { input: 9, output: 9 })).toBe(0);
  });

  test("adds up over answers, and knows those that say nothing", () => {
    const meter = new Meter({ input: 1, output: 10 });
    meter.sent(1);
    meter.sent(2);
    meter.answered({ promptTokens: 100_000, completionTokens: 50_000 });
    meter.answered(null);
    expect(meter.spent).toEqual({
      ...{ requests: 2, retries: 1, promptTokens: 100_000, completionTokens: 50_000, withoutUsage: 1 },
      cost: 0.6,
    });
  });
});

describe("inOrder", () => {
  const later = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

  test("gives results in order, and begins no more than the window holds", async () => {
    const log: string[] = [];
    const work = async (ms: number, i: number) => {
      log.push(`+${i}`);
      await later(ms);
      log.push(`-${i}`);
      return i;
    };
    const results: number[] = [];
    for await (const result of inOrder([60, 1, 1, 1, 1], 3, work)) results.push(result);
    expect(results).toEqual([0, 1, 2, 3, 4]);
    expect(log.slice(0, 6)).toEqual(["+0", "+1", "+2", "-1", "-2", "-0"]);
  });

  test("throws a failure at its place, after what is under way has ended", async () => {
    const ended: number[] = [];
    const work = async (i: number) => {
      await later(i === 1 ? 1 : 30);
      if (i === 1) throw new Error("one");
      ended.push(i);
      return i;
    };
    const results: number[] = [];
    const all = (async () => {
      for await (const result of inOrder([0, 1, 2, 3, 4, 5], 3, work)) results.push(result);
    })();
    await expect(all).rejects.toThrow("one");
    expect(results).toEqual([0]);
    expect(ended.sort()).toEqual([0, 2, 3]);
  });

  test("of nothing is nothing", async () => {
    for await (const _ of inOrder([], 3, async () => 1)) throw new Error("something");
  });
});

describe("settings", () => {
  const schema = z.strictObject({ endpoint: endpointPart() });
  const refusal = (endpoint: Record<string, unknown>): string => {
    try {
      resolveSettings("teach", schema, { endpoint });
      return "none";
    } catch (error) {
      return (error as Error).message;
    }
  };

  test.each<[Record<string, unknown>, RegExp]>([
    [{ baseURL: "localhost:8000" }, /endpoint.baseURL: expected an http or https URL.*got "localhost:8000"/],
    [{ baseURL: "ftp://host/v1" }, /expected an http or https URL/],
    [{ baseURL: "not a URL" }, /expected an http or https URL/],
    [{ baseURL: "http://host/v1?api-key=1" }, /without user, password or query/],
    [{ price: { input: -1 } }, /endpoint.price.input: expected number in \[0, 1000000\], got -1/],
    [{ price: { output: Number.NaN } }, /endpoint.price.output/],
    [{ concurrency: 0 }, /endpoint.concurrency: expected integer in \[1, 1024\], got 0/],
    [{ deadlineSeconds: 301 }, /endpoint.deadlineSeconds/],
    [{ apiKey: "x" }, /known key, got "endpoint.apiKey".*endpoint.apiKeyEnv/],
  ])("%j", (endpoint, message) => expect(refusal(endpoint)).toMatch(message));

  test.each(["sk-a-key-and-no-name", "gsk_a_key_and_no_name"])(
    "a key in the place of a name is not shown: %s",
    (key) => {
      expect(refusal({ apiKeyEnv: key })).toMatch(/endpoint.apiKeyEnv: expected the name of a variable.*never a key/);
      expect(refusal({ apiKeyEnv: key })).not.toContain(key);
    },
  );

  test("a password in a URL is not shown", () => {
    expect(refusal({ baseURL: "https://me:hunter2@host/v1" })).toMatch(/without user, password/);
    expect(refusal({ baseURL: "https://me:hunter2@host/v1" })).not.toContain("hunter2");
  });
});

describe("a connection that fails", () => {
  const failed = (code: string) => {
    const cause = Object.assign(new Error(`connect ${code}`), { code });
    return failureOf(new TypeError("fetch failed", { cause }), () => true);
  };

  test.each(["ENOTFOUND", "ERR_INVALID_URL", "CERT_HAS_EXPIRED", "DEPTH_ZERO_SELF_SIGNED_CERT", "EPROTO"])(
    "%s is not tried again",
    (code) => expect(failed(code)).toMatchObject({ code: "ENDPOINT_SETTING", retry: false }),
  );

  test.each(["EAI_AGAIN", "ECONNRESET", "ETIMEDOUT", "UND_ERR_SOCKET"])(
    "%s is, as often as the settings say",
    (code) => {
      expect(failed(code)).toMatchObject({ code: "ENDPOINT_DOWN", retry: true });
      expect(failed(code)).not.toHaveProperty("mostRetries");
    },
  );

  test("where nobody listens it is a few times", () => {
    expect(failed("ECONNREFUSED")).toMatchObject({ code: "ENDPOINT_DOWN", retry: true, mostRetries: 3 });
  });
});
