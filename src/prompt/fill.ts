// Templates of prompts: a text with names in braces, {prompt}, that stand for texts. Pure.

/** The template with its values; they are not looked at for names, and names that have none stay. */
export function fillTemplate(template: string, values: Readonly<Record<string, string>>): string {
  return template.replaceAll(/\{(\w+)\}/g, (whole, name: string) =>
    Object.hasOwn(values, name) ? values[name]! : whole,
  );
}
