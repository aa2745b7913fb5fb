// Where workers begin. Plain JavaScript, since Node 20 starts no TypeScript: loads the compiled worker beside it, or its source where
// nothing was compiled.
import { existsSync } from "node:fs";
import { isMainThread } from "node:worker_threads";

async function load(name) {
  const compiled = new URL(`./${name}.js`, import.meta.url);
  if (existsSync(compiled)) return import(compiled.href);
  const { createJiti } = await import("jiti");
  return createJiti(import.meta.url).import(`./${name}.ts`);
}

export const grade = isMainThread ? null : (await load("thread")).grade;
if (isMainThread) await (await load("process")).serve();
