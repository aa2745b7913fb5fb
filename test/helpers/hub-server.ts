// A local server that plays the Hugging Face hub for data sets: the calls that are made, and faults to plant.
import { createHash } from "node:crypto";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

export interface HubFaults {
  /** Answers with this status to paths that contain the text. */
  status?: { readonly on: string; readonly code: number };
  /** Never answers to paths that contain the text. */
  silent?: string;
  /** Breaks the connection once so many bytes of a file have been received; each number once. */
  breakAfter?: number[];
  /** Stops sending after so many bytes of a file, without an end; each number once. */
  stallAfter?: number[];
  /** Ignores Range. */
  noRange?: boolean;
  /** What is sent for a file, in its place. */
  content?: (bytes: Buffer) => Buffer;
  /** A path to list beside the files. */
  extraPath?: string;
}

export interface HubServer extends AsyncDisposable {
  readonly url: string;
  /** "GET /path range authorization" of every request. */
  readonly requests: string[];
  /** Bytes of the file in hand that the caller has got, told by the test. */
  received: number;
  faults: HubFaults;
  /** Where main leads to once it has moved: other data sets, at the commit LATER. */
  moved?: DataSets;
}

/** Name -> path -> content. */
type DataSets = Readonly<Record<string, Readonly<Record<string, string>>>>;
type Hub = Pick<HubServer, "requests" | "received" | "faults" | "moved">;

export const COMMIT = "0123456789abcdef0123456789abcdef01234567";
export const LATER = "89abcdef0123456789abcdef0123456789abcdef";
const LARGE = 1000; // bytes; such files are stored as LFS, known by their SHA-256

const sha256 = (bytes: Buffer) => createHash("sha256").update(bytes).digest("hex");
const gitHash = (bytes: Buffer) => createHash("sha1").update(`blob ${bytes.length}\0`).update(bytes).digest("hex");

/** Serves data sets, at COMMIT. `token` is needed where given. */
export async function serveHub(sets: DataSets, token?: string): Promise<HubServer> {
  const hub: Hub = { requests: [], received: 0, faults: {} };
  const server = createServer((request, response) => answer(request, response, sets, token, hub));
  await new Promise<void>((ready) => server.listen(0, "127.0.0.1", ready));
  return Object.assign(hub, {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    [Symbol.asyncDispose]: () => {
      server.closeAllConnections();
      return new Promise<void>((closed) => server.close(() => closed()));
    },
  });
}

function answer(
  request: IncomingMessage,
  response: ServerResponse,
  sets: DataSets,
  token: string | undefined,
  hub: Hub,
): unknown {
  const { requests, faults } = hub;
  const path = decodeURIComponent(request.url!.split("?")[0]!);
  const { range, authorization } = request.headers;
  requests.push([request.method, path, range, authorization].filter((part) => part !== undefined).join(" "));
  const end = (code: number, body: unknown) =>
    response.writeHead(code, { "content-type": "application/json" }).end(JSON.stringify(body));
  if (faults.silent !== undefined && path.includes(faults.silent)) return null;
  if (faults.status !== undefined && path.includes(faults.status.on))
    return end(faults.status.code, { error: "planted" });
  if (token !== undefined && authorization !== `Bearer ${token}`) return end(401, { error: "Invalid credentials" });
  const api = /^\/api\/datasets\/([^/]+\/[^/]+)\/(revision|tree)\/(.+)$/.exec(path);
  const file = /^\/datasets\/([^/]+\/[^/]+)\/resolve\/([^/]+)\/(.+)$/.exec(path);
  const head = hub.moved === undefined ? COMMIT : LATER;
  const wanted = (api?.[2] === "revision" ? head : (api?.[3] ?? file?.[2])) ?? "";
  const set = { [COMMIT]: sets, [LATER]: hub.moved }[wanted]?.[(api ?? file)?.[1] ?? ""];
  if (set === undefined) return end(404, { error: "Repository not found" });
  if (api?.[2] === "revision") {
    return api[3] === "main" || api[3] === "v1"
      ? end(200, { id: api[1], sha: head })
      : end(404, { error: "Invalid rev id" });
  }
  if (api?.[2] === "tree") return end(200, tree(set, faults));
  const content = set[file![3]!];
  if (content === undefined) return end(404, { error: "Entry not found" });
  return send(Buffer.from(content), range, response, hub);
}

function tree(set: Readonly<Record<string, string>>, { extraPath }: HubFaults): unknown[] {
  const entries = Object.entries(set).map(([path, text]) => {
    const bytes = Buffer.from(text);
    const lfs = bytes.length >= LARGE ? { lfs: { oid: sha256(bytes), size: bytes.length, pointerSize: 130 } } : {};
    return { type: "file", path, size: bytes.length, oid: gitHash(bytes), ...lfs };
  });
  const extra =
    extraPath === undefined ? [] : [{ type: "file", path: extraPath, size: 1, oid: gitHash(Buffer.from("x")) }];
  return [{ type: "directory", path: "data", oid: COMMIT, size: 0 }, ...entries, ...extra];
}

function send(whole: Buffer, range: string | undefined, response: ServerResponse, hub: Hub): void {
  const { faults } = hub;
  const bytes = faults.content?.(whole) ?? whole;
  const from = range === undefined || faults.noRange ? 0 : Number(/^bytes=(\d+)-$/.exec(range)![1]);
  const rest = bytes.subarray(from);
  const resumed = range !== undefined && !faults.noRange;
  response.writeHead(resumed ? 206 : 200, {
    "content-length": rest.length,
    ...(resumed ? { "content-range": `bytes ${from}-${bytes.length - 1}/${bytes.length}` } : {}),
  });
  const broken = faults.breakAfter?.shift();
  const stalled = faults.stallAfter?.shift();
  if (broken !== undefined) response.write(rest.subarray(0, broken), () => breakOnce(hub, from + broken, response));
  else if (stalled !== undefined) response.write(rest.subarray(0, stalled));
  else response.end(rest);
}

/** What a connection holds when it breaks is lost, so it breaks when all that was sent has come. */
function breakOnce(hub: Hub, received: number, response: ServerResponse): void {
  if (hub.received >= received) response.destroy();
  else setTimeout(breakOnce, 1, hub, received, response);
}
