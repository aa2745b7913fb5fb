// A busy machine is no hostile file: the processes of tokenizers and chat templates that are held up for longer than their deadlines, and then go
// on, still answer; those that never go on end with an error.
import { spawn } from "node:child_process";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, test, vi } from "vitest";
import { byTheClock } from "../../src/config/cpu-deadline.mjs";
import { ChatTemplate } from "../../src/prompt/chat.js";
import { Tokenizer } from "../../src/prompt/tokenizer.js";
import { TokenizerProcess } from "../../src/prompt/tokenizer-process.js";
import { trialTokenizerFiles } from "../../src/tasks/index.js";
import { folderOf } from "../helpers/files.js";
import { childrenWith } from "../helpers/rewards.js";

const DEADLINE_MS = 1_000;
const HELD_UP_MS = 2_500;

/** The process that was started last; held up. */
async function holdUp(name: string): Promise<number> {
  const pid = await vi.waitUntil(() => childrenWith(name).at(-1));
  process.kill(pid, "SIGSTOP");
  return pid;
}

describe.runIf(process.platform === "linux")("held up for longer than the deadline", { timeout: 60_000 }, () => {
  test("a tokenizer that nobody waits for answers then", async () => {
    using tokenizer = await Tokenizer.load(folderOf(trialTokenizerFiles(64)), { deadlineMs: DEADLINE_MS });
    const pid = await holdUp("tokenizer-child");
    const encoded = tokenizer.encodeAll(["7", "9"]);
    await sleep(HELD_UP_MS);
    process.kill(pid, "SIGCONT");
    expect((await encoded).map((ids) => [...ids])).toEqual([[7], [9]]);
  });

  test("a tokenizer that the caller waits for answers then", async () => {
    using tokenizer = await Tokenizer.load(folderOf(trialTokenizerFiles(64)), { deadlineMs: DEADLINE_MS });
    const pid = await holdUp("tokenizer-child");
    spawn("sh", ["-c", `sleep ${HELD_UP_MS / 1000}; kill -CONT ${pid}`]);
    expect(tokenizer.encode("7")).toEqual([7]);
  });

  test("a tokenizer that never goes on is an error, and the next call has another process", async () => {
    using tokenizer = new TokenizerProcess(DEADLINE_MS);
    await tokenizer.call("load", { text: trialTokenizerFiles(64)["tokenizer.json"]!, config: {} });
    await holdUp("tokenizer-child");
    const encode = (deadlineMs: number) =>
      tokenizer.call("encode", { texts: ["7"], addSpecialTokens: true }, deadlineMs);
    const [stopped, next] = await Promise.allSettled([encode(100), encode(DEADLINE_MS)]);
    expect(stopped).toMatchObject({ reason: { message: `took more than ${byTheClock(100)}` } });
    expect(next).toMatchObject({ value: { ids: Int32Array.of(7) } });
  });

  test("a chat template renders then", async () => {
    const config = JSON.stringify({ chat_template: "{{ messages[0].content }}" });
    const template = (await ChatTemplate.load(folderOf({ "tokenizer_config.json": config })))!;
    const rendered = template.render([{ role: "user", content: "Hi" }], { deadlineMs: DEADLINE_MS });
    const pid = await holdUp("render-child");
    await sleep(HELD_UP_MS);
    process.kill(pid, "SIGCONT");
    expect(await rendered).toBe("Hi");
  });
});
