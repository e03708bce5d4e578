import { Duration } from "@marcbachmann/cel-js/evaluator";

/**
 * CEL's `string.format`: `%s`, `%d`, `%f`, `%e`, `%x`, `%X`, `%o`, `%b`, `%%`, with a precision for
 * `%f` and `%e`.
 * @throws Error on an unknown verb, or when there are fewer values than verbs.
 */
export function formatText(text: string, values: readonly unknown[]): string {
  let next = 0;
  return text.replace(/%(?:\.(\d+))?(.)/gs, (_, precision: string | undefined, verb: string) => {
    if (verb === "%") return "%";
    if (next >= values.length) throw new Error(`index ${next} out of range`);
    return formatOne(verb, precision, values[next++]);
  });
}

function formatOne(verb: string, precision: string | undefined, value: unknown): string {
  const digits = precision === undefined ? 6 : Number(precision);
  switch (verb) {
    case "s":
      return showValue(value);
    case "d":
      if (typeof value !== "bigint" && typeof value !== "number") break;
      return String(value);
    case "f":
      return Number(value).toFixed(digits);
    case "e":
      return Number(value)
        .toExponential(digits)
        .replace(/e([+-])(\d)$/, "e$10$2");
    case "x":
    case "X": {
      const hex = hexOf(value);
      return verb === "X" ? hex.toUpperCase() : hex;
    }
    case "o":
    case "b":
      if (typeof value === "bigint") return value.toString(verb === "o" ? 8 : 2);
      if (typeof value === "boolean" && verb === "b") return value ? "1" : "0";
      break;
  }
  throw new Error(`could not parse formatting clause: unrecognized or unfitting clause "${verb}"`);
}

function hexOf(value: unknown): string {
  if (typeof value === "bigint") return value.toString(16);
  return Buffer.from(typeof value === "string" ? value : (value as Uint8Array)).toString("hex");
}

function showValue(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(showValue).join(", ")}]`;
  if (value instanceof Date) return value.toISOString().replace(".000Z", "Z");
  if (value instanceof Duration) return String(value);
  if (value instanceof Map) {
    const entries = [...value].map(([key, item]) => `${showValue(key)}: ${showValue(item)}`);
    return `{${entries.sort().join(", ")}}`;
  }
  if (typeof value === "object" && value !== null) return showValue(new Map(Object.entries(value)));
  return String(value);
}
