// What came back from an endpoint, read with as little trust as any file: a body of a bounded size, a chat completion with a text.
import { z } from "zod";
import { NoCompletion } from "./faults.js";
import type { Usage } from "./types.js";

/** Bytes of a body: far more than a completion has. */
const MOST_BYTES = 64 * 2 ** 20;

const tokens = z.number().int().min(0);
const completion = z.object({
  choices: z.array(
    z.object({ message: z.object({ content: z.string().nullish() }), finish_reason: z.string().nullish() }),
  ),
  usage: z.object({ prompt_tokens: tokens, completion_tokens: tokens }).nullish().catch(null),
});

export interface Completion {
  /** May be empty. */
  readonly text: string;
  readonly finish: string;
  readonly usage: Usage | null;
}

/** Throws NoCompletion for a body that is none. */
export function readCompletion(body: unknown): Completion {
  if (typeof body !== "object" || body === null) throw new NoCompletion(`no JSON object: ${JSON.stringify(body)}`);
  const parsed = completion.safeParse(body);
  if (!parsed.success) throw new NoCompletion(`no chat completion: ${JSON.stringify(body)}`);
  const { choices, usage } = parsed.data;
  const [first] = choices;
  if (first === undefined) throw new NoCompletion("a chat completion without choices");
  return {
    text: first.message.content ?? "",
    finish: first.finish_reason ?? "unknown",
    usage: usage ? { promptTokens: usage.prompt_tokens, completionTokens: usage.completion_tokens } : null,
  };
}

/** fetch with the whole body read, so that a deadline holds for it too, and no body fills the memory. */
export async function fetchWhole(url: string | URL | Request, init?: RequestInit): Promise<Response> {
  const response = await fetch(url, init);
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of (response.body ?? []) as AsyncIterable<Uint8Array>) {
    bytes += chunk.length;
    if (bytes > MOST_BYTES) throw new NoCompletion(`more than ${MOST_BYTES} bytes`);
    chunks.push(chunk);
  }
  const { status, statusText, headers } = response;
  return new Response(status === 204 ? null : Buffer.concat(chunks), { status, statusText, headers });
}
