// Preloaded into a process (node --import): as it ends, it writes the most memory of its own that it had, in bytes, to the file that
// ZAZEN_PEAK_MEMORY names. The kernel keeps the peak, so no moment is missed however busy the machine is; pages of files are taken off.
import { readFileSync, writeFileSync } from "node:fs";
import { isMainThread } from "node:worker_threads";

const { ZAZEN_PEAK_MEMORY: file } = process.env;
delete process.env.ZAZEN_PEAK_MEMORY; // processes that it starts inherit the preload

if (isMainThread && file !== undefined) {
  process.on("exit", () => {
    const status = readFileSync("/proc/self/status", "utf8");
    const bytes = (key) => 1024 * Number(new RegExp(`^${key}:\\s+(\\d+) kB$`, "m").exec(status)[1]);
    writeFileSync(file, String(bytes("VmHWM") - bytes("RssFile")));
  });
}
