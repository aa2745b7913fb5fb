// What an endpoint is asked, what it answers, what that took. Plain data.
import type { Message } from "../prompt/chat.js";

export interface ChatRequest {
  readonly messages: readonly Message[];
  readonly temperature?: number;
  readonly topP?: number;
  /** New tokens at most. */
  readonly maxTokens?: number;
  /** Texts that end the answer. */
  readonly stop?: readonly string[];
}

/** Tokens of one answer, as the endpoint counts them. */
export interface Usage {
  readonly promptTokens: number;
  readonly completionTokens: number;
}

export interface ChatAnswer {
  /** Not empty. */
  readonly text: string;
  /** "stop", "length", or what else the endpoint calls it. */
  readonly finish: string;
  /** Null where the endpoint does not say. */
  readonly usage: Usage | null;
  /** Times the request was sent. */
  readonly attempts: number;
}

export interface ChatOptions {
  /** Ends the call at once. */
  readonly signal?: AbortSignal;
  /** From then on no further request is sent, and no wait is waited out; one that is under way is finished. */
  readonly stop?: AbortSignal;
  /** Keys the waits between retries; default: the number of the call. */
  readonly key?: number;
}

/** Who answers: an endpoint, or what stands in for one. */
export interface ChatSource {
  chat(request: ChatRequest, options?: ChatOptions): Promise<ChatAnswer>;
}
