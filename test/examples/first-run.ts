import * as zazen from "../../src/index.js";

await using engine = await zazen.Engine.create(zazen.llamaSpec({ vocabSize: 16, eosTokenId: 0 }), { seed: 0 });
const prompts = [1, 2, 3, 4].map((token) => Int32Array.from([token]));
const sevens = (_: unknown, sample: zazen.Sample) => sample.completion.filter((token) => token === 7).length;
for (let step = 1; step <= 20; step++) {
  const request = { prompts, samplesPerPrompt: 8, sampling: { maxTokens: 8 }, seed: 0, step };
  const { samples } = await zazen.sampleCompletions(engine, request);
  const { rewards } = await zazen.scoreSamples(prompts, samples, sevens);
  const groups = zazen.makeGroups(prompts, samples, rewards);
  const advantages = groups.map((group) => zazen.groupAdvantages(group.rewards, { scaleByStd: true, eps: 1e-6 }));
  const loss = await engine.forwardBackward(zazen.packGroups(groups, advantages), zazen.policyLoss(1));
  await engine.optimStep({ learningRate: 1e-3 });
  console.log(`step ${step}: rewards ${rewards.map((group) => group.join(" "))}, mismatch ${loss.mismatchMaxAbs}`);
}
