// Countdown grades a second on one core: typical answers of 3 and 4 numbers, right, wrong and malformed. Needs `npm run build:ts`.
// Checks every grade first, warms up, then reports the median of the rounds. The last line is one JSON document.
import { cpus } from "node:os";
import { gradeCountdown, multisets, solveCountdown } from "../dist/tasks/index.js";

const ROUNDS = 9;
const ROUND_SECONDS = 0.5;
const REQUIRED_PER_SECOND = 200_000;

/** Right answers of every solvable problem, and from each a wrong value, a number too few and a broken text. */
function makeCases() {
  const problems = [...multisets(4, 13), ...multisets(3, 16)].map((numbers) => ({ numbers, target: 24 }));
  return problems.flatMap((problem) => {
    const answer = solveCountdown(problem);
    if (answer === null) return [];
    return [
      { problem, answer, correct: true },
      { problem: { ...problem, target: 25 }, answer, correct: false },
      { problem: { ...problem, numbers: [...problem.numbers, 1] }, answer, correct: false },
      { problem, answer: `${answer} =`, correct: false },
    ];
  });
}

function check(cases) {
  for (const { problem, answer, correct } of cases) {
    const grade = gradeCountdown(answer, problem);
    if (grade.correct === correct) continue;
    throw new Error(`[check] expected ${correct} for "${answer}" on ${JSON.stringify(problem)}, got ${grade.reason}`);
  }
}

/** Grades a second over whole passes for at least ROUND_SECONDS. */
function round(cases) {
  let right = 0;
  let passes = 0;
  const began = performance.now();
  do {
    for (const { problem, answer } of cases) if (gradeCountdown(answer, problem).correct) right++;
    passes++;
  } while (performance.now() - began < ROUND_SECONDS * 1000);
  const seconds = (performance.now() - began) / 1000;
  if (right * 4 !== passes * cases.length) throw new Error("[round] expected one grade in four to be right");
  return (passes * cases.length) / seconds;
}

const cases = makeCases();
check(cases);
round(cases);
const rates = Array.from({ length: ROUNDS }, () => round(cases)).sort((a, b) => a - b);
const median = Math.round(rates[(ROUNDS - 1) / 2]);
console.log(`${cases.length} answers, median ${median.toLocaleString("en")} grades a second on one core`);
console.log(
  JSON.stringify({
    bench: "countdown-grading",
    answers: cases.length,
    rounds: ROUNDS,
    gradesPerSecond: { median, min: Math.round(rates[0]), max: Math.round(rates.at(-1)) },
    required: REQUIRED_PER_SECOND,
    passed: median >= REQUIRED_PER_SECOND,
    node: process.version,
    cpu: cpus()[0]?.model ?? "unknown",
  }),
);
