import { UserError } from "#base/errors.ts";

const PORT_MAX = 65_535;

/** A TCP port; 0, where it is allowed, lets the system choose. */
export function parsePort(flag: string, min = 0): (text: string) => number {
  return (text) => {
    const port = Number(text);
    if (!/^\d{1,5}$/.test(text) || port < min || port > PORT_MAX) {
      throw new UserError(
        `${flag}: '${text}' is not a port; use a number from ${min} to ${PORT_MAX}`,
      );
    }
    return port;
  };
}

/** A whole number of at least `min`. */
export function parseInteger(flag: string, min: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (!/^\d{1,15}$/.test(text) || value < min) {
      throw new UserError(`${flag}: '${text}' is not valid; use a whole number of at least ${min}`);
    }
    return value;
  };
}

/** Requests per second; a number that is not above 0 stands for no limit: Infinity. */
export function parseRate(flag: string): (text: string) => number {
  return (text) => {
    if (!/^-?\d{1,9}(\.\d{1,9})?$/.test(text)) {
      throw new UserError(
        `${flag}: '${text}' is not a number; use for example 100, or -1 for no limit`,
      );
    }
    const value = Number(text);
    return value > 0 ? value : Number.POSITIVE_INFINITY;
  };
}

const TRUE = ["", "1", "t", "true", "yes", "on"];
const FALSE = ["0", "f", "false", "no", "off"];

/** A Go-style boolean flag: `--flag`, `--flag=true`, `--flag=false`. */
export function parseBoolean(flag: string): (text: string) => boolean {
  return (text) => {
    const word = text.toLowerCase();
    if (TRUE.includes(word)) return true;
    if (FALSE.includes(word)) return false;
    throw new UserError(`${flag}: '${text}' is not a boolean; use ${flag}=true or ${flag}=false`);
  };
}

const UNIT_MS: Record<string, number> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

/** A Go-style duration such as `15s`, `1m30s` or `500ms`, in milliseconds. */
export function parseDurationMs(flag: string): (text: string) => number {
  return (text) => {
    const parts = [...text.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h)/g)];
    if (parts.length === 0 || parts.map((part) => part[0]).join("") !== text) {
      throw new UserError(`${flag}: '${text}' is not a duration; use for example 15s or 1m30s`);
    }
    return parts.reduce((sum, part) => sum + Number(part[1]) * (UNIT_MS[part[2] ?? ""] ?? 0), 0);
  };
}

/** One of the given words. */
export function parseChoice<T extends string>(
  flag: string,
  choices: readonly T[],
): (text: string) => T {
  return (text) => {
    const found = choices.find((choice) => choice === text);
    if (found === undefined) {
      throw new UserError(`${flag}: '${text}' is not known; use ${choices.join(" or ")}`);
    }
    return found;
  };
}
