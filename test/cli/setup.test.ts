// The setup script as a process, in a made-up clone whose tools are small shell scripts that write down how they were called.
import { spawnSync } from "node:child_process";
import { chmodSync, cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, test } from "vitest";

const script = fileURLToPath(new URL("../../src/cli/setup.mjs", import.meta.url));
let clone = "";

beforeEach(() => {
  clone = mkdtempSync(join(tmpdir(), "zazen-clone-"));
  cpSync(script, join(clone, "src", "cli", "setup.mjs"));
  for (const file of [
    "package.json",
    "package-lock.json",
    "tsconfig.json",
    "tsconfig.build.json",
    "native/a.cc",
    "src/a.ts",
  ]) {
    put(file, file);
  }
});
afterEach(() => rmSync(clone, { recursive: true }));

function put(file: string, text: string): void {
  const path = join(clone, file);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, text);
}

/** A tool on the made-up PATH. */
function tool(name: string, body: string): void {
  put(`bin/${name}`, `#!/bin/sh\n${body}\n`);
  chmodSync(join(clone, "bin", name), 0o755);
}

const fakeNpm = `echo "$@" >> "${"$"}ZAZEN_LOG"
case "$*" in
  ci*) /bin/mkdir -p node_modules;;
  *build:native) /bin/mkdir -p build/Release; echo addon > build/Release/zazen.node;;
  *build:ts) /bin/mkdir -p dist/cli; echo main > dist/cli/main.js;;
esac`;

function allTools(): void {
  tool("npm", fakeNpm);
  tool("c++", "exit 0");
  tool("cmake", "echo cmake version 3.25.1");
  tool("make", "echo GNU Make 4.3");
}

function setup() {
  const log = join(clone, "log");
  rmSync(log, { force: true });
  const env = { PATH: join(clone, "bin"), TMPDIR: tmpdir(), ZAZEN_LOG: log };
  const run = spawnSync(process.execPath, [join(clone, "src/cli/setup.mjs")], { env, encoding: "utf8" });
  return { ...run, calls: existsSync(log) ? readFileSync(log, "utf8").trim().split("\n") : [] };
}

describe("what is missing", { timeout: 30_000 }, () => {
  test("the first lines name all of it and how to install it, and nothing is run", () => {
    tool("npm", fakeNpm);
    const { status, stderr, stdout, calls } = setup();
    const lines = stderr.split("\n");
    expect(status).toBe(2);
    expect(lines[0]).toBe("Missing: a C++20 compiler (c++, g++ or clang++); CMake >= 3.15; make or ninja.");
    expect(lines[2]).toMatch(/^ {2}Debian, Ubuntu: .*apt-get install -y g\+\+ cmake make$/);
    expect(lines[3]).toMatch(/Fedora: .*dnf install -y gcc-c\+\+ cmake make$/);
    expect(lines[4]).toMatch(/Arch: .*pacman -S --needed gcc cmake make$/);
    expect(lines[5]).toMatch(/macOS: .*xcode-select --install; brew install cmake$/);
    expect([stdout, calls]).toEqual(["", []]);
  });

  test("a compiler that cannot do C++20 and a CMake that is too old count as missing", () => {
    allTools();
    tool("c++", "exit 1");
    tool("cmake", "echo cmake version 3.13.4");
    const { status, stderr } = setup();
    expect(status).toBe(2);
    expect(stderr.split("\n")[0]).toBe("Missing: a C++20 compiler (c++, g++ or clang++); CMake >= 3.15.");
  });

  test("ninja will do instead of make", () => {
    allTools();
    rmSync(join(clone, "bin", "make"));
    tool("ninja", "echo 1.11");
    expect(setup().status).toBe(0);
  });
});

describe("the stages", { timeout: 30_000 }, () => {
  const all = ["ci --include=dev --no-audit --no-fund", "run build:native", "run build:ts"];

  test("run once, one line each, and not again while nothing changes", () => {
    allTools();
    const first = setup();
    expect(first.stderr.trim().split("\n")).toEqual([
      expect.stringMatching(/^packages +\d+\.\d s$/),
      expect.stringMatching(/^native addon +\d+\.\d s$/),
      expect.stringMatching(/^TypeScript +\d+\.\d s$/),
    ]);
    expect([first.status, first.stdout, first.calls]).toEqual([0, "", all]);
    const second = setup();
    expect([second.status, second.stderr, second.calls]).toEqual([0, "", []]);
  });

  test.each([
    ["src/a.ts", [2]],
    ["src/new/b.ts", [2]],
    ["native/a.cc", [1]],
    ["package-lock.json", [0, 1, 2]],
    ["dist/cli/main.js", [2]],
  ])("a change of %s runs only what depends on it", (file, due) => {
    allTools();
    setup();
    put(file, "changed, and longer");
    expect(setup().calls).toEqual(due.map((index) => all[index]));
  });

  test("a missing output is built again", () => {
    allTools();
    setup();
    rmSync(join(clone, "build", "Release"), { recursive: true });
    expect(setup().calls).toEqual(["run build:native"]);
  });

  test("packages that someone else installed are taken as they are", () => {
    allTools();
    put("node_modules/.package-lock.json", "{}");
    expect(setup().calls).toEqual(all.slice(1));
  });

  test("a failure shows the whole log, ends with 1, and is tried again", () => {
    allTools();
    tool("npm", 'echo compiling; echo "a.cc:3: an error" >&2; exit 1');
    const { status, stderr } = setup();
    expect(status).toBe(1);
    expect(stderr).toMatch(/^packages +failed after/);
    expect(stderr).toContain("$ npm ci");
    expect(stderr).toContain("compiling\na.cc:3: an error");
    allTools();
    expect(setup().calls).toEqual(all);
  });

  test("a build that ends well without its output has failed", () => {
    allTools();
    tool("npm", `case "$*" in *build:native) exit 0;; esac\n${fakeNpm}`);
    expect(setup().status).toBe(1);
  });
});
