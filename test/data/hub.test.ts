// The hub, played by a local server: references, the cache's layout, resumption, offline use, and a typed error for each thing that fails.

import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, readlinkSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { sourcesOf } from "../../src/config/data.js";
import { type HubOptions, hubFiles, hubReference } from "../../src/data/hub.js";
import { openSource } from "../../src/data/source.js";
import { folderOf } from "../helpers/files.js";
import { COMMIT, type HubServer, serveHub } from "../helpers/hub-server.js";

const train = '{"q": 1}\n{"q": 2}\n';
const large = Array.from({ length: 20_000 }, (_, i) => `{"q": ${i}}\n`).join("");
const sets = {
  "team/small": { "train.jsonl": train, "test.jsonl": '{"q": 3}\n', "README.md": "# Data" },
  "team/large": { "data/train-00000-of-00002.jsonl": large, "data/train-00001-of-00002.jsonl": train },
  "team/two": { "main/train.jsonl": train, "socratic/train.jsonl": train },
};
const variables = [
  "HF_ENDPOINT",
  "HF_HOME",
  "HF_TOKEN",
  "HF_TOKEN_PATH",
  "HF_HUB_CACHE",
  "HUGGINGFACE_HUB_CACHE",
  "HF_HUB_OFFLINE",
  "HF_HUB_ETAG_TIMEOUT",
  "HF_HUB_DOWNLOAD_TIMEOUT",
];
const kept = Object.fromEntries(variables.map((name) => [name, process.env[name]]));

let hub: HubServer;
let home: string;

beforeEach(async () => {
  hub = await serveHub(sets);
  home = folderOf({});
  for (const name of variables) delete process.env[name];
  Object.assign(process.env, { HF_ENDPOINT: `${hub.url}/`, HF_HOME: home });
});

afterEach(async () => {
  await hub[Symbol.asyncDispose]();
  for (const [name, value] of Object.entries(kept)) {
    if (value === undefined) delete process.env[name];
    else process.env[name] = value;
  }
});

const cache = (name: string) => join(home, "hub", `datasets--${name.replace("/", "--")}`);
const get = (reference: string, { onProgress, ...options }: HubOptions = {}) =>
  hubFiles(hubReference(sourcesOf(reference)[0]!)!, {
    retryDelayMs: 1,
    ...options,
    onProgress: (progress) => {
      hub.received = progress.done;
      onProgress?.(progress);
    },
  });
const failing = (reference: string, code: string, message: RegExp) =>
  expect(get(reference)).rejects.toMatchObject({ name: "InputError", code, message: expect.stringMatching(message) });
const fileRequests = () => hub.requests.filter((request) => request.includes("/resolve/"));

describe("files", () => {
  test("a named file lies where Python's huggingface_hub looks for it", async () => {
    const { files, commit } = await get("hub:team/small@v1:train.jsonl");
    const path = join(cache("team/small"), "snapshots", COMMIT, "train.jsonl");
    expect([files, commit]).toEqual([[path], COMMIT]);
    expect(readFileSync(path, "utf8")).toBe(train);
    const hash = createHash("sha1").update(`blob ${train.length}\0${train}`).digest("hex");
    expect(readlinkSync(path)).toBe(join("..", "..", "blobs", hash));
    expect(readFileSync(join(cache("team/small"), "refs", "v1"), "utf8")).toBe(COMMIT);
    expect(readdirSync(join(cache("team/small"), "blobs"))).toEqual([hash]);
  });

  test("a split, a pattern, the default", async () => {
    const names = async (reference: string) => (await get(reference)).files.map((file) => file.split(`${COMMIT}/`)[1]);
    const both = ["data/train-00000-of-00002.jsonl", "data/train-00001-of-00002.jsonl"];
    expect(await names("hub:team/large")).toEqual(both);
    expect(await names("hub:team/large:data/train-*.jsonl")).toEqual(both);
    expect(await names("hub:team/small")).toEqual(["train.jsonl"]);
    expect(await names("hub:team/two:socratic/*")).toEqual(["socratic/train.jsonl"]);
  });

  test("large files are known by their SHA-256, and progress is told", async () => {
    const told: number[] = [];
    await get("hub:team/large", {
      onProgress: ({ done, total, file }) => file.includes("00000") && told.push(done / total),
    });
    expect(readdirSync(join(cache("team/large"), "blobs"))).toContain(createHash("sha256").update(large).digest("hex"));
    expect(told.at(-1)).toBe(1);
    expect([...told].sort((a, b) => a - b)).toEqual(told);
  });

  test("what is cached is not fetched again; a commit needs no network at all", async () => {
    await get("hub:team/small");
    const before = hub.requests.length;
    await get("hub:team/small:train.jsonl");
    expect(hub.requests.slice(before)).toEqual(["GET /api/datasets/team/small/revision/main"]);
    await get(`hub:team/small@${COMMIT}:train.jsonl`);
    expect(hub.requests.length).toBe(before + 1);
  });

  test("a blob that another snapshot has is linked, not fetched", async () => {
    const hash = createHash("sha1").update(`blob ${train.length}\0${train}`).digest("hex");
    mkdirSync(join(cache("team/small"), "blobs"), { recursive: true });
    writeFileSync(join(cache("team/small"), "blobs", hash), train);
    expect(readFileSync((await get("hub:team/small")).files[0]!, "utf8")).toBe(train);
    expect(fileRequests()).toEqual([]);
  });

  test("offline, files come from the cache by branch, commit, split and pattern", async () => {
    await get("hub:team/large");
    await hub[Symbol.asyncDispose]();
    process.env.HF_HUB_OFFLINE = "1";
    for (const reference of ["hub:team/large", "hub:team/large@main:data/*", `hub:team/large@${COMMIT}`]) {
      expect((await get(reference)).files.length).toBe(2);
    }
    await expect(get("hub:team/small")).rejects.toMatchObject({ code: "HUB_OFFLINE" });
    await expect(get("hub:team/large:other.jsonl")).rejects.toMatchObject({ code: "HUB_OFFLINE" });
  });

  test("a source reads its rows, all files in order, and names the commit", async () => {
    const source = await openSource({ ...sourcesOf("x")[0]!, source: "", hub: "team/large" });
    const values: unknown[] = [];
    for await (const { value } of source.rows()) values.push(value);
    expect(values.length).toBe(20_002);
    expect(values.at(-1)).toEqual({ q: 2 });
    expect(source.report).toEqual({
      source: "hub:team/large@main:train",
      commit: COMMIT,
      rows: 20_002,
      dropped: {},
      truncated: 0,
      sha256: expect.stringMatching(/^[0-9a-f]{64}$/),
    });
  });

  test("the token goes along", async () => {
    await using gated = await serveHub(sets, "hf_secret");
    Object.assign(process.env, { HF_ENDPOINT: gated.url, HF_TOKEN: "hf_secret" });
    await get("hub:team/small");
    expect(gated.requests.length).toBe(3);
    expect(gated.requests.every((request) => request.endsWith("Bearer hf_secret"))).toBe(true);
  });

  test("the token of a login goes along: the file in HF_HOME, HF_TOKEN_PATH before it, HF_TOKEN before both", async () => {
    await using gated = await serveHub(sets, "hf_secret");
    process.env.HF_ENDPOINT = gated.url;
    const elsewhere = join(folderOf({ mine: "hf_secret\n" }), "mine");
    writeFileSync(join(home, "token"), " hf_secret\r\n");
    await get("hub:team/small");
    writeFileSync(join(home, "token"), "hf_old");
    await failing("hub:team/large", "HUB_ACCESS", /HTTP 401/);
    process.env.HF_TOKEN_PATH = elsewhere;
    await get("hub:team/large");
    writeFileSync(elsewhere, "hf_old");
    process.env.HF_TOKEN = "hf_secret";
    await get("hub:team/two:main/train.jsonl");
    expect(new Set(gated.requests.map((request) => request.split("Bearer ")[1]))).toEqual(
      new Set(["hf_secret", "hf_old"]),
    );
  });

  test("a token file that cannot be read is named", async () => {
    process.env.HF_TOKEN_PATH = home;
    await failing("hub:team/small", "HUB_SETTING", /^\[.*\] expected a token, got EISDIR.*set HF_TOKEN/);
  });
});

describe("interrupted downloads", () => {
  test("go on where the connection broke", async () => {
    hub.faults = { breakAfter: [100_000, 50_000] };
    const { files } = await get("hub:team/large");
    expect(readFileSync(files[0]!, "utf8")).toBe(large);
    const ranges = fileRequests()
      .filter((request) => request.includes("00000"))
      .map((request) => request.split("bytes=")[1]);
    expect(ranges).toEqual([undefined, "100000-", "150000-"]);
  });

  test("go on where an earlier process stopped", async () => {
    const blob = join(cache("team/large"), "blobs", createHash("sha256").update(large).digest("hex"));
    mkdirSync(join(blob, ".."), { recursive: true });
    writeFileSync(`${blob}.incomplete`, large.slice(0, 7_000));
    const { files } = await get("hub:team/large");
    expect(readFileSync(files[0]!, "utf8")).toBe(large);
    expect(fileRequests()[0]).toMatch(/bytes=7000-$/);
    expect(existsSync(`${blob}.incomplete`)).toBe(false);
  });

  test("start over where the server knows no ranges", async () => {
    hub.faults = { breakAfter: [100_000], noRange: true };
    expect(readFileSync((await get("hub:team/large")).files[0]!, "utf8")).toBe(large);
  });

  test("go on after a silence", async () => {
    process.env.HF_HUB_DOWNLOAD_TIMEOUT = "0.2";
    hub.faults = { stallAfter: [90_000] };
    expect(readFileSync((await get("hub:team/large")).files[0]!, "utf8")).toBe(large);
  });

  test("stop at an abort, and keep what came", async () => {
    hub.faults = { stallAfter: [90_000] };
    const stop = new AbortController();
    const running = get("hub:team/large", {
      signal: stop.signal,
      onProgress: ({ done }) => done >= 90_000 && stop.abort(),
    });
    await expect(running).rejects.toMatchObject({ name: "AbortError" });
    const blob = join(cache("team/large"), "blobs", createHash("sha256").update(large).digest("hex"));
    expect(statSync(`${blob}.incomplete`).size).toBe(90_000);
  });
});

describe("failures are typed, and name the data set", () => {
  test("references that are none", () => {
    for (const source of [
      "hub:",
      "hub:only",
      "hub:a/b/c",
      "hub:../x",
      "hub:a/..",
      "hub:a/b@../../x",
      "hub:a/b@x//y:f",
      "hub:a/b:../f",
    ]) {
      expect(() => hubReference(sourcesOf(source)[0]!)).toThrow(expect.objectContaining({ code: "HUB_REFERENCE" }));
    }
    expect(hubReference(sourcesOf("data/hub:x.jsonl")[0]!)).toBeNull();
  });

  test("a cache that cannot be written", async () => {
    writeFileSync(join(home, "hub"), "a file");
    await failing(
      "hub:team/small",
      "FILE_IO",
      /\[hub:team\/small\] expected a cache that can be written, got E.*; set HF_HOME/,
    );
  });

  test("a cache that is set to nothing, which would be the working folder", async () => {
    process.env.HF_HUB_CACHE = "";
    await failing("hub:team/small", "HUB_SETTING", /\[HF_HUB_CACHE\] expected a folder, got nothing/);
  });

  test.each([401, 403])("HTTP %i asks for a token", async (code) => {
    hub.faults = { status: { on: "/revision/", code } };
    await failing(
      "hub:team/small",
      "HUB_ACCESS",
      /\[hub:team\/small\] expected revision main .* HTTP \d+; set HF_TOKEN/,
    );
    hub.faults = { status: { on: "/resolve/", code } };
    await failing("hub:team/small", "HUB_ACCESS", /expected train\.jsonl from http/);
  });

  test("a data set, a revision, a file and a split that do not exist", async () => {
    await failing("hub:team/none", "HUB_MISSING", /HTTP 404; correct the name/);
    await failing("hub:team/small@v2", "HUB_MISSING", /expected revision v2/);
    await failing(
      "hub:team/small:x.jsonl",
      "HUB_MISSING",
      /expected x\.jsonl, got train\.jsonl, test\.jsonl; set file/,
    );
    await failing("hub:team/small:x*", "HUB_MISSING", /expected x\*/);
    hub.faults = { status: { on: "/resolve/", code: 404 } };
    await failing("hub:team/small", "HUB_MISSING", /expected train\.jsonl/);
  });

  test("a split in several folders", () =>
    failing("hub:team/two", "HUB_AMBIGUOUS", /got main, socratic; set file, such as main\/\*/));

  test("no answer in time", async () => {
    Object.assign(process.env, { HF_HUB_ETAG_TIMEOUT: "0.2", HF_HUB_DOWNLOAD_TIMEOUT: "0.1" });
    for (const silent of ["/revision/", "/tree/", "/resolve/"]) {
      hub.faults = { silent };
      await failing("hub:team/small", "HUB_TIMEOUT", /got no (answer|byte) within \d+ ms/);
    }
    process.env.HF_HUB_ETAG_TIMEOUT = "soon";
    await failing("hub:team/small", "HUB_SETTING", /\[HF_HUB_ETAG_TIMEOUT\] expected seconds/);
  });

  test("a server that fails or is not there", async () => {
    hub.faults = { status: { on: "/resolve/", code: 503 } };
    await failing("hub:team/small", "HUB_HTTP", /HTTP 503; try again later/);
    expect(fileRequests().length).toBe(5);
    const gone = await serveHub({});
    await gone[Symbol.asyncDispose]();
    process.env.HF_ENDPOINT = gone.url;
    await failing("hub:team/small", "HUB_NETWORK", /fetch failed \(.*ECONNREFUSED/);
  });

  test("wrong sizes and wrong bytes never reach the cache", async () => {
    const blobs = () => readdirSync(join(cache("team/small"), "blobs")).filter((name) => !name.endsWith(".incomplete"));
    hub.faults = { content: (bytes) => bytes.subarray(1) };
    await failing("hub:team/small", "HUB_SIZE", /expected train\.jsonl with 18 bytes, got 17/);
    expect(blobs()).toEqual([]);
    hub.faults = { content: (bytes) => Buffer.concat([bytes, bytes]) };
    await failing("hub:team/small", "HUB_SIZE", /with 18 bytes, got more/);
    expect(blobs()).toEqual([]);
    hub.faults = { content: (bytes) => Buffer.from(bytes.toString().replace("1", "7")), noRange: true };
    await failing("hub:team/small", "HUB_HASH", /with the hash [0-9a-f]{40}, got [0-9a-f]{40}/);
    expect(blobs()).toEqual([]);
    hub.faults = {};
    expect(readFileSync((await get("hub:team/small")).files[0]!, "utf8")).toBe(train);
  });

  test.each(["../../evil.jsonl", "/etc/evil.jsonl", "a//b.jsonl", "a\\b.jsonl"])(
    "a listed path %s that leads out of the cache",
    (extraPath) => {
      hub.faults = { extraPath };
      return failing("hub:team/small", "HUB_NETWORK", /evil|b\.jsonl/);
    },
  );
});
