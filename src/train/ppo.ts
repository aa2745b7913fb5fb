// Proximal policy optimisation with a critic: sample, let the critic say what each token was worth, step the clipped loss and the critic's
// (Schulman et al. 2017; of language models Ouyang et al. 2022). Leaves out what a problem is and how it is graded.
import { resumables } from "../data/resumable.js";
import { learningRate } from "../objective/schedule.js";
import type { Group } from "../rollout/types.js";
import { type CriticSettings, type CriticUpdate, updateCritic, withCritic } from "./critic.js";
import { Diagnosis } from "./diagnosis.js";
import { mean, type PolicyUpdate, policyMetrics, roomMetrics, throughput } from "./metrics.js";
import { split, type UpdateSettings, updatePolicy, warnOfMismatch } from "./policy.js";
import { type PolicyTask, type ReinforcePart, type RoundSettings, sampleRound } from "./reinforce.js";
import { logRollouts, type Numbered } from "./rollout-log.js";
import type { Metrics, Run } from "./run.js";
import { Tally, type TrainCost, trainingSteps } from "./steps.js";
import { type Engines, type ValuedGroup, type ValueSettings, valueRollout } from "./value-rollout.js";
import { watchMetrics } from "./watch.js";

export interface PpoSettings extends RoundSettings, Omit<UpdateSettings, "temperature">, ValueSettings {
  readonly prompts: number;
  readonly critic: CriticSettings;
  /** Times each rollout is gone through. */
  readonly epochs: number;
  /** Optimizer steps of each engine an epoch. */
  readonly miniBatches: number;
}

/**
 * Improves the policy on a task as the part of the run that has begun. The policy's engine needs its reference where the KL has a
 * coefficient. Throws TrainError when a loss or a gradient is not finite.
 */
export async function trainPpo<P extends Numbered>(
  run: Run,
  { policy, critic }: Engines,
  task: PolicyTask<P>,
  settings: PpoSettings,
  part: ReinforcePart,
): Promise<TrainCost> {
  const tally = new Tally();
  const { maxTokens } = settings.sampling;
  const diagnosis = new Diagnosis({ ...settings, maxTokens, group: "ppo" });
  const state = resumables({ tally, diagnosis, ...(task.source && { source: task.source }) });
  const plan = { engine: withCritic(policy, critic), steps: part.steps, state, heldOut: part.heldOut, tally };
  const update = { ...settings, temperature: settings.sampling.temperature };
  const { rolloutGroups, showEvery } = part.logging;
  for await (const step of trainingSteps(run, plan)) {
    const began = performance.now();
    const round = await sampleRound(
      { run, engine: policy, task, settings, seed: part.seed, step },
      settings.prompts,
      0,
    );
    const rolloutSeconds = (performance.now() - began) / 1000;
    const { valued, metrics } = await valueRollout({ policy, critic }, update, round.groups, run.signal);
    const lr = learningRate(settings.optimizer, step, part.steps);
    const criticLr = learningRate(settings.critic.optimizer, step, part.steps);
    const updates: PolicyUpdate[] = [];
    const criticUpdates: CriticUpdate[] = [];
    for (let epoch = 0; epoch < settings.epochs; epoch++) {
      for (const groups of split(valued, settings.miniBatches)) {
        updates.push(await updatePolicy(run, policy, update, groups, lr, step));
        const critical = { ...settings, ...settings.critic };
        criticUpdates.push(await updateCritic(run, critic, targetsOf(groups), critical, { step, lr: criticLr }));
      }
    }
    warnOfMismatch(run, step, updates[0]);
    tally.add(updates.reduce((sum, one) => sum + one.sequenceTokens, 0));
    const figures = {
      ...rolloutMetrics(settings, round.groups, updates),
      ...watchMetrics(round.groups, task.read),
      ...metrics,
    };
    run.step(step, {
      ...figures,
      ...criticMetrics(criticUpdates),
      ...throughput(round.groups, rolloutSeconds, updates),
      "seconds/critic": criticUpdates.reduce((sum, { seconds }) => sum + seconds, 0),
      lr,
      "value/lr": criticLr,
      "reward/errors": round.errors,
      ...round.counts,
      ...task.metrics(round.groups),
      ...roomMetrics([round.stats]),
    });
    logRollouts(run, part.phase, step, round.groups, { groups: rolloutGroups, showEvery, describe: task.describe });
    // Groups without spread teach too: the critic is the baseline.
    const withoutGroups = { ...round.counts, ...figures, "groups/zero_spread": 0 };
    for (const text of diagnosis.see(step, withoutGroups, updates.length)) run.note("warning", text);
  }
  return tally.cost(run.seconds);
}

const targetsOf = <P>(groups: readonly ValuedGroup<P>[]) => ({
  samples: groups.flatMap(({ group }) => group.samples),
  values: groups.flatMap(({ values }) => values),
  returns: groups.flatMap(({ returns }) => returns),
});

/** Without what is said of groups where a group is one sample: it has no spread. */
function rolloutMetrics(
  { samplesPerPrompt, loss }: PpoSettings,
  groups: readonly Group<unknown>[],
  updates: readonly PolicyUpdate[],
): Metrics {
  const all = policyMetrics(groups, updates);
  const spread = ["groups/zero_spread", "frac_reward_zero_std"];
  const kept = Object.entries(all).filter(([name]) => samplesPerPrompt > 1 || !spread.includes(name));
  return Object.fromEntries(kept.filter(([name]) => name !== "kl" || loss.klIn === "loss"));
}

function criticMetrics(updates: readonly CriticUpdate[]): Metrics {
  const over = (field: (update: CriticUpdate) => number) => mean(updates.map(field));
  return {
    "value/loss": over(({ loss }) => loss.loss),
    "value/mismatch/max_abs": updates[0]?.loss.mismatchMaxAbs ?? Number.NaN,
    "value/clip_fraction": over(({ loss }) => loss.clipFraction),
    "value/grad_norm": over(({ gradNorm }) => gradNorm),
  };
}
