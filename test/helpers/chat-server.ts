// An endpoint of chat completions on this machine, which answers as a test says: well, late, not at all, or with what is no completion.
import { createServer, type IncomingHttpHeaders, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { setTimeout as wait } from "node:timers/promises";
import type { EndpointInput } from "../../src/config/endpoint.js";
import type { Message } from "../../src/prompt/chat.js";

export interface Asked {
  readonly headers: IncomingHttpHeaders;
  readonly body: { readonly model: string; readonly messages: readonly Message[] } & Readonly<Record<string, unknown>>;
  /** Counts from 1. */
  readonly n: number;
}

export interface Reply {
  /** Default 200. */
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string>>;
  /** Default: application/json. */
  readonly type?: string;
  /** An object goes as JSON, a text as it is. */
  readonly body?: unknown;
  /** Before the answer. */
  readonly delayMs?: number;
  /** The connection is cut: before the headers, or after half of the body. */
  readonly cut?: "at once" | "in the body";
  /** The headers and half of the body come, the rest never. */
  readonly stall?: boolean;
}

export interface ChatServer extends AsyncDisposable {
  readonly url: string;
  readonly asked: Asked[];
  /** Most requests that were under way at once. */
  readonly most: number;
}

/** A completion with a text. */
export function completion(text: string | null, usage: readonly [number, number] | null = [10, 5], finish = "stop") {
  return {
    id: "c",
    object: "chat.completion",
    choices: [{ index: 0, finish_reason: finish, message: { role: "assistant", content: text } }],
    ...(usage && {
      usage: { prompt_tokens: usage[0], completion_tokens: usage[1], total_tokens: usage[0] + usage[1] },
    }),
  };
}

export async function chatServer(answer: (asked: Asked) => Reply | Promise<Reply>): Promise<ChatServer> {
  const asked: Asked[] = [];
  const counts = { now: 0, most: 0 };
  const server = createServer(async (request, response) => {
    counts.most = Math.max(counts.most, ++counts.now);
    response.on("close", () => counts.now--);
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const one = { headers: request.headers, body: JSON.parse(Buffer.concat(chunks).toString()), n: asked.length + 1 };
    asked.push(one);
    if (request.url !== "/v1/chat/completions") return void response.writeHead(404).end();
    await send(response, await answer(one));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`,
    asked,
    get most() {
      return counts.most;
    },
    [Symbol.asyncDispose]: () => close(server),
  };
}

async function send(response: ServerResponse, reply: Reply): Promise<void> {
  const { status = 200, headers = {}, type = "application/json", body = "", delayMs = 0, cut, stall } = reply;
  if (delayMs > 0) await wait(delayMs);
  if (cut === "at once") return void response.destroy();
  const text = typeof body === "string" ? body : JSON.stringify(body);
  response.writeHead(status, { "content-type": type, ...headers });
  if (cut === undefined && stall !== true) return void response.end(text);
  response.write(text.slice(0, text.length / 2));
  if (cut !== undefined) setTimeout(() => response.destroy(), 20);
}

function close(server: Server): Promise<void> {
  server.closeAllConnections();
  return new Promise((resolve) => server.close(() => resolve()));
}

/** Settings of an endpoint there, quick to try again. */
export function settingsOf(url: string, own: EndpointInput = {}): EndpointInput {
  return { baseURL: url, model: "teacher", backoffSeconds: 0.001, retries: 3, ...own };
}
