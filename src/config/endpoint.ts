// The settings of an OpenAI-compatible endpoint: where it is, whose key it takes, how hard it is pressed, what it costs. A key is never a
// setting: the name of the variable of the environment that holds it is. What the settings do is in the folder endpoint.
import { z } from "zod";
import { group, onResume } from "./fragments.js";

/** Node's fetch waits no longer than this for the first byte. */
export const MOST_DEADLINE_SECONDS = 300;
const NAME = /^[A-Z_][A-Z0-9_]*$/;

const perMillion = (what: string) =>
  z.number().min(0).max(1e6).default(0).describe(`Price of a million ${what} tokens, in any currency.`);

export function endpointPart() {
  return group({
    baseURL: z
      .string()
      .refine((text) => text === "" || isPlainURL(text), "an http or https URL without user, password or query")
      .default("")
      .describe("URL of an OpenAI-compatible endpoint, such as http://localhost:8000/v1.")
      .meta(onResume("free")),
    model: z.string().max(1000).default("").describe("Name of the model there."),
    apiKeyEnv: z
      .string()
      .refine((text) => text === "" || NAME.test(text), "the name of a variable in capitals, never a key")
      .default("")
      .describe("Name of the environment variable that holds the key; empty sends none.")
      .meta({ ...onResume("free"), secret: true }),
    concurrency: z.int().min(1).max(1024).default(8).describe("Requests at once.").meta(onResume("free")),
    deadlineSeconds: z
      .number()
      .min(0.01)
      .max(MOST_DEADLINE_SECONDS)
      .default(MOST_DEADLINE_SECONDS)
      .describe("Longest time for one request, its whole answer included; Node's fetch allows no more.")
      .meta(onResume("free")),
    retries: z
      .int()
      .min(0)
      .max(100)
      .default(8)
      .describe("Times a request that failed is sent again; 3 at most where nobody listens.")
      .meta(onResume("free")),
    backoffSeconds: z
      .number()
      .min(0.001)
      .max(60)
      .default(0.5)
      .describe("Wait before the first retry; doubled for each further one, drawn from its upper half by seed.")
      .meta(onResume("free")),
    retrySeconds: z
      .number()
      .min(0)
      .max(86_400)
      .default(600)
      .describe("Longest time from a request's first failure to its last try.")
      .meta(onResume("free")),
    price: group({ input: perMillion("prompt"), output: perMillion("completion") }).meta(onResume("free")),
    extra: z
      .record(z.string(), z.json())
      .default({})
      .describe("Further fields of each request: {reasoning_effort: low, max_completion_tokens: 4096}."),
    omit: z
      .array(z.string().min(1))
      .default([])
      .describe("Fields that the endpoint does not take, such as temperature, top_p or max_tokens."),
  });
}

export type EndpointSettings = z.output<ReturnType<typeof endpointPart>>;

/** As they are given: what is left out has its default. */
export type EndpointInput = NonNullable<z.input<ReturnType<typeof endpointPart>>>;

function isPlainURL(text: string): boolean {
  if (!URL.canParse(text)) return false;
  const { protocol, username, password, search, hash } = new URL(text);
  return /^https?:$/.test(protocol) && [username, password, search, hash].every((part) => part === "");
}
