// The task `problems` of recipe `rlvr`: rows of data, asked as text or by chat template, graded by the rewards of the settings.
import { Mixture } from "../data/mixture.js";
import { type LoadedSource, loadRecords } from "../data/records.js";
import type { SourceOptions } from "../data/source.js";
import type { EngineSource } from "../engine/like.js";
import { InputError } from "../errors.js";
import { beforeStop } from "../prompt/stop-strings.js";
import { NULL_ANSWER, splitThinking, THINKING_FORMATS, type ThinkingFormat } from "../prompt/thinking.js";
import { Tokenizer } from "../prompt/tokenizer.js";
import { failureText } from "../reward/combine.js";
import type { RewardInput } from "../reward/input.js";
import { isModel, isModule } from "../reward/kinds.js";
import { RewardPool } from "../reward/pool.js";
import { type RewardSpec, rewardList } from "../reward/spec.js";
import { recordCheck } from "../reward/verifiers.js";
import type { Sample } from "../rollout/types.js";
import { copyTokenizer } from "../train/run-folder.js";
import { type AskedProblem, type AskedRow, askRow, askSources, promptsUsed } from "./asked.js";
import { isCountdown, type ProblemRecord, refuseLeak } from "./problems.js";
import type { RlvrTask, TaskConfig } from "./rlvr-task.js";
import { tokenCounter, UNCOUNTED } from "./token-counter.js";
import { standIn } from "./words.js";

/**
 * Problems from data. `warn` is told of problems that are left out, and of rewards that fail in evaluation. Throws InputError where the
 * data, the rewards, the tokenizer or the template do not fit.
 */
export async function problemsVerified(
  config: TaskConfig,
  warn: (text: string) => void,
  engines?: EngineSource,
  reading: SourceOptions = {},
): Promise<RlvrTask<AskedProblem>> {
  if (config.data === "") {
    throw new InputError("RECIPE_VALUE", "[recipe rlvr] data: expected rows of problems, got nothing; set data");
  }
  const reader = new RowReader(config);
  const train = await loadRecords(config.data, reader.read, reading);
  const held = config.evaluation.data === "" ? [] : await loadRecords(config.evaluation.data, reader.read, reading);
  const { rewards } = reader;
  refuseLeak(
    config.question,
    rewards.flatMap((spec) => ("field" in spec ? [spec.field] : [])),
  );
  const judge = judgeOf(rewards);
  if (judge === null && held.length > 0) throw noJudge();
  const pool = await RewardPool.create(rewards, {
    ...(config.rewardWorkers > 0 && { workers: config.rewardWorkers }),
    ...(config.threads > 0 && { threads: config.threads }),
    ...(engines && { engines }),
  });
  try {
    const tokenizer = await Tokenizer.load(config.tokenizer);
    const asking = { ...config, format: THINKING_FORMATS[config.format], tooLong: "drop" } as const;
    const problems = await askSources(train, asking, tokenizer, warn);
    const asked = (await askSources(held, asking, tokenizer, warn)).flatMap(({ records }) => records);
    const all = [...problems.flatMap(({ records }) => records), ...asked];
    const heldOut = asked.slice(0, config.evaluation.problems);
    return {
      longestPrompt: all.reduce((most, { prompt }) => Math.max(most, prompt.length), 0),
      ...taskOf(config, pool, judge === null ? null : pool.names[judge]!, tokenizer, problems, warn),
      heldOut,
      watched: heldOut,
      sources: [...train, ...held].map(({ report }) => report),
      prompts: promptsUsed(problems),
    };
  } catch (error) {
    await pool.dispose();
    throw error;
  }
}

function taskOf(
  config: TaskConfig,
  pool: RewardPool,
  judge: string | null,
  tokenizer: Tokenizer,
  problems: readonly LoadedSource<AskedProblem>[],
  warn: (text: string) => void,
): Omit<RlvrTask<AskedProblem>, "heldOut" | "watched" | "sources" | "prompts" | "longestPrompt"> {
  const source = new Mixture(problems, { seed: config.seed, exhausted: config.mixture.exhausted });
  const format = THINKING_FORMATS[config.format];
  const inputOf = inputReader(tokenizer, format);
  const tokensOf = tokenCounter(tokenizer, format, "first", warn);
  const { maxErrorShare } = config.grpo;
  return {
    problems: (_, count) => source.next(count),
    source,
    promptOf: (problem) => problem.prompt,
    eosId: tokenizer.eosId,
    vocabulary: () => tokenizer.tokenBytes(),
    reward: {
      score: (asked, samples, options) =>
        pool.score(
          asked.map((problem, p) => samples[p]!.map((sample) => inputOf(problem, sample))),
          options,
        ),
    },
    describe: (problem, sample) => {
      const { prompt, thinking, answer, completion } = inputOf(problem, sample);
      return answer === null ? { prompt, thinking: null, answer: completion } : { prompt, thinking, answer };
    },
    read: (problem, sample) => {
      const { thinking, answer } = inputOf(problem, sample);
      const malformed = answer === null;
      return { thinking, answer: answer ?? NULL_ANSWER, malformed, ...(malformed ? UNCOUNTED : tokensOf(sample)) };
    },
    messagesOf: (problem) => problem.asked,
    metrics: () => ({}),
    areCorrect: async (asked, samples) => {
      const inputs = samples.map((sample, p) => [inputOf(asked[p]!, sample)]);
      const { parts, failures } = await pool.score(inputs, { maxErrorShare, only: judge === null ? [] : [judge] });
      if (failures.length > 0) {
        warn(
          `evaluation: ${failures.length} rewards failed and count as wrong; the first, ${failureText(failures[0]!)}`,
        );
      }
      return parts[0]!.rewards.map(([reward]) => reward! >= 1);
    },
    tokenizer: copyTokenizer(config.tokenizer),
    memory: pool.memory,
    question: standIn(format),
    [Symbol.asyncDispose]: async () => {
      tokenizer[Symbol.dispose]();
      await pool.dispose();
    },
  };
}

/** The reward that says whether an answer is right: the first that is not about its form; null of reward models, whose scores do not say it. */
function judgeOf(rewards: readonly RewardSpec[]): number | null {
  const first = rewards.findIndex((spec) => !isModel(spec) && (isModule(spec) || spec.kind !== "format"));
  const any = first >= 0 ? first : rewards.findIndex((spec) => !isModel(spec));
  return any >= 0 ? any : null;
}

function noJudge(): InputError {
  const message =
    "[recipe rlvr] evaluation.data: expected none with reward models alone, whose scores say no answer right";
  return new InputError("RECIPE_VALUE", `${message}; add a verifier or a module to rewards, with weight 0 if need be`);
}

/** Samples as rewards see them, without the end token or the stop string that ended them; each is decoded once. */
function inputReader(tokenizer: Tokenizer, format: ThinkingFormat) {
  const inputs = new WeakMap<Sample, RewardInput>();
  const read = ({ promptText, asked, record }: AskedProblem, sample: Sample): RewardInput => {
    const { completion, finish, stopString = null, stopToken = null } = sample;
    const written = stopToken === null ? completion : completion.subarray(0, -1);
    const text = beforeStop(tokenizer.decode(written), stopString);
    const { thinking, answer, wellFormed } = splitThinking(text, format, { mark: "first" });
    const tokens = completion.length;
    return {
      prompt: promptText,
      messages: asked,
      completion: text,
      thinking,
      answer: wellFormed ? answer : null,
      record,
      tokens,
      finish,
    };
  };
  return (problem: AskedProblem, sample: Sample): RewardInput => {
    const input = inputs.get(sample) ?? read(problem, sample);
    inputs.set(sample, input);
    return input;
  };
}

/** Reads rows; the first one says what is graded where no rewards are set. */
class RowReader {
  readonly #question: string;
  #rewards: readonly RewardSpec[];
  #check: ((record: ProblemRecord) => void) | null;

  constructor({ question, rewards }: TaskConfig) {
    this.#question = question;
    this.#rewards = rewards;
    this.#check = rewards.length > 0 ? recordCheck(rewards) : null;
  }

  /** Known once a row was read. */
  get rewards(): readonly RewardSpec[] {
    return this.#rewards;
  }

  /** Throws an Error for a row that cannot be asked or graded. */
  readonly read = (value: unknown): AskedRow => {
    const row = askRow(value, this.#question);
    this.#check ??= this.#begin(row.record);
    this.#check(row.record);
    return row;
  };

  #begin(first: ProblemRecord): (record: ProblemRecord) => void {
    this.#rewards = rewardList().parse([{ kind: isCountdown(first) ? "countdown" : "maths" }]);
    return recordCheck(this.#rewards);
  }
}
