// A worker process's side. Requests come as lines of JSON on descriptor 3; what becomes of each item goes out on descriptor 4, written
// synchronously, so that it has left the process before the module can end it. A thread of its own watches the line to the parent and ends
// the process group when the parent is gone, even while the module loops.
import { writeSync } from "node:fs";
import { Socket } from "node:net";
import { Worker } from "node:worker_threads";
import type { Fault } from "../faults.js";
import type { BatchPort, Items } from "./grade-batch.js";
import type { WorkerSetup } from "./graders.js";
import { LineCutter } from "./lines.js";
import { Session } from "./session.js";

export interface ProcessRequest {
  readonly reward: number;
  readonly items: Items;
}

/** One line from the process. */
export type ProcessMessage =
  | { readonly type: "started"; readonly item: number }
  | { readonly type: "finished"; readonly item: number; readonly rewards: readonly number[] }
  | { readonly type: "failed"; readonly item: number; readonly fault: Fault }
  | { readonly type: "beat" }
  | { readonly type: "end"; readonly unusable: Fault | null };

export const REQUESTS = 3;
export const MESSAGES = 4;
export const LIFELINE = 5;

const WATCHER = `
const { Socket } = require("node:net");
const end = () => process.kill(-process.pid, "SIGKILL");
new Socket({ fd: ${LIFELINE} }).on("close", end).on("error", end).resume();
`;

const send = (message: ProcessMessage): void => {
  writeSync(MESSAGES, `${JSON.stringify(message)}\n`);
};

const port: BatchPort = {
  started: (item) => send({ type: "started", item }),
  finished: (item, rewards) => send({ type: "finished", item, rewards }),
  failed: (item, fault) => send({ type: "failed", item, fault }),
  beat: () => send({ type: "beat" }),
};

/** Serves requests until the parent closes the line. The first line is the setup. */
export async function serve(): Promise<void> {
  new Worker(WATCHER, { eval: true }).unref();
  const cutter = new LineCutter();
  let session: Session | null = null;
  for await (const chunk of new Socket({ fd: REQUESTS }) as AsyncIterable<Buffer>) {
    for (const line of cutter.push(chunk)) {
      if (session === null) session = new Session(JSON.parse(line) as WorkerSetup);
      else await answer(session, JSON.parse(line) as ProcessRequest);
    }
  }
}

async function answer(session: Session, { reward, items }: ProcessRequest): Promise<void> {
  send({ type: "end", unusable: await session.grade(reward, items, port) });
}
