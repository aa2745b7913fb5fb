// The report of the GPU bench from recorded output with made-up timings, and that without a GPU it measures nothing.
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { assemble, lastDocument, TARGETS, tableRows } from "../../bench/gpu-kernels/report.mjs";
import { tempFolder } from "../helpers/recipes.js";

const bench = fileURLToPath(new URL("../../bench/gpu-kernels.mjs", import.meta.url));

const measured = {
  dtype: "float32",
  seconds: 0.002,
  bytes: 8e9,
  flops: 0,
  error: 1e-6,
  right: true,
};
const gather = { ...measured, case: "logprob gather", shape: "8 x 9" };
const matmul = {
  ...measured,
  case: "matmul, exact",
  shape: "up, M 2048",
  dtype: "bfloat16",
  flops: 1e12,
  best_library_seconds: 0.0016,
};
const attention = { ...measured, case: "attention forward and backward", shape: "2 x 4096" };
const facts = [
  { device: { name: "NVIDIA X", driver: 13_000 } },
  { copy_gb_per_s: 4500 },
  { cublasLt: 130_102, file: "libcublasLt.so.13" },
  gather,
  matmul,
  attention,
];
const peers = [
  { case: "logprob gather", shape: "8 x 9", dtype: "float32", peer: "eager", seconds: 0.01 },
  { case: "logprob gather", shape: "8 x 9", dtype: "float32", peer: "compile", seconds: 0.0021 },
  { case: "logprob gather", shape: "9 x 9", dtype: "float32", peer: "eager", seconds: 1 },
  { case: "attention forward and backward", shape: "2 x 4096", dtype: "float32", peer: "sdpa flash", seconds: 0.001 },
  { case: "attention forward and backward", shape: "2 x 4096", dtype: "float32", peer: "sdpa cudnn", seconds: 0.0013 },
];

describe("assemble", () => {
  const report = assemble(facts, peers);
  const of = (name: string) => report.results.find((result) => result.case === name)!;

  test("rates and shares come from bytes, seconds and the copy bandwidth", () => {
    expect(report.device).toEqual({ name: "NVIDIA X", driver: 13_000 });
    expect(of("logprob gather").gigabytesPerSecond).toBeCloseTo(4000);
    expect(of("logprob gather").shareOfCopy).toBeCloseTo(4000 / 4500);
    expect(of("matmul, exact").teraflops).toBeCloseTo(500);
    expect(of("matmul, exact").shareOfLibrary).toBeCloseTo(0.8);
  });

  test("peers are those of the same case, shape and type, and of several backends the fastest", () => {
    expect(of("logprob gather").timesEager).toBeCloseTo(5);
    expect(of("logprob gather").timesCompile).toBeCloseTo(1.05);
    expect(of("attention forward and backward").shareOfSdpa).toBeCloseTo(0.5);
    expect(of("logprob gather").peers).toEqual({ eager: 0.01, compile: 0.0021 });
  });

  test("targets are met, missed or not measured", () => {
    const met = (name: string) => of(name).targets.map(({ figure, met: is }) => [figure, is]);
    expect(met("logprob gather")).toEqual([
      ["shareOfCopy", true],
      ["timesEager", true],
      ["timesCompile", false],
    ]);
    expect(met("matmul, exact")).toEqual([["shareOfLibrary", false]]);
    expect(met("attention forward and backward")).toEqual([["shareOfSdpa", false]]);
    const alone = assemble(facts, []).results[0]!;
    expect(alone.targets.map((target) => target.met)).toEqual([true, null, null]);
    const noLibrary = assemble([...facts.slice(0, 2), { ...matmul, best_library_seconds: 0 }], []);
    expect(noLibrary.results[0]!.shareOfLibrary).toBeNull();
  });

  test("wrong answers are listed and marked", () => {
    const wrong = assemble([...facts.slice(0, 2), { ...gather, error: 3, right: false }], []);
    expect(wrong.wrong).toEqual([{ case: "logprob gather", shape: "8 x 9", error: 3 }]);
    expect(tableRows(wrong)[0]).toContain("WRONG");
    expect(report.wrong).toEqual([]);
  });

  test("output of a program that saw no GPU is refused", () => {
    expect(() => assemble([], [])).toThrow("did not run on a GPU");
    expect(lastDocument('{"a": 1}\n[2]\n', "x")).toEqual([2]);
    expect(() => lastDocument("no device\n", "x")).toThrow(
      '[x] expected a JSON document as the last line, got "no device"',
    );
  });

  test("each target names cases of its own", () => {
    const names = TARGETS.flatMap((target) => target.cases);
    expect(new Set(names).size).toBe(names.length);
  });
});

describe("the command", () => {
  const run = (args: string[], path: string) =>
    spawnSync(process.execPath, [bench, ...args], { encoding: "utf8", env: { ...process.env, PATH: path } });

  test("without a GPU says so and fails", () => {
    const { status, stderr, stdout } = run([], tempFolder());
    expect(status).toBe(1);
    expect(stderr).toContain("expected a GPU, got none");
    expect(stdout).toBe("");
  });

  test.skipIf(existsSync("/usr/bin/nvidia-smi"))("nor does a session measure anything without one", () => {
    const session = fileURLToPath(new URL("../../bench/gpu-session.sh", import.meta.url));
    const out = tempFolder();
    const PATH = "/usr/bin:/bin"; // of bash, date and timeout
    const { status, stderr } = spawnSync("/bin/bash", [session], { encoding: "utf8", env: { PATH, OUT: out } });
    expect(status).toBe(1);
    expect(stderr).toContain("expected a GPU, got none: nothing is measured");
    expect(readdirSync(out)).toEqual(["session.log"]);
    expect(readFileSync(join(out, "session.log"), "utf8")).toContain("== device: status 127");
  });

  test("reports what a session left, with date and commit", () => {
    const folder = tempFolder();
    const [factsFile, peersFile, json] = ["facts", "peers", "report"].map((name) => join(folder, `${name}.json`));
    writeFileSync(factsFile!, JSON.stringify(facts));
    writeFileSync(peersFile!, JSON.stringify({ torch: "2.11", cuda: "13.0", device: "NVIDIA X", results: peers }));
    const { status, stdout } = run(
      ["--facts-from", factsFile!, "--peers-from", peersFile!, "--json", json!],
      process.env.PATH!,
    );
    expect(status).toBe(0);
    const document = lastDocument(stdout, "report");
    expect(document).toMatchObject({ bench: "gpu-kernels", peers: { torch: "2.11" }, copyGigabytesPerSecond: 4500 });
    expect(document.date).toMatch(/^\d{4}-\d\d-\d\d$/);
    expect(document.commit).toMatch(/^[0-9a-f]{40}/);
    expect(document.results).toHaveLength(3);
  });
});
