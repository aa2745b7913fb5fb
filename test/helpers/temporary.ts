// Temporary folders that are gone when the tests of the file that asked for them are over, passed or failed.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll } from "vitest";

const made: string[] = [];

afterAll(() => {
  for (const folder of made.splice(0)) rmSync(folder, { recursive: true, force: true });
});

/** A new folder; `name` says whose it is, should it ever be left behind. */
export function temporaryFolder(name: string): string {
  const folder = mkdtempSync(join(tmpdir(), `zazen-${name}-`));
  made.push(folder);
  return folder;
}
