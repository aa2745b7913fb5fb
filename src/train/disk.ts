// The writes of a run that have to survive a crash, one verb each, so that a test can end a run at every one of them. A failure is a
// typed error that names the place; nothing here removes what it was not asked to.
import {
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { dirname } from "node:path";
import { ZazenError } from "../errors.js";

export interface Disk {
  makeFolder(path: string): void;
  /** A new whole file. */
  write(path: string, content: string): void;
  /** A file's content, or a folder's list of names, is on the disk when this returns. */
  sync(path: string): void;
  /** `to` must not be a folder that holds anything. */
  rename(from: string, to: string): void;
  /** A file or a folder with all that it holds; none is fine. */
  remove(path: string): void;
  /** Cuts a file to so many bytes; makes it where there is none. */
  cut(path: string, bytes: number): void;
  /** `path` names `target` from now on; what it named before stays. */
  link(target: string, path: string): void;
}

/** The disk as it is. Throws ZazenError `DISK`. */
export const nodeDisk: Disk = {
  makeFolder: (path) => attempt(path, () => mkdirSync(path, { recursive: true })),
  write: (path, content) => attempt(path, () => writeFileSync(path, content)),
  sync: (path) => attempt(path, () => syncPath(path)),
  rename: (from, to) => attempt(to, () => renameSync(from, to)),
  remove: (path) => attempt(path, () => rmSync(path, { recursive: true, force: true })),
  cut: (path, bytes) => attempt(path, () => cutFile(path, bytes)),
  link: (target, path) =>
    attempt(path, () => {
      rmSync(`${path}.part`, { force: true });
      symlinkSync(target, `${path}.part`);
      renameSync(`${path}.part`, path);
    }),
};

/** A file that appears whole or not at all, and stays. */
export function writeWhole(disk: Disk, path: string, content: string): void {
  disk.write(`${path}.part`, content);
  disk.sync(`${path}.part`);
  disk.rename(`${path}.part`, path);
  disk.sync(dirname(path));
}

/** Runs `act`; what the system refuses is ZazenError `DISK` with what to do. */
export function attempt<T>(path: string, act: () => T): T {
  try {
    return act();
  } catch (error) {
    throw diskError(path, error);
  }
}

export function diskError(path: string, error: unknown): ZazenError {
  const { code, message } = error as NodeJS.ErrnoException;
  const advice = adviceFor(code, message);
  return new ZazenError("DISK", `[${path}] expected to write, got ${message}; ${advice}`, { cause: error });
}

function adviceFor(code: string | undefined, message: string): string {
  if (code === "ENOSPC" || code === "EDQUOT" || message.includes("No space left")) return "free some disk space";
  if (code === "EACCES" || code === "EPERM" || code === "EROFS") return "check the permissions of the folder";
  return "check the disk";
}

function syncPath(path: string): void {
  const file = openSync(path, "r");
  try {
    fsyncSync(file);
  } catch (error) {
    // Some file systems cannot sync a folder; there is no more to do on them.
    if (!["EINVAL", "ENOTSUP"].includes((error as NodeJS.ErrnoException).code ?? "")) throw error;
  } finally {
    closeSync(file);
  }
}

function cutFile(path: string, bytes: number): void {
  if (existsSync(path)) truncateSync(path, bytes);
  else closeSync(openSync(path, "wx"));
}
