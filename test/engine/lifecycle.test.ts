// The engine as a resource: stopping, refusing a second call, disposing, several engines, worker threads, processes that just end.
// What could bring a process down runs in a process of its own.
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { Engine } from "../../src/engine/engine.js";
import type { GenerateProgress, GenerateRequest } from "../../src/engine/types.js";
import {
  anonymousMemory,
  oddInit,
  oddSpec,
  pack,
  randomSequences,
  runScript,
  steadyAllocator,
  temporaryFolder,
} from "../helpers/engine.js";

const sequences = randomSequences(Array(24).fill(100), oddSpec.vocabSize);
const weightsOf = (length: number) => Float32Array.from({ length }, (_, t) => (t % 100 === 0 ? 0 : 0.01));
const batch = { ...pack(sequences), weights: weightsOf(2400) };

/** Work for a while: many samples as long as the context. */
const long: GenerateRequest = { prompts: pack([[1], [2]]), samplesPerPrompt: 32, sampling: { maxTokens: 159 } };
const longBatch = { ...pack(Array(10).fill(sequences).flat()), weights: weightsOf(24_000) };
const short: GenerateRequest = { prompts: pack([[1], [2]]), sampling: { maxTokens: 3 } };

let engine: Engine;
beforeEach(async () => {
  // A micro-batch a sequence, so that there are places to stop at.
  engine = await Engine.create(oddSpec, oddInit, { microBatchTokens: 100, threads: 1 });
});
afterEach(() => engine.dispose());

async function gradientIsZero(): Promise<boolean> {
  return (await engine.gradient("model.norm.weight")).every((value) => value === 0);
}

describe("an abort", () => {
  test("gives the samples that generate has so far", async () => {
    const whole = await engine.generate(long);
    const controller = new AbortController();
    const part = await engine.generate({ ...long, signal: controller.signal, onProgress: () => controller.abort() });
    expect(part.finish.length).toBe(64);
    expect(part.finish).toContain("abort");
    expect(part.tokens.length).toBeLessThan(whole.tokens.length);
    expect(part.logprobs.length).toBe(part.tokens.length);
    const first = part.tokens.subarray(0, part.cuSeqlens[1]);
    expect(first).toEqual(whole.tokens.subarray(0, first.length));
  });

  test("within the prefill of a long prompt gives what is finished, long before the prompt is computed", async () => {
    // The long prompt would take minutes: whatever the machine is doing, the abort comes before its end.
    const deep = { ...oddSpec, layers: 16, hiddenSize: 96, maxPositions: 100_000 };
    await using other = await Engine.create(deep, oddInit, { threads: 1, trainable: false });
    const sequences = randomSequences([2, 90_000], oddSpec.vocabSize);
    const request = { prompts: pack(sequences), samplesPerPrompt: 3, sampling: { maxTokens: 1 } };
    const controller = new AbortController();
    const stream = other.generateStream({ ...request, signal: controller.signal });
    const first = await stream.next();
    controller.abort();
    let next = first;
    while (!next.done) next = await stream.next();
    const { finish, tokens } = next.value;
    expect(finish).toEqual(["length", "length", "length", "abort", "abort", "abort"]);
    const alone = await other.generate({ ...request, prompts: pack(sequences.slice(0, 1)) });
    expect(tokens).toEqual(alone.tokens);
  });

  test("before the call leaves generate nothing to do", async () => {
    const { tokens, finish } = await engine.generate({ ...short, signal: AbortSignal.abort() });
    expect(tokens.length).toBe(0);
    expect(finish).toEqual(["abort", "abort"]);
  });

  test("discards what forwardBackward has so far", async () => {
    const controller = new AbortController();
    const running = engine.forwardBackward({ ...longBatch, signal: controller.signal }, { kind: "sft" });
    controller.abort();
    await expect(running).rejects.toMatchObject({
      code: "ABORTED",
      message: expect.stringContaining("forwardBackward"),
    });
    expect(await gradientIsZero()).toBe(true);
  });

  test("before the call discards earlier gradients as well", async () => {
    await engine.forwardBackward(batch, { kind: "sft" });
    expect(await gradientIsZero()).toBe(false);
    const running = engine.forwardBackward({ ...batch, signal: AbortSignal.abort() }, { kind: "sft" });
    await expect(running).rejects.toMatchObject({ code: "ABORTED" });
    expect(await gradientIsZero()).toBe(true);
  });

  test("stops logprobs", async () => {
    await expect(engine.logprobs({ ...batch, signal: AbortSignal.abort() })).rejects.toMatchObject({ code: "ABORTED" });
  });

  test("after the call changes nothing, and the next call runs", async () => {
    const controller = new AbortController();
    const first = await engine.generate({ ...short, signal: controller.signal });
    const next = engine.generate(short);
    controller.abort();
    expect(await next).toEqual(first);
  });
});

describe("progress", () => {
  test("is told while samples are made", async () => {
    const seen: GenerateProgress[] = [];
    const { tokens } = await engine.generate({ ...long, onProgress: (progress) => seen.push(progress) });
    expect(seen.length).toBeGreaterThan(1);
    expect(seen.map((one) => one.tokens)).toEqual(seen.map((one) => one.tokens).sort((a, b) => a - b));
    expect(seen[0]).toMatchObject({ total: 64 });
    expect(seen.at(-1)!.tokens).toBeLessThanOrEqual(tokens.length);
  });

  test("that throws stops the call, which rejects with its error", async () => {
    const mine = new Error("from the callback");
    const onProgress = () => {
      throw mine;
    };
    await expect(engine.generate({ ...long, onProgress })).rejects.toBe(mine);
    expect((await engine.generate(short)).finish).toEqual(["length", "length"]);
  });
});

describe("one call at a time", () => {
  test("a second is refused and the first goes on", async () => {
    const wanted = await engine.generate(short);
    const first = engine.generate(short);
    const busy = {
      code: "ENGINE_BUSY",
      message: "[engine] expected one call at a time, got a second; await the first",
    };
    await expect(engine.logprobs(short.prompts)).rejects.toMatchObject(busy);
    await expect(engine.optimStep({ learningRate: 1 })).rejects.toMatchObject(busy);
    expect(await first).toEqual(wanted);
  });

  test("a save that is refused leaves the folder as it was", async () => {
    const folder = temporaryFolder();
    writeFileSync(join(folder, "config.json"), "the old one");
    const running = engine.generate(long);
    await expect(engine.save(folder)).rejects.toMatchObject({ code: "ENGINE_BUSY" });
    await running;
    expect(readdirSync(folder)).toEqual(["config.json"]);
    expect(readFileSync(join(folder, "config.json"), "utf8")).toBe("the old one");
  });

  test("two engines save into one folder at a time", async () => {
    await using other = await Engine.create(oddSpec, oddInit, { threads: 1 });
    const folder = temporaryFolder();
    await Promise.all([engine.save(folder), other.save(folder)]);
    expect(readdirSync(folder).sort()).toEqual(["config.json", "generation_config.json", "model.safetensors"]);
  });

  test("two engines run side by side", async () => {
    await using other = await Engine.create(oddSpec, { ...oddInit, seed: 2 }, { threads: 1 });
    const [a, b] = [await engine.generate(short), await other.generate(short)];
    expect(a.tokens).not.toEqual(b.tokens);
    expect(await Promise.all([engine.generate(short), other.generate(short)])).toEqual([a, b]);
  });
});

describe("dispose", () => {
  test("twice is once, and every verb then refuses", async () => {
    await engine.dispose();
    await engine.dispose();
    const gone = { code: "ENGINE_DISPOSED", message: expect.stringContaining("expected a live engine") };
    await expect(engine.generate(short)).rejects.toMatchObject(gone);
    await expect(engine.logprobs(short.prompts)).rejects.toMatchObject(gone);
    await expect(engine.forwardBackward(batch, { kind: "sft" })).rejects.toMatchObject(gone);
    await expect(engine.optimStep({ learningRate: 1 })).rejects.toMatchObject(gone);
    await expect(engine.gradient("model.norm.weight")).rejects.toMatchObject(gone);
  });

  test("stops a call that runs", async () => {
    const generating = engine.generate(long);
    await engine.dispose();
    expect((await generating).finish).toContain("abort");
  });

  test("makes training reject", async () => {
    const training = expect(engine.forwardBackward(longBatch, { kind: "sft" })).rejects.toMatchObject({
      code: "ABORTED",
    });
    await engine.dispose();
    await training;
  });

  test("comes at the end of a block", async () => {
    let outside: Engine;
    {
      await using inside = await Engine.create(oddSpec, oddInit);
      outside = inside;
    }
    await expect(outside.generate(short)).rejects.toMatchObject({ code: "ENGINE_DISPOSED" });
  });
});

describe("a process", () => {
  const setup = `
    const { Engine } = await import(dist + "engine/engine.js");
    const spec = ${JSON.stringify(oddSpec)};
    const open = () => Engine.create(spec, { seed: 1, std: 0.15 }, { threads: 2 });
    const prompts = { ids: Int32Array.of(1, 2), cuSeqlens: Int32Array.of(0, 1, 2) };
    const generate = (engine, maxTokens, n) => engine.generate({ prompts, samplesPerPrompt: n, sampling: { maxTokens } });
  `;

  test("ends by itself with an engine that nobody disposed", async () => {
    expect(await runScript(`${setup} globalThis.engine = await open(); console.log("end");`)).toBe("end");
  });

  test("waits for a call that runs", async () => {
    const script = `${setup} generate(await open(), 40, 4).then((r) => console.log(r.tokens.length));`;
    expect(await runScript(script)).toBe("320");
  });

  test("may exit in the middle of a call", async () => {
    const script = `${setup} generate(await open(), 159, 64); setImmediate(() => { console.log("end"); process.exit(0); });`;
    expect(await runScript(script)).toBe("end");
  });

  test("has engines in worker threads, and outlives workers that are terminated in the middle", async () => {
    const { tokens } = await engine.generate({ ...short, samplesPerPrompt: 2 });
    const worker = `
      import { parentPort, workerData } from "node:worker_threads";
      const dist = workerData;
      ${setup}
      const engine = await open();
      parentPort.postMessage((await generate(engine, 3, 2)).tokens);
      await generate(engine, 159, 512);
      parentPort.postMessage("not stopped");
    `;
    const script = `
      import { Worker } from "node:worker_threads";
      const url = new URL("data:text/javascript," + encodeURIComponent(${JSON.stringify(worker)}));
      for (const delay of [0, 5, 30]) {
        const worker = new Worker(url, { workerData: dist });
        worker.on("error", (error) => { console.log(error); process.exit(1); });
        await new Promise((resolve) => worker.on("message", async (message) => {
          console.log(String(message));
          await new Promise((next) => setTimeout(next, delay));
          resolve(await worker.terminate());
        }));
      }
    `;
    expect((await runScript(script)).split("\n")).toEqual(Array(3).fill(String(tokens)));
  });

  test("grows by less than 4 KiB a cycle of sampling, training and disposing", async () => {
    const script = `${setup}
      ${anonymousMemory}
      const ids = Int32Array.from({ length: 64 }, (_, t) => t % spec.vocabSize);
      const batch = { ids, cuSeqlens: Int32Array.of(0, 64), weights: Float32Array.from(ids, (_, t) => t === 0 ? 0 : 1 / 63) };
      const cycle = async () => {
        const engine = await open();
        await generate(engine, 10, 4);
        await engine.forwardBackward(batch, { kind: "sft" });
        await engine.optimStep({ learningRate: 1e-3 });
        await engine.dispose();
      };
      const sizes = [];
      for (let i = 0; i < 1200; i++) {
        await cycle();
        gc();
        if (i >= 100) sizes.push(anonymous()); // by then compiled code has its size
      }
      const middle = (sizes.length - 1) / 2;
      const over = (value) => sizes.reduce((sum, size, i) => sum + (i - middle) * value(size, i), 0);
      const slope = over((size) => size) / over((_, i) => i - middle);
      console.log(slope);
    `;
    const slope = Number(await runScript(script, ["--expose-gc"], steadyAllocator)); // least squares, bytes a cycle
    expect(slope).toBeLessThan(4096);
  });

  test("does not grow with engines made and disposed, or made and forgotten", async () => {
    const script = `${setup}
      ${anonymousMemory}
      const cycle = async (dispose) => {
        const engine = await open();
        await generate(engine, 2, 4);
        if (dispose) await engine.dispose();
      };
      const settle = async () => { for (let i = 0; i < 3; i++) { gc(); await new Promise((next) => setTimeout(next, 20)); } };
      const grown = [];
      for (const dispose of [true, false]) {
        for (let i = 0; i < 10; i++) await cycle(dispose);
        await settle();
        const before = anonymous();
        for (let i = 0; i < 40; i++) { await cycle(dispose); if (i % 10 === 9) await settle(); }
        grown.push((anonymous() - before) / 2 ** 20);
      }
      console.log(grown.join(" "));
    `;
    const grown = (await runScript(script, ["--expose-gc"], steadyAllocator)).split(" ").map(Number);
    // 40 engines hold more than 60 MiB of weights, gradients and moments.
    expect(grown[0]).toBeLessThan(24);
    expect(grown[1]).toBeLessThan(40);
  });
});
