// Faults to plant, one a law of the design at least: what is broken, by which change of one place, and the tests that must turn red.
// `find` stands exactly once in `file`. `tests` are vitest files; `dist` says that they run what is built of src.

const policyLaw = ["test/engine/law2.test.ts"];
const cutLaw = ["test/engine/law4.test.ts"];
const resumeLaw = ["test/train/resume.test.ts"];
const settingsLaw = ["test/train/resume-settings.test.ts"];
const loraTests = ["test/engine/lora.test.ts"];
const templateTests = ["test/methods/chat-template.test.ts"];

export const faults = [
  {
    law: 1,
    name: "rollouts read a copy of the weights made at the first call",
    file: "native/runtime/engine.cc",
    find: "  return generator_.run(weights_.view(), args, control);\n}",
    replace: `  static std::vector<std::pair<const Engine*, TensorBuffer>> copies;
  const auto is_own = [&](const auto& copy) { return copy.first == this; };
  auto stale = std::find_if(copies.begin(), copies.end(), is_own);
  if (stale == copies.end()) {
    stale = copies.emplace(copies.end(), this, TensorBuffer(weights_.view().type, parameters_.elements()));
    std::memcpy(stale->second.ref().data, weights_.view().data, static_cast<size_t>(weights_.bytes()));
  }
  return generator_.run(stale->second.view(), args, control);
}`,
    tests: policyLaw,
  },
  {
    law: 1,
    name: "rollouts read weights that the adapters are merged into",
    file: "native/runtime/engine.cc",
    find: "  return generator_.run(weights_.view(), args, control);\n}",
    replace: `  if (!is_adapted()) return generator_.run(weights_.view(), args, control);
  TensorBuffer merged(weights_.view().type, parameters_.elements());
  std::memcpy(merged.ref().data, weights_.view().data, static_cast<size_t>(weights_.bytes()));
  const WeightStore store{merged.ref()};
  const auto at = [&](const Parameter& p, int64_t i) { return weight_of(weights_.view(), p, i); };
  for (int64_t i = 0; i < config_.spec.layers; ++i) {
    const LayerParameters& l = parameters_.layer(i);
    for (const LinearParameters* p : {&l.q, &l.k, &l.v, &l.o, &l.gate, &l.up, &l.down}) {
      for (int64_t e = 0; p->is_adapted() && e < p->count(); ++e) {
        float sum = at(*p, e);
        for (int64_t r = 0; r < p->a.rows; ++r)
          sum += config_.spec.lora.scale * at(p->b, e / p->columns * p->a.rows + r) * at(p->a, r * p->columns + e % p->columns);
        store.set(*p, e, sum);
      }
      for (int64_t e = 0; p->is_adapted() && e < p->b.count(); ++e) store.set(p->b, e, 0.0f);
    }
  }
  return generator_.run(merged.view(), args, control);
}`,
    tests: policyLaw,
  },
  {
    law: 2,
    name: "a value written by decoding is off by one unit in the last place",
    file: "native/kernels/cpu/attention.cc",
    find: "store(values + r * D + d, load(v + from + r * head.key_row + d, D - d), D - d);",
    replace: `store(values + r * D + d,
                load(v + from + r * head.key_row + d, D - d) * set1(head.span.count == 1 ? 1.00000012f : 1.0f), D - d);`,
    tests: policyLaw,
  },
  {
    law: 2,
    name: "a single row's products are summed in two halves",
    file: "native/kernels/cpu/matmul.cc",
    find: "if (M <= kFewRows) {",
    replace: `if (M == 1 && !accumulate && Chain::kPerWord == 1) {
    const int64_t near = K / 2;
    const float* x = in.x.template as<float>();
    std::vector<float> far(static_cast<size_t>(N));
    multiply_few_rows<Chain>(pool, y, ldy, x, in.ld, B, M, N, near, false);
    const Panels rest{w + near * kPanel, K * kPanel};
    multiply_few_rows<Chain>(pool, far.data(), N, x + near, in.ld, rest, M, N, K - near, false);
    for (int64_t n = 0; n < N; ++n) y.as<float>()[n] += far[static_cast<size_t>(n)];
    return;
  }
  if (M <= kFewRows) {`,
    tests: policyLaw,
  },
  {
    law: 2,
    name: "decoding sums the keys of a tile apart from those before it",
    file: "native/kernels/cpu/attention_decode.cc",
    find: "b.lane_sums[row] = ((sum + p[1]) + p[2]) + p[3];",
    replace: "b.lane_sums[row] = sum + ((p[1] + p[2]) + p[3]);",
    tests: policyLaw,
  },
  {
    law: 2,
    name: "one row alone multiplies and adds with two roundings",
    file: "native/kernels/cpu/tile.h",
    find: "sum[i][v] = Chain::add(av, bv[v], sum[i][v]);",
    replace: "sum[i][v] = R == 1 ? av * bv[v] + sum[i][v] : Chain::add(av, bv[v], sum[i][v]);",
    tests: policyLaw,
  },
  {
    law: 2,
    name: "bf16 outputs of few rows are cut off, not rounded",
    file: "native/kernels/cpu/matmul.cc",
    find: "const int64_t rows = multiply(sums, kFewPanels * kPanel, i, p, end);",
    replace: `const int64_t rows = multiply(sums, kFewPanels * kPanel, i, p, end);
        for (float& sum : sums) sum = std::bit_cast<float>(std::bit_cast<uint32_t>(sum) & kUpperHalf);`,
    tests: policyLaw,
  },
  {
    law: 2,
    name: "training leaves out the temperature",
    file: "native/runtime/trainer.cc",
    find: "loss.temperature, head_.logp.data() + first, head_.lse.data() + first,",
    replace: "1.0f, head_.logp.data() + first, head_.lse.data() + first,",
    tests: policyLaw,
  },
  {
    law: 2,
    name: "the sampler's log-prob is recorded as the policy's",
    file: "native/runtime/sampler.cc",
    find: "sample.logp.push_back(logp);",
    replace: "sample.logp.push_back(sampler_logp);",
    tests: ["test/engine/sampling.test.ts"],
  },
  {
    law: 2,
    name: "samples write into the part-filled block of their prompt that others read",
    file: "native/runtime/scheduler.cc",
    find: "prompt % kKeyTile != 0 && pool_.is_shared(held.blocks.back());",
    replace: "prompt % kKeyTile != 0 && held.blocks.empty();",
    tests: ["test/engine/preemption.test.ts"],
  },
  {
    law: 3,
    name: "a stop string takes the ids that wrote it along",
    file: "native/runtime/sampler.cc",
    find: "if (stops(rules, sequence, sample, token))\n    sample.finish = Finish::stop;",
    replace: `if (stops(rules, sequence, sample, token)) {
    sample.finish = Finish::stop;
    if (sample.stop_string >= 0) sample.tokens.pop_back(), sample.logp.pop_back(), sample.sampler_logp.pop_back();
  }`,
    tests: ["test/methods/law3.test.ts"],
  },
  {
    law: 3,
    name: "what is trained on is the text of the samples, made tokens again",
    file: "src/methods/rlvr-problems.ts",
    find: "score: (asked, samples, options) =>\n        pool.score(\n          asked.map((problem, p) => samples[p]!.map((sample) => inputOf(problem, sample))),\n          options,\n        ),",
    replace: `score: async (asked, samples, options) => {
        for (const sample of samples.flat()) {
          const text = tokenizer.decode(sample.completion);
          const [completion] = await tokenizer.encodeAll([text], { addSpecialTokens: false });
          const cut = (values: Float32Array) => values.slice(0, completion!.length);
          const { logprobs, samplerLogprobs, mask } = sample;
          const others = { logprobs: cut(logprobs), samplerLogprobs: cut(samplerLogprobs) };
          Object.assign(sample, { completion, ...others, mask: mask.slice(0, completion!.length) });
        }
        const inputs = asked.map((problem, p) => samples[p]!.map((sample) => inputOf(problem, sample)));
        return pool.score(inputs, options);
      },`,
    tests: ["test/methods/law3.test.ts"],
  },
  {
    law: 3,
    name: "the token that ends a sample is left out of it",
    file: "src/rollout/pack.ts",
    find: "completion: result.tokens.subarray(from, to),",
    replace: 'completion: result.tokens.subarray(from, result.finish[s] === "stop" ? to - 1 : to),',
    tests: ["test/methods/law3.test.ts"],
  },
  {
    law: 3,
    name: "the tokenizer adds a BOS to what a chat template writes",
    file: "src/methods/asked.ts",
    find: 'const addSpecialTokens = format.prompt.style === "plain";',
    replace: "const addSpecialTokens = true;",
    tests: templateTests,
  },
  {
    law: 4,
    name: "every call sums its weight gradient from zero and adds it afterwards",
    file: "native/kernels/cpu/matmul.cc",
    find: "small_matmul<Chain>(target, kPanel, {x.as<float>(), 1, g.x.ld}, B, columns, kPanel, depth, true);",
    replace: `std::vector<float> own(static_cast<size_t>(columns * kPanel));
        small_matmul<Chain>(own.data(), kPanel, {x.as<float>(), 1, g.x.ld}, B, columns, kPanel, depth, false);
        for (size_t i = 0; i < own.size(); ++i) target[i] += own[i];`,
    tests: cutLaw,
  },
  {
    law: 4,
    name: "of a pair of bf16 tokens the later one is added first",
    file: "native/kernels/cpu/matmul.cc",
    find: "return pair_bf16(load(at, n), left > 1 ? load(at + ld, n) : set1(none));",
    replace: "return pair_bf16(left > 1 ? load(at + ld, n) : set1(none), load(at, n));",
    tests: cutLaw,
  },
  {
    law: 4,
    name: "tokens are weighted by the micro-batch that they are in",
    file: "native/runtime/trainer.cc",
    find: "head_.dlogp[i] = -head_.weights[i];",
    replace: "head_.dlogp[i] = -1.0f / static_cast<float>(R);",
    tests: cutLaw,
  },
  {
    law: 4,
    name: "every call sums the gradient of a norm from zero and adds it afterwards",
    file: "native/kernels/cpu/rmsnorm.cc",
    find: "weight_gradient(dw + begin, dy + begin, in + begin, rstd, T, H, end - begin); });",
    replace: `std::vector<float> own(static_cast<size_t>(end - begin));
      weight_gradient(own.data(), dy + begin, in + begin, rstd, T, H, end - begin);
      for (int64_t i = begin; i < end; ++i) dw[i] += own[static_cast<size_t>(i - begin)];
    });`,
    tests: cutLaw,
  },
  {
    law: 4,
    name: "neighbouring layers recompute into the same memory",
    file: "native/model/activations.cc",
    find: "const bool shares = recomputed_ && i >= 2;\n    if (shares) a = layers_[i - 2];",
    replace: "const bool shares = recomputed_ && i >= 1;\n    if (shares) a = layers_[i - 1];",
    tests: ["test/engine/recompute.test.ts"],
  },
  {
    law: 4,
    name: "micro-batches cut pairs apart",
    file: "native/runtime/trainer.cc",
    find: "cut_sequences(args.tokens, budget, together(loss))",
    replace: "cut_sequences(args.tokens, budget, together(loss) > 0)",
    tests: ["test/engine/dpo-loss.test.ts"],
  },
  {
    law: 5,
    name: "a critic goes on without its moments",
    file: "src/train/critic.ts",
    find: "await critic.saveState(join(folder, criticFolder));",
    replace: "await policy.saveState(join(folder, criticFolder));",
    tests: ["test/train/ppo.test.ts"],
  },
  {
    law: 5,
    name: "random numbers depend on who else is sampled",
    file: "native/runtime/sampler.cc",
    find: "const auto problem = args_->problems[static_cast<size_t>(sequence.prompt)];",
    replace: "const auto problem = static_cast<uint32_t>(sequence.prompt);",
    tests: policyLaw,
  },
  {
    law: 5,
    name: "a resumed optimizer has forgotten its steps",
    file: "native/runtime/engine.cc",
    find: "trainer().set_steps(zazen::load_state(paths.optimizer, parameters_, state()));",
    replace: "zazen::load_state(paths.optimizer, parameters_, state());",
    tests: ["test/engine/resume.test.ts"],
  },
  {
    law: 5,
    name: "the masters of bf16 weights are not in a checkpoint",
    file: "native/runtime/engine.cc",
    find: 'if (master_.size() > 0) buffers.push_back({"master", master_.data()});',
    replace: "",
    tests: ["test/engine/resume.test.ts"],
  },
  {
    law: 5,
    name: "the reference in a checkpoint is the policy",
    file: "native/runtime/engine.cc",
    find: "save_weights(paths.reference, parameters_, require_reference().view());",
    replace: "save_weights(paths.reference, parameters_, weights_.view());",
    tests: settingsLaw,
  },
  {
    law: "DPO",
    name: "pairs are held to the policy that is trained, not to the initial one",
    file: "src/train/dpo.ts",
    find: "const { logprobs } = await engine.logprobs({ ...packed, reference: true, signal: run.signal });",
    replace: "const { logprobs } = await engine.logprobs({ ...packed, signal: run.signal });",
    tests: ["test/train/dpo.test.ts"],
  },
  {
    law: 5,
    name: "the age of the best figure is not in a checkpoint",
    file: "src/train/held-out.ts",
    find: "this.#since = since;",
    replace: "void since;",
    tests: settingsLaw,
  },
  {
    law: 5,
    name: "what was said of a run is not in a checkpoint",
    file: "src/train/diagnosis.ts",
    find: "this.#said = [...said];",
    replace: "void said;",
    tests: settingsLaw,
  },
  {
    law: 5,
    name: "a refill has the random numbers of the problems that it replaces",
    file: "src/train/reinforce.ts",
    find: "problemIds: Int32Array.from(problems, (_, i) => first + i),",
    replace: "problemIds: Int32Array.from(problems, (_, i) => i),",
    tests: ["test/train/policy-settings.test.ts"],
  },
  {
    law: 5,
    name: "a reward has the place at which it arrives",
    file: "src/reward/score.ts",
    find: "values[index] = checked(await calls[index]!());",
    replace: "const value = checked(await calls[index]!());\n        values[values.indexOf(null)] = value;",
    tests: ["test/reward/score.test.ts"],
  },
  {
    law: 5,
    name: "a reward of the pool has the place at which it arrives",
    file: "src/reward/scheduler.ts",
    find: "for (const [at, rewards] of outcome.rewards) this.results[batch[at]!] = rewards;",
    replace: "for (const rewards of outcome.rewards.values()) this.results[this.results.indexOf(undefined)] = rewards;",
    tests: ["test/reward/scheduler.test.ts"],
  },
  {
    law: 5,
    name: "a demonstration that waits for the next step is not in a checkpoint",
    file: "src/train/sft.ts",
    find: "this.#held = held;",
    replace: "this.#held = null;",
    tests: resumeLaw,
  },
  {
    law: 5,
    name: "lines behind the checkpoint stay in the jsonl files",
    file: "src/train/run-folder.ts",
    find: "disk.cut(join(path, name), sizes[name] ?? 0);",
    replace: "disk.sync(join(path, name));",
    tests: resumeLaw,
  },
  {
    law: 5,
    name: "a checkpoint has its name before its files are written",
    file: "src/train/checkpoint.ts",
    find: "const aside = path + half;",
    replace: "const aside = path;",
    tests: resumeLaw,
  },
  {
    law: 5,
    name: "the files of a checkpoint are not put on the disk before it has its name",
    file: "src/train/checkpoint.ts",
    find: 'for (const name of [...names, stateFile, sumFile, ...folders, "."]) disk.sync(join(aside, name));',
    replace: "",
    tests: resumeLaw,
  },
  {
    law: 5,
    name: "the name of a checkpoint is not put on the disk",
    file: "src/train/checkpoint.ts",
    find: "for (const folder of [this.#folder, this.run]) disk.sync(folder);",
    replace: "for (const folder of [aside, path]) disk.makeFolder(folder);",
    tests: resumeLaw,
  },
  {
    law: 5,
    name: "the lines that a checkpoint counts on are not put on the disk",
    file: "src/train/run-folder.ts",
    find: "for (const name of this.#files.keys()) this.disk.sync(join(this.path, name));",
    replace: "",
    tests: resumeLaw,
  },
  {
    law: 5,
    name: "the model of a finished run is not put on the disk",
    file: "src/train/run-folder.ts",
    find: "this.disk.sync(join(folder, file));",
    replace: "void file;",
    tests: resumeLaw,
  },
  {
    law: 5,
    name: "prompts are rendered with the date of the day, without variables",
    file: "src/methods/asked.ts",
    find: "    templateOptions(chat),\n",
    replace: "    {},\n",
    tests: templateTests,
  },
  {
    law: 5,
    name: "a warm start asks about its template on another day, without variables",
    file: "src/methods/chat-start.ts",
    find: "ChatTemplate.load(folder, templateOptions(config.chat))",
    replace: "ChatTemplate.load(folder, {})",
    tests: templateTests,
  },
  {
    law: 5,
    name: "demonstrations are rendered with the date of the day, without variables",
    file: "src/methods/sft-examples.ts",
    find: "ChatTemplate.load(folder, templateOptions(this.#settings.chat))",
    replace: "ChatTemplate.load(folder, {})",
    tests: templateTests,
  },
  {
    law: 6,
    name: "the head takes all rows at once",
    file: "native/model/head.h",
    find: "return std::clamp(fits, kHeadChunkMinRows, kHeadChunkMaxRows);",
    replace: "return std::max(fits, int64_t{1} << 40);",
    tests: ["test/engine/law6.test.ts"],
  },
  {
    law: 7,
    name: "the plan leaves out the masters of bfloat16 weights",
    file: "native/runtime/memory_plan.cc",
    find: "plan.masters = checked_product(trained, dtype_bytes(DType::f32));",
    replace: "plan.masters = 0;",
    tests: ["test/engine/memory.test.ts"],
  },
  {
    law: 7,
    name: "every micro-batch lays its activations out anew",
    file: "native/model/activations.cc",
    find: "memory.reserve(static_cast<size_t>(count.used));",
    replace: "memory.reset(static_cast<size_t>(count.used));",
    tests: ["test/engine/memory.test.ts"],
  },
  {
    law: 7,
    name: "the system's allocator keeps what engines gave back",
    file: "native/binding/addon.cc",
    find: "mallopt(M_MMAP_THRESHOLD, kMappedBytes);",
    replace: "(void)kMappedBytes;",
    tests: ["test/engine/memory.test.ts"],
  },
  {
    law: 7,
    name: "the plan leaves out the process of the run",
    file: "src/engine/process-memory.ts",
    find: "const held = Math.max(0, bytes - engines);",
    replace: "const held = Math.min(0, bytes - engines);",
    dist: true,
    tests: ["test/cli/memory.test.ts"],
  },
  {
    law: 8,
    name: "tensors that overlap in a file are not noticed",
    file: "native/core/safetensors.cc",
    find: "ZAZEN_CHECK(tensor->begin == covered,",
    replace: "ZAZEN_CHECK(tensor->begin <= covered,",
    tests: ["test/engine/bad-input.test.ts"],
  },
  {
    law: 5,
    name: "a mixture goes on from its first draw",
    file: "src/data/mixture.ts",
    find: "this.#draws = draws;",
    replace: "void draws;",
    tests: ["test/data/mixture.test.ts"],
  },
  {
    law: 9,
    name: "a tokenizer's calls have no deadline",
    file: "src/prompt/tokenizer-relay.mjs",
    find: "deadline = cpuDeadline(child.pid, first.deadlineMs, expire);",
    replace: "",
    tests: ["test/prompt/tokenizer.test.ts"],
  },
  {
    law: 9,
    name: "a process that waits for a processor is taken for one that spins",
    file: "src/config/cpu-deadline.mjs",
    find: "(computedMs(pid) ?? computed) - computed;",
    replace: "passed;",
    tests: ["test/prompt/deadline.test.ts"],
  },
  {
    law: 9,
    name: "a tokenizer's process has no heap limit",
    file: "src/prompt/tokenizer-relay.mjs",
    find: "--max-old-space-size=",
    replace: "--stack-trace-limit=",
    tests: ["test/prompt/tokenizer.test.ts"],
  },
  {
    law: 10,
    name: "an instruction set that there is none of is replaced by the best one",
    file: "native/binding/arguments.cc",
    find: 'ZAZEN_CHECK(name == "auto", "UNSUPPORTED", "[engine] expected auto, portable, avx2, avx512 or avx512_bf16, got ", name);',
    replace: "",
    tests: ["test/engine/law10.test.ts"],
  },
  {
    law: 10,
    name: "an option that the engine does not know is left out",
    file: "src/engine/known.ts",
    find: "  if (unknown === undefined) return;",
    replace: "  if (unknown !== null) return;",
    tests: ["test/engine/arguments.test.ts"],
  },
  {
    law: 10,
    name: "moments are float32 whatever was asked for",
    file: "src/engine/options.ts",
    find: "trainable, reference, dtype, moments, recompute };",
    replace: 'trainable, reference, dtype, moments: "float32" as DType, recompute };',
    tests: ["test/engine/law10.test.ts"],
  },
  {
    law: 10,
    name: "a run is resumed under other numerics, and says so at most",
    file: "src/cli/resume.ts",
    find: "throw notExact(checkpoint!.path, inexact);",
    replace: "console.error(notExact(checkpoint!.path, inexact).message);",
    tests: ["test/cli/resume.test.ts"],
    dist: true,
  },
  {
    law: "RLMT",
    name: "rewards see the thought with the answer",
    file: "src/methods/rlmt-task.ts",
    find: "{ text, thinking, graded: answer }: ReadText,",
    replace: "{ text, thinking, text: answer }: ReadText,",
    tests: ["test/methods/rlmt-algorithms.test.ts"],
  },
  {
    law: "RLMT",
    name: "evaluation takes the first mark as training does",
    file: "src/methods/rlmt-task.ts",
    find: 'evaluation: reader(tokenizer, config.format, "evaluation", () => {}),',
    replace: 'evaluation: reader(tokenizer, config.format, "training", () => {}),',
    tests: ["test/methods/rlmt-algorithms.test.ts"],
  },
  {
    law: "LoRA",
    name: "the backward pass leaves out the scale of the adapters",
    file: "native/model/transformer.cc",
    find: "k_.scale(pool_, dlow, dlow, s_.lora.scale, T_ * rank);",
    replace: "k_.scale(pool_, dlow, dlow, 1.0f, T_ * rank);",
    tests: loraTests,
  },
  {
    law: "LoRA",
    name: "the reference is the adapted model, not its base",
    file: "native/runtime/engine.cc",
    find: "scorer_.run(reference ? base_model_ : model_, weights_.view(), args, control);",
    replace: "scorer_.run(model_, weights_.view(), args, control);",
    tests: loraTests,
  },
  {
    law: "LoRA",
    name: "rsLoRA is scaled like LoRA",
    file: "src/engine/lora.ts",
    find: "return alpha / (rsLora ? Math.sqrt(rank) : rank);",
    replace: "return alpha / (rsLora ? rank : rank);",
    tests: loraTests,
  },
];
