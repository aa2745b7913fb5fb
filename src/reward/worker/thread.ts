// A worker thread's side: piscina calls `grade` with a batch; results go to shared memory while it runs, faults come back at its end.
import { workerData } from "node:worker_threads";
import { Cells } from "../cells.js";
import type { Fault } from "../faults.js";
import type { Items } from "./grade-batch.js";
import type { WorkerSetup } from "./graders.js";
import { Session } from "./session.js";

export interface ThreadTask {
  readonly reward: number;
  readonly items: Items;
  readonly cells: SharedArrayBuffer;
}

export interface ThreadReply {
  /** Why the reward cannot be used, or null. */
  readonly unusable: Fault | null;
  readonly faults: readonly (readonly [item: number, fault: Fault])[];
}

let session: Session | null = null;

export async function grade({ reward, items, cells: buffer }: ThreadTask): Promise<ThreadReply> {
  session ??= new Session(workerData as WorkerSetup);
  const cells = new Cells(
    items.map((item) => item.length),
    buffer,
  );
  const faults: [number, Fault][] = [];
  const unusable = await session.grade(reward, items, {
    started: (item) => cells.start(item),
    finished: (item, rewards) => cells.finish(item, rewards),
    failed: (item, fault) => {
      faults.push([item, fault]);
      cells.fail(item);
    },
    beat: () => cells.beat(),
  });
  return { unusable, faults };
}
