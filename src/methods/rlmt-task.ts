// The task of recipe `rlmt`: prompts from data, the split of completions into thought and answer, and rewards that see x and y.
import type { DataSettings } from "../config/data.js";
import { Mixture } from "../data/mixture.js";
import { type LoadedSource, loadRecords } from "../data/records.js";
import type { SourceOptions, SourceReport } from "../data/source.js";
import type { EngineSource } from "../engine/like.js";
import type { OtherMemory } from "../engine/memory.js";
import type { TokenBytes } from "../engine/types.js";
import { InputError } from "../errors.js";
import { beforeStop } from "../prompt/stop-strings.js";
import { answerOf, type ThinkingFormat } from "../prompt/thinking.js";
import { Tokenizer } from "../prompt/tokenizer.js";
import { failureText, type RewardFailure } from "../reward/combine.js";
import type { RewardInput } from "../reward/input.js";
import { RewardPool } from "../reward/pool.js";
import type { RewardSpec } from "../reward/spec.js";
import { recordCheck } from "../reward/verifiers.js";
import type { Sample } from "../rollout/types.js";
import type { TokenizerWriter } from "../train/checkpoint.js";
import type { PolicyTask } from "../train/reinforce.js";
import { copyTokenizer } from "../train/run-folder.js";
import type { ReadSample } from "../train/watch.js";
import { type AskedProblem, type Asking, askRow, askSources, type PromptsUsed, promptsUsed } from "./asked.js";
import { endOfTurnIds } from "./format-settings.js";
import { holdOut } from "./hold-out.js";
import { tokenCounter, UNCOUNTED } from "./token-counter.js";

/** What the task is made of. */
export interface RlmtTaskConfig extends Asking {
  readonly seed: number;
  readonly data: DataSettings;
  readonly mixture: { readonly exhausted: "repeat" | "leave" };
  readonly question: string;
  readonly rewards: readonly RewardSpec[];
  readonly rewardWorkers: number;
  readonly threads: number;
  readonly maxErrorShare: number;
  readonly evaluation: { readonly problems: number; readonly data: DataSettings };
}

/** A held-out sample as it was judged. */
export interface Judged {
  readonly problem: AskedProblem;
  readonly sample: Sample;
  readonly read: ReadSample;
  /** NaN where it could not be graded. */
  readonly reward: number;
}

export interface RlmtTask extends PolicyTask<AskedProblem>, AsyncDisposable {
  readonly heldOut: readonly AskedProblem[];
  /** Judges one sample of each problem as evaluation does, at the last mark. */
  judge(problems: readonly AskedProblem[], samples: readonly Sample[]): Promise<readonly Judged[]>;
  /** Tokens that end the assistant's turn in the policy's vocabulary. */
  readonly endIds: readonly number[];
  /** Tokens of the longest prompt. */
  readonly longestPrompt: number;
  /** What tokens write, for stop strings and constraints. */
  vocabulary(): TokenBytes;
  readonly tokenizer: TokenizerWriter;
  /** What its rewards take. */
  readonly memory: readonly OtherMemory[];
  /** Which prompts are trained on. */
  readonly prompts: PromptsUsed;
  /** What became of the rows of each source. */
  readonly sources: readonly SourceReport[];
}

/**
 * `warn` is told of prompts that are cut or left out, and of rewards that fail in evaluation. Throws InputError where the data, the rewards,
 * the tokenizer or the template do not fit.
 */
export async function openRlmtTask(
  config: RlmtTaskConfig,
  warn: (text: string) => void,
  engines: EngineSource,
  reading: SourceOptions = {},
): Promise<RlmtTask> {
  if (config.data === "") {
    throw new InputError("RECIPE_VALUE", "[recipe rlmt] data: expected rows of prompts, got nothing; set data");
  }
  const check = recordCheck(config.rewards);
  const read = (value: unknown) => {
    const row = askRow(value, config.question);
    check(row.record);
    return row;
  };
  const rows = await loadRecords(config.data, read, reading);
  const held = config.evaluation.data === "" ? [] : await loadRecords(config.evaluation.data, read, reading);
  const pool = await RewardPool.create(config.rewards, {
    engines,
    ...(config.rewardWorkers > 0 && { workers: config.rewardWorkers }),
    ...(config.threads > 0 && { threads: config.threads }),
  });
  try {
    const tokenizer = await Tokenizer.load(config.tokenizer);
    const asked = await askSources(rows, config, tokenizer, warn);
    const own = (await askSources(held, config, tokenizer, warn)).flatMap(({ records }) => records);
    const { problems: count } = config.evaluation;
    const { train, heldOut } =
      held.length > 0 ? { train: asked, heldOut: own.slice(0, count) } : holdOut(asked, count, config.seed);
    const sources = [...rows, ...held].map(({ report }) => report);
    return {
      ...taskOf(config, pool, tokenizer, train, warn),
      ...{ heldOut, sources, prompts: promptsUsed(train) },
      longestPrompt: longest([...asked, { records: own }]),
    };
  } catch (error) {
    await pool.dispose();
    throw error;
  }
}

const longest = (sources: readonly Pick<LoadedSource<AskedProblem>, "records">[]): number =>
  sources.flatMap(({ records }) => records).reduce((most, { prompt }) => Math.max(most, prompt.length), 0);

function taskOf(
  config: RlmtTaskConfig,
  pool: RewardPool,
  tokenizer: Tokenizer,
  train: readonly LoadedSource<AskedProblem>[],
  warn: (text: string) => void,
): Omit<RlmtTask, "heldOut" | "sources" | "prompts" | "longestPrompt"> {
  const source = new Mixture(train, { seed: config.seed, exhausted: config.mixture.exhausted });
  const reading = {
    training: reader(tokenizer, config.format, "training", warn),
    evaluation: reader(tokenizer, config.format, "evaluation", () => {}), // the same would be said twice
  };
  const { maxErrorShare } = config;
  return {
    problems: (_, count) => source.next(count),
    source,
    promptOf: (problem) => problem.prompt,
    eosId: tokenizer.eosId,
    endIds: endOfTurnIds(config.format, tokenizer),
    vocabulary: () => tokenizer.tokenBytes(),
    reward: {
      score: (problems, samples, options) =>
        pool.score(
          problems.map((problem, p) =>
            samples[p]!.map((sample) => rewardInput(problem, sample, reading.training(sample))),
          ),
          options,
        ),
    },
    describe: (problem, sample) => {
      const { thinking, answer, malformed, text } = reading.training(sample);
      const written = { prompt: problem.promptText, thinking };
      return malformed ? { ...written, answer: text, graded: answer } : { ...written, answer };
    },
    read: (_, sample) => reading.training(sample),
    isValid: (_, sample) => !reading.training(sample).malformed,
    metrics: (groups) => {
      const read = groups.flatMap(({ samples }) => samples.map(reading.training));
      return { "answers/empty": share(read, ({ answer }) => answer === "") };
    },
    judge: async (problems, samples) => {
      const read = samples.map(reading.evaluation);
      const inputs = problems.map((problem, p) => [rewardInput(problem, samples[p]!, read[p]!)]);
      const { rewards, failures } = await pool.score(inputs, { maxErrorShare });
      if (failures.length > 0) warn(notJudged(failures));
      return problems.map((problem, p) => {
        const { text: _, graded: __, ...own } = read[p]!;
        return { problem, sample: samples[p]!, read: own, reward: rewards[p]![0]! };
      });
    },
    tokenizer: copyTokenizer(config.tokenizer),
    memory: pool.memory,
    [Symbol.asyncDispose]: async () => {
      tokenizer[Symbol.dispose]();
      await pool.dispose();
    },
  };
}

const notJudged = (failures: readonly RewardFailure[]): string =>
  `evaluation: ${failures.length} rewards failed and are left out; the first, ${failureText(failures[0]!)}`;

const share = <T>(all: readonly T[], holds: (one: T) => boolean): number => all.filter(holds).length / all.length;

interface ReadText extends ReadSample {
  /** All that was written, without the end token. */
  readonly text: string;
  /** What rewards see: the answer, null where it is malformed and the format strict. */
  readonly graded: string | null;
}

/** Samples as the format splits them, each decoded once. A stop string that is the answer's closing mark closes it. */
function reader(
  tokenizer: Tokenizer,
  format: ThinkingFormat,
  phase: "training" | "evaluation",
  warn: (text: string) => void,
) {
  const known = new WeakMap<Sample, ReadText>();
  const tokensOf = tokenCounter(tokenizer, format, phase === "training" ? "first" : "last", warn);
  const read = (sample: Sample): ReadText => {
    const { completion, stopString = null, stopToken = null } = sample;
    const written = tokenizer.decode(stopToken === null ? completion : completion.subarray(0, -1));
    const closed = stopString !== null && stopString === format.answerClose ? stopString : "";
    const text = beforeStop(written, stopString) + closed;
    const { thought, answer, malformed } = answerOf(format, text, phase);
    const graded = malformed && format.strict ? null : answer;
    return { text, graded, thinking: thought, answer, malformed, ...(malformed ? UNCOUNTED : tokensOf(sample)) };
  };
  return (sample: Sample): ReadText => {
    const one = known.get(sample) ?? read(sample);
    known.set(sample, one);
    return one;
  };
}

function rewardInput(
  { promptText: prompt, asked: messages, record }: AskedProblem,
  { completion, finish }: Sample,
  { text, thinking, graded: answer }: ReadText,
): RewardInput {
  const tokens = completion.length;
  return { prompt, messages, completion: text, thinking, answer, record, tokens, finish };
}
