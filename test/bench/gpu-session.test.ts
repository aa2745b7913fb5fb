// What a session on a GPU leaves of its parts, with programs that only write: a compiler, a GPU and PyTorch are stood in for.
import { spawnSync } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { tempFolder } from "../helpers/recipes.js";

const session = fileURLToPath(new URL("../../bench/gpu-session.sh", import.meta.url));
const MOST_FILES = 8; // that a lent machine gives back

const lines = (...documents: unknown[]) => documents.map((each) => JSON.stringify(each)).join("\n");
const timed = {
  case: "policy loss",
  shape: "8",
  dtype: "float32",
  seconds: 1,
  bytes: 1e9,
  flops: 0,
  error: 0,
  right: true,
};
const facts = [{ device: { name: "X" } }, { copy_gb_per_s: 2 }, timed];
const peer = { case: "policy loss", shape: "8", dtype: "float32", peer: "eager", seconds: 4 };
const probed = [{ probe: "device" }, { probe: "cublasLt version", version: 13 }];

/** What each program writes, and the status that it ends with. */
const programs = {
  device_tests: { output: "9 passed, 0 failed", status: 0 },
  gpu_probe: { output: lines(...probed, probed), status: 0 },
  gpu_kernels: { output: lines(...facts, facts), status: 0 },
  peers: { output: lines({ results: [] }, { results: [peer] }), status: 0 },
};

/** Runs a session in which these targets do not compile, with cuBLASLt beside PyTorch. */
function run(overrides: Partial<typeof programs> = {}, broken: readonly string[] = []) {
  const [folder, out] = [tempFolder(), tempFolder()];
  const [bin, ready, library] = ["bin", "ready", "nvidia/cu13/lib"].map((name) => join(folder, name)) as [
    string,
    string,
    string,
  ];
  for (const each of [bin, ready, library]) mkdirSync(each, { recursive: true });
  const script = (path: string, body: string) => writeFileSync(path, `#!/bin/bash\n${body}\n`, { mode: 0o755 });
  for (const [name, { output, status }] of Object.entries({ ...programs, ...overrides }))
    script(join(ready, name), `cat <<'END'\n${output}\nEND\necho "$CUBLAS_LIBRARY_DIR" >&2\nexit ${status}`);
  script(join(bin, "nvidia-smi"), "echo X");
  script(join(bin, "ninja"), "");
  script(join(bin, "python"), `[ "$1" = -c ] && echo ${library}/libcublasLt.so.13 || exec ${ready}/peers`);
  // --build FOLDER --parallel N --target NAMES...
  script(
    join(bin, "cmake"),
    `[ "$1" = --build ] || { echo "$CMAKE_GENERATOR"; exit 0; }
mkdir -p "$2"
for name in "\${@:6}"; do
  [[ " ${broken.join(" ")} " != *" $name "* ]] || { echo "$name: error" >&2; exit 1; }
  cp ${ready}/$name "$2"
done`,
  );
  symlinkSync(process.execPath, join(bin, "node"));
  const env = { PATH: `${bin}:/usr/bin:/bin`, OUT: out, BUILD: join(folder, "build"), PYTHON: join(bin, "python") };
  const { status, stdout } = spawnSync("/bin/bash", [session], { encoding: "utf8", env });
  const read = (name: string) => readFileSync(join(out, name), "utf8");
  return {
    status,
    stdout,
    library,
    files: readdirSync(out).sort(),
    log: read("session.log"),
    json: (name: string) => JSON.parse(read(name)),
  };
}

describe.skipIf(process.platform !== "linux")("a session", () => {
  test("leaves a log and a document of each program, fewer files than a lent machine gives back", () => {
    const { status, files, log, json, library, stdout } = run();
    expect(stdout).not.toContain("status 1");
    expect(status).toBe(0);
    expect(files).toEqual(["gpu-kernels.json", "gpu-peers.json", "gpu-probe.json", "report.json", "session.log"]);
    expect(files.length).toBeLessThanOrEqual(MOST_FILES);
    expect(log).toContain("== configure: status 0\nNinja\n");
    expect(log).toContain(`== tests: status 0\n${library}\n9 passed, 0 failed\n`);
    expect(json("gpu-probe.json")).toEqual(probed);
    expect(json("gpu-kernels.json")).toEqual(facts);
    expect(json("report.json").results[0]).toMatchObject({ timesEager: 4, shareOfCopy: 0.5 });
  });

  test("a program that is killed leaves what it measured until then", () => {
    const { status, json, stdout } = run({
      gpu_kernels: { output: lines(...facts), status: 137 },
      peers: { output: `${lines({ results: [peer] })}\n{"results": [{"case`, status: 1 },
    });
    expect(status).toBe(1);
    expect(stdout).toMatch(/^kernels +\d+ s {2}status 137$/m);
    expect(stdout).toMatch(/^peers +\d+ s {2}status 1$/m);
    expect(json("report.json").results[0]).toMatchObject({ timesEager: 4, shareOfCopy: 0.5 });
  });

  test("a program that does not compile costs no other its run", () => {
    const { status, files, log, stdout } = run({}, ["device_tests"]);
    expect(status).toBe(1);
    expect(stdout).toMatch(/^build-device_tests +\d+ s {2}status 1$/m);
    expect(stdout).toMatch(/^kernels +\d+ s {2}done$/m);
    expect(log).not.toContain("9 passed");
    expect(files).toContain("gpu-probe.json");
    expect(files).toContain("report.json");
  });

  test("a probe without cuBLASLt has a row of its own", () => {
    const { status, stdout } = run({ gpu_probe: { output: lines(probed[0]), status: 0 } });
    expect(status).toBe(1);
    expect(stdout).toMatch(/^cublasLt .*not seen by the probe$/m);
  });
});
