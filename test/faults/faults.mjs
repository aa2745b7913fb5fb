// Faults to plant, one a law of the design at least: what is broken, by which change of one place, and the tests that must turn red.
// `find` stands exactly once in `file`. `tests` are vitest files.

const policyLaw = ["test/engine/law2.test.ts"];
const cutLaw = ["test/engine/law4.test.ts"];
const resumeLaw = ["test/train/resume.test.ts"];

export const faults = [
  {
    law: 1,
    name: "rollouts read a copy of the weights made at the first call",
    file: "native/runtime/engine.h",
    find: "return generator_.run(weights_.view(), args, control); }",
    replace: `if (stale_.empty()) {
      stale_.reset(weights_.view().type, parameters_.elements());
      std::memcpy(stale_.ref().data, weights_.view().data, static_cast<size_t>(weights_.bytes()));
    }
    return generator_.run(stale_.view(), args, control);
  }
  TensorBuffer stale_;`,
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
    name: "neighbouring layers recompute into the same memory",
    file: "native/model/activations.cc",
    find: "const bool shares = recomputed_ && i >= 2;\n      if (shares) a = layers_[i - 2];",
    replace: "const bool shares = recomputed_ && i >= 1;\n      if (shares) a = layers_[i - 1];",
    tests: ["test/engine/recompute.test.ts"],
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
    name: "a tokenizer's calls have no deadline of their own",
    file: "src/prompt/tokenizer-child.mjs",
    find: "return script.runInContext(sandbox, { timeout: milliseconds });",
    replace: "return task();",
    tests: ["test/prompt/tokenizer.test.ts"],
  },
  {
    law: 9,
    name: "a tokenizer's process has no heap limit",
    file: "src/prompt/tokenizer-relay.mjs",
    find: "--max-old-space-size=",
    replace: "--stack-trace-limit=",
    tests: ["test/prompt/tokenizer.test.ts"],
  },
];
