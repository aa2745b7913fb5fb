// @ts-check
// A process that runs one ONNX file: a graph may come from a stranger, and a fault in native code ends the process that it is in. It loads
// onnxruntime-node, which nothing else does, answers calls one after another, and ends with its parent, even in the middle of a call.
import { pathToFileURL } from "node:url";
import { Worker } from "node:worker_threads";

/**
 * @typedef {{ name: string, type: "int64" | "int32", data: Int32Array }} Feed
 * @typedef {{ call: number, open?: { runtime: string, file: string, threads: number }, run?: { feeds: Feed[], dims: number[], output: string } }} Request
 * @typedef {{ name: string, isTensor: boolean, type?: string, shape?: readonly (number | string)[] }} Metadata
 */

const ERRORS_ONLY = 3; // severities of onnxruntime's log
const ORPHAN_LOOK_MS = 1000;
const WATCHER = `
const parent = ${process.ppid};
setInterval(() => process.ppid === parent || process.kill(process.pid, "SIGKILL"), ${ORPHAN_LOOK_MS});
`;

/** @type {typeof import("onnxruntime-node") | undefined} */
let ort;
/** @type {import("onnxruntime-node").InferenceSession | undefined} */
let session;

/** @param {NonNullable<Request["open"]>} request */
async function open({ runtime, file, threads }) {
  const loaded = await at("runtime", () => import(pathToFileURL(runtime).href));
  ort = /** @type {typeof import("onnxruntime-node")} */ (loaded.default ?? loaded);
  const options = {
    executionProviders: ["cpu"],
    graphOptimizationLevel: "all",
    logSeverityLevel: ERRORS_ONLY,
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
  };
  session = await at("file", () => /** @type {any} */ (ort).InferenceSession.create(file, options));
  const { inputMetadata, outputMetadata } = /** @type {any} */ (session);
  return { inputs: inputMetadata.map(infoOf), outputs: outputMetadata.map(infoOf) };
}

/** @param {Metadata} metadata */
const infoOf = ({ name, isTensor, type, shape }) =>
  isTensor ? { name, type: String(type), shape: [...(shape ?? [])] } : { name, type: "no tensor", shape: [] };

/** @param {NonNullable<Request["run"]>} request */
async function run({ feeds, dims, output }) {
  if (ort === undefined || session === undefined) throw new Error("no session");
  const { Tensor } = ort;
  const tensors = feeds.map(({ name, type, data }) => {
    const values = type === "int64" ? BigInt64Array.from(data, BigInt) : data;
    return [name, new Tensor(type, /** @type {any} */ (values), dims)];
  });
  const inference = session;
  const results = await at("run", () => inference.run(Object.fromEntries(tensors), [output]));
  const tensor = /** @type {import("onnxruntime-node").Tensor} */ (results[output]);
  const data = /** @type {any} */ (tensor.data);
  const scores = data instanceof Uint16Array ? Float64Array.from(data, halfValue) : Float64Array.from(data);
  return { dims: [...tensor.dims], scores };
}

/** The number of a half, IEEE 754 binary16. @param {number} bits */
function halfValue(bits) {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0x1f) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/** Says where an error was. @template T @param {"runtime" | "file" | "run"} stage @param {() => Promise<T>} work */
async function at(stage, work) {
  try {
    return await work();
  } catch (error) {
    throw Object.assign(new Error(String(/** @type {any} */ (error)?.message || error)), { stage });
  }
}

process.on("SIGINT", () => {}); // of a terminal, meant for the caller
process.on("disconnect", () => process.exit());
new Worker(WATCHER, { eval: true }).unref();

let line = Promise.resolve();
process.on("message", (/** @type {Request} */ request) => {
  line = line.then(() => answer(request));
});

/** @param {Request} request */
async function answer({ call, ...request }) {
  try {
    const value = request.open ? await open(request.open) : await run(/** @type {any} */ (request.run));
    process.send?.({ call, value });
  } catch (error) {
    const { message, stage = "run" } = /** @type {any} */ (error);
    process.send?.({ call, error: String(message), stage });
  }
}
