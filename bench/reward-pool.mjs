// Grades a second through the reward pool, on as many workers as asked (default 2), with deadlines on: Countdown and maths on threads, a user's
// module on threads and in processes. Needs `npm run build:ts`. Checks every reward first, warms up, then reports the median of the
// rounds. The last line is one JSON document.
//   node bench/reward-pool.mjs [--workers 2] [--json FILE]
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { RewardPool } from "../dist/reward/pool.js";
import { multisets, solveCountdown } from "../dist/tasks/index.js";
import { check, commit, finish, machine, median, printTable } from "./support.mjs";

const ROUNDS = 7;
const GROUP = 16; // samples of a problem
const REQUIRED = { countdown: 20_000, maths: 5_000 }; // a second on 2 cores

const { values } = parseArgs({ options: { workers: { type: "string", default: "2" }, json: { type: "string" } } });
const workers = Number(values.workers);

const thought =
  "Let me see: first 3 * 4 = 12, then I add what is left, which makes 17. Not it, so I try another way. ".repeat(8);

const input = (answer, record, expected) => ({
  expected,
  input: {
    prompt: "?",
    messages: [{ role: "user", content: "?" }],
    completion: `${thought}</think>${answer}`,
    thinking: thought,
    answer,
    record,
    tokens: 300,
    finish: "stop",
  },
});

/** Right answers, and from each a wrong value, a number too few and a broken text. */
function countdownCases() {
  const problems = [...multisets(4, 13), ...multisets(3, 16)].map((numbers) => ({ numbers, target: 24 }));
  return problems.flatMap((problem) => {
    const answer = solveCountdown(problem);
    if (answer === null) return [];
    return [
      input(answer, problem, 1),
      input(answer, { ...problem, target: 25 }, 0),
      input(answer, { ...problem, numbers: [...problem.numbers, 1] }, 0),
      input(`${answer} =`, problem, 0),
    ];
  });
}

/** Answers as models write them, against references as data sets hold them. */
function mathsCases() {
  const pairs = [
    ["The answer is \\boxed{\\frac{3}{4}}.", "\\dfrac{3}{4}", 1],
    ["so we get $\\boxed{0.75}$", "\\frac34", 1],
    ["The total is $1,250.\n#### 1250", "She pays 5 * 250 = <<5*250=1250>>1250.\n#### 1,250", 1],
    ["Hence \\boxed{2\\sqrt{3}}", "\\sqrt{12}", 1],
    ["\\boxed{(3, \\frac{\\pi}{2})}", "\\left( 3, \\frac{\\pi}{2} \\right)", 1],
    ["\\boxed{x^2+2x+1}", "(x+1)^2", 1],
    ["\\boxed{[2,5)}", "[2,5)", 1],
    ["the answer is 17 apples", "17", 1],
    ["\\boxed{18}", "17", 0],
    ["\\boxed{\\frac{1}{3}}", "0.33", 0],
    ["\\boxed{(1,2)}", "(2,1)", 0],
    ["I do not know", "42", 0],
  ];
  return Array.from({ length: 512 }, () =>
    pairs.map(([answer, reference, right]) => input(answer, { answer: reference }, right)),
  ).flat();
}

const lengthCases = () => Array.from({ length: 4096 }, (_, i) => input("x".repeat(i % 50), {}, i % 50));

const grouped = (cases) =>
  Array.from({ length: Math.ceil(cases.length / GROUP) }, (_, g) =>
    cases.slice(g * GROUP, (g + 1) * GROUP).map((one) => one.input),
  );

async function measure(name, reward, cases) {
  const pool = await RewardPool.create([reward], { workers });
  try {
    const inputs = grouped(cases);
    const { rewards } = await pool.score(inputs);
    const flat = rewards.flatMap((row) => [...row]);
    for (const [i, { expected }] of cases.entries()) {
      check(flat[i] === expected, `${name}: expected ${expected} for case ${i}, got ${flat[i]}`);
    }
    const rates = [];
    for (let round = 0; round < ROUNDS; round++) {
      const began = performance.now();
      await pool.score(inputs);
      rates.push((1000 * cases.length) / (performance.now() - began));
    }
    const required = REQUIRED[name] ?? null;
    const [middle, least, most] = [median(rates), Math.min(...rates), Math.max(...rates)].map(Math.round);
    return {
      name,
      answers: cases.length,
      median: middle,
      min: least,
      max: most,
      required,
      passed: required === null || middle >= required,
    };
  } finally {
    await pool.dispose();
  }
}

const folder = mkdtempSync(join(tmpdir(), "zazen-bench-"));
const module = join(folder, "length.mjs");
writeFileSync(module, "export default ({ answer }) => answer.length;\n");

const results = [
  await measure("countdown", { kind: "countdown" }, countdownCases()),
  await measure("maths", { kind: "maths" }, mathsCases()),
  await measure("module on threads", { module, isolate: "thread" }, lengthCases()),
  await measure("module in processes", { module, isolate: "process" }, lengthCases()),
];
rmSync(folder, { recursive: true });

const show = (value) => value?.toLocaleString("en") ?? "";
printTable(
  [`grades a second, ${workers} workers`, "answers", "median", "min", "max", "required"],
  results.map((one) => [
    one.name,
    show(one.answers),
    show(one.median),
    show(one.min),
    show(one.max),
    show(one.required),
  ]),
);
const passed = results.every((one) => one.passed);
finish(
  {
    bench: "reward-pool",
    workers,
    rounds: ROUNDS,
    deadlineMs: 5_000,
    results,
    passed,
    commit: commit(),
    machine: machine(),
  },
  values.json,
);
