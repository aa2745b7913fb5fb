// Which settings differ between two configs of a recipe, and which of those may differ when a run is resumed.
import type { ZodType } from "zod";
import { InputError } from "../errors.js";
import { describeSettings, type Setting } from "./describe.js";
import type { Settings } from "./resolve.js";

/**
 * Refuses a resumed run whose settings differ in one that must not: by the schema, "free" ones may, "raise" ones may become larger in the
 * part in hand (`part`, named as the group of the setting) under a constant learning rate, which does not depend on the number of steps.
 * @throws InputError RESUME_SETTING that names every such setting
 */
export function checkChanges(schema: ZodType, before: Settings, after: Settings, part: string | null): void {
  const refused = describeSettings(schema).flatMap((setting) => refusal(setting, before, after, part));
  if (refused.length === 0) return;
  const all = [...refused, "The settings of a run that has begun stay; start another run for others."];
  throw new InputError("RESUME_SETTING", all.join("\n"));
}

function refusal({ key, resume }: Setting, before: Settings, after: Settings, part: string | null): string[] {
  const [was, is] = [valueAt(before, key), valueAt(after, key)];
  if (was === undefined) return []; // the run began before there was such a setting
  if (JSON.stringify(was) === JSON.stringify(is) || resume === "free") return [];
  const expected =
    resume === "raise" ? notRaised(key, after, was, is, part) : `${JSON.stringify(was)}, as the run began with`;
  return expected === null ? [] : [`[train --resume] ${key}: expected ${expected}, got ${JSON.stringify(is)}`];
}

/** What was expected of a setting that may only be raised; null where it was. */
function notRaised(key: string, settings: Settings, was: unknown, is: unknown, part: string | null): string | null {
  const group = key.slice(0, key.lastIndexOf("."));
  const schedule = valueAt(settings, `${group}.optimizer.schedule`);
  const stays = `${was}, as the run began with`;
  if (schedule !== "constant") return `${stays}, since the ${schedule} learning rate depends on it`;
  if (part !== group) return `${stays}, since the run does not stand in that part`;
  return Number(is) > Number(was) ? null : `${was} or more`;
}

function valueAt(settings: unknown, key: string): unknown {
  let value = settings;
  for (const part of key.split(".")) value = (value as Readonly<Record<string, unknown>> | undefined)?.[part];
  return value;
}
