// Law 5 on the engine, with processes that are killed: SIGKILL at random moments, while they start, train, write a checkpoint or are being
// resumed, and at the very writes of a checkpoint and of a resumed run that begins, SFT and GRPO. What is left in the end is what the run
// leaves that nobody killed. ZAZEN_KILLS=20 kills each run twenty times, tries every place with both recipes, and says when.
import { appendFileSync, existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { type Random, random } from "../../src/data/random.js";
import { listCheckpoints } from "../../src/train/checkpoint.js";
import { type AtWrite, cliIsBuilt, json, start } from "../cli/process.js";
import { remains } from "../helpers/crash.js";
import { temporaryFolder } from "../helpers/temporary.js";

const all = process.env.ZAZEN_KILLS !== undefined;
const kills = Number(process.env.ZAZEN_KILLS ?? 2);
/** Starts for each kill at most: a run may end before its moment comes. */
const TRIES = 5;
const say = (text: string) => void (all && console.log(text));

/** A moment by the clock. */
interface Moment {
  /** Lines of metrics.jsonl. */
  readonly lines: number;
  /** Milliseconds behind the last of them. */
  readonly delay: number;
}

type Place = Omit<AtWrite, "folder">;

const small = ["scratch.width=24", "scratch.mlp=32", "scratch.layers=2", "scratch.maxPositions=160"];
const sftSets = [...small, "sft.steps=40", "sft.tokensPerStep=300", "checkpoint.every=3", "evaluation.every=10"];
const rlvrSets = [
  "task=countdown-trial",
  "grpo.steps=24",
  "grpo.prompts=4",
  "grpo.samplesPerPrompt=4",
  "grpo.sampling.maxTokens=24",
  "grpo.loss.klCoefficient=0.01",
  "grpo.optimizer.learningRate=1e-3",
  "evaluation.problems=16",
  "evaluation.every=6",
  "checkpoint.every=2",
];
const flags = (sets: readonly string[]) => sets.flatMap((set) => ["--set", set]);

/** Checkpoints of each run: some one, and the first that has to go. */
const steps = {
  sft: { some: "step-000006", old: "step-000003" },
  rlvr: { some: "step-000008", old: "step-000002" },
} as const;
const recipes = ["sft", "rlvr"] as const;
type Recipe = (typeof recipes)[number];

describe.skipIf(!cliIsBuilt)("killed", { timeout: 60_000 + kills * 30_000 }, () => {
  const folder = temporaryFolder("kill");
  let commands: Record<Recipe, readonly string[]>;
  beforeAll(() => {
    json(["train", "sft", ...flags(small), "--set", "sft.steps=2", "--out", join(folder, "warm")]);
    const model = join(folder, "warm", "model");
    commands = {
      sft: ["train", "sft", ...flags(sftSets)],
      rlvr: ["train", "rlvr", "--set", `model=${model}`, ...flags(rlvrSets)],
    };
  });

  const linesOf = (out: string): number => {
    const path = join(out, "metrics.jsonl");
    return existsSync(path) ? readFileSync(path, "utf8").split("\n").length - 1 : 0;
  };

  /** True where the process was killed, false where it ended well before. */
  async function wasKilled(run: ReturnType<typeof start>): Promise<boolean> {
    const { code, signal, told } = await run.ended;
    if (code !== 0 && signal !== "SIGKILL") throw new Error(`ended with ${code}: ${told}`);
    return signal === "SIGKILL";
  }

  /** Runs the command line, and kills it `delay` ms after metrics.jsonl has come to `lines`, if it still runs then. */
  async function killedAfter(args: readonly string[], out: string, { lines, delay }: Moment): Promise<boolean> {
    const run = start(args);
    const poll = setInterval(() => {
      if (linesOf(out) < lines) return;
      clearInterval(poll);
      setTimeout(() => run.kill("SIGKILL"), delay);
    }, 1);
    const killed = await wasKilled(run);
    clearInterval(poll);
    say(`${killed ? "killed" : "ended before"}: ${lines} lines and ${delay} ms, ${args.slice(0, 2).join(" ")}`);
    return killed;
  }

  /** Runs the command line, and kills it at a write. */
  async function killedAt(args: readonly string[], out: string, place: Place): Promise<boolean> {
    const killed = await wasKilled(start(args, { folder: out, ...place }));
    say(`${killed ? "killed" : "ended before"}: ${JSON.stringify(place)}, ${args.slice(0, 2).join(" ")}`);
    return killed;
  }

  describe.each(recipes)("%s", (recipe) => {
    let whole: Record<string, unknown>;
    let lines: number;
    beforeAll(() => {
      const out = join(folder, `${recipe} whole`);
      json([...commands[recipe], "--out", out]);
      whole = remains(out);
      lines = linesOf(out);
    });

    /** Every place in turn, unless ZAZEN_KILLS asks for all of them with both recipes. */
    const isOurs = (_: unknown, i: number) => all || i % recipes.length === recipes.indexOf(recipe);

    /** A moment after `from` lines; now and then one before there are any. */
    const momentAfter = (stream: Random, from: number): Moment => {
      const early = stream.next() < 0.15;
      return early
        ? { lines: 0, delay: stream.int(900) }
        : { lines: from + stream.int(lines - from), delay: stream.int(40) };
    };
    const command = (out: string) =>
      existsSync(join(out, "recipe.json")) ? ["train", "--resume", out] : [...commands[recipe], "--out", out];
    /** Before there is a recipe there is nothing to resume, and --out wants an empty folder. */
    const goOn = (out: string) => {
      if (!existsSync(join(out, "recipe.json"))) rmSync(out, { recursive: true, force: true });
      return command(out);
    };

    test(`at ${kills} random moments, each in a run of its own, with other threads after it`, async () => {
      const stream = random(kills, 1);
      let killed = 0;
      for (let attempt = 0; killed < kills && attempt < TRIES * kills; attempt++) {
        const out = join(folder, `${recipe} ${killed}`);
        const moment = momentAfter(stream, 0);
        rmSync(out, { recursive: true, force: true });
        if (!(await killedAfter([...commands[recipe], "--out", out], out, moment))) continue;
        json([...goOn(out), "--set", `threads=${1 + (killed % 3)}`]);
        expect(remains(out), JSON.stringify(moment)).toEqual(whole);
        killed++;
      }
      expect(killed).toBe(kills);
    });

    test("again and again in one run, at random writes and random moments, so that it is killed while it resumes too", async () => {
      const out = join(folder, `${recipe} often`);
      const stream = random(kills, 2);
      let killed = 0;
      for (let kill = 0; killed < kills && kill < TRIES * kills; kill++) {
        if (existsSync(join(out, "summary.json"))) {
          expect(remains(out)).toEqual(whole); // it has ended, and has no moments left
          rmSync(out, { recursive: true });
        }
        // A run that is resumed writes a dozen times before its first step.
        const place = { verb: "any", nth: 1 + stream.int(kill % 4 === 0 ? 12 : 60), half: stream.next() < 0.5 };
        const now =
          kill % 2 === 0
            ? killedAt(goOn(out), out, place)
            : killedAfter(goOn(out), out, momentAfter(stream, Math.min(linesOf(out), lines - 1)));
        if (await now) killed++;
      }
      json(goOn(out));
      expect(killed).toBe(kills);
      expect(remains(out)).toEqual(whole);
    });

    const { some, old } = steps[recipe];
    const places: [string, Place][] = [
      ["half of the recipe is written", { verb: "writeFileSync", place: "recipe.json.part", half: true }],
      ["a checkpoint begins", { verb: "mkdirSync", place: `${some}.part` }],
      [
        "weights and moments are written, and half of the state",
        { verb: "writeFileSync", place: `${some}.part/state.json`, half: true },
      ],
      [
        "half of the state's checksum is written",
        { verb: "writeFileSync", place: `${some}.part/state.json.sha256`, half: true },
      ],
      ["its weights go to the disk", { verb: "fsyncSync", place: `${some}.part/model/model.safetensors` }],
      ["it gets its name", { verb: "renameSync", place: `${some}.part` }],
      ["the best one is to be marked", { verb: "symlinkSync", place: "best.part" }],
      ["the best one is marked", { verb: "renameSync", place: "best.part" }],
      ["an old one is to be removed", { verb: "renameSync", place: old, nth: 2 }], // first, it got its name
      ["an old one is being removed", { verb: "rmSync", place: `${old}.part`, nth: 2, half: true }], // first, it made room
      ["half a line is written", { verb: "writeSync", place: "metrics.jsonl", nth: 9, half: true }],
      [
        "the run is over, and half of the summary is written",
        { verb: "writeFileSync", place: "summary.json", half: true },
      ],
    ];
    test.each(places.filter(isOurs))("when %s", async (name, place) => {
      const out = join(folder, `${recipe} ${name}`);
      expect(await killedAt(command(out), out, place)).toBe(true);
      json(goOn(out));
      expect(remains(out)).toEqual(whole);
    });

    const resumed: [string, Place][] = [
      ["half of the recipe is written again", { verb: "writeFileSync", place: "recipe.json.part", half: true }],
      ["half of the holder's name is written", { verb: "writeFileSync", place: "running.json", half: true }],
      ["a half-written checkpoint is being removed", { verb: "rmSync", place: `${some}.part`, half: true }],
      ["the lines are cut back", { verb: "truncateSync", place: "metrics.jsonl" }],
      ["one of two files of lines is cut back", { verb: "truncateSync", place: "rollouts.jsonl" }],
      ["half of its first line is written", { verb: "writeSync", place: "metrics.jsonl", half: true }],
      ["the checkpoint gets its name at last", { verb: "renameSync", place: `${some}.part` }],
    ];
    test.each(resumed.filter(isOurs))(
      "in a checkpoint's rename, and while it resumes, when %s",
      async (name, place) => {
        const out = join(folder, `${recipe} resumed, ${name}`);
        expect(await killedAt(command(out), out, { verb: "renameSync", place: `${some}.part` })).toBe(true);
        expect(await killedAt(command(out), out, place)).toBe(true);
        json(command(out));
        expect(remains(out)).toEqual(whole);
      },
    );
  });

  test("the comparison sees a bit of a moment and a line", () => {
    const out = join(folder, "sft 0");
    const left = remains(out);
    const moments = join(listCheckpoints(out)[0]!.path, "optimizer.safetensors");
    const bytes = readFileSync(moments);
    bytes[bytes.length - 9]! ^= 1;
    writeFileSync(moments, bytes);
    expect(remains(out).files).not.toEqual(left.files);
    appendFileSync(join(out, "metrics.jsonl"), '{"phase":"sft"}\n');
    expect(remains(out).metrics).not.toEqual(left.metrics);
  });
});
