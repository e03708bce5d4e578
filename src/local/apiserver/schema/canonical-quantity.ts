import { quantityNanos } from "./quantity.ts";

const DECIMAL_SUFFIXES = ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"];
const BINARY_SUFFIXES = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
const NANOS = 1_000_000_000n;
const NANO_EXPONENT = -9;
const NANOS_PER_MILLI = 1_000_000n;
const EXPONENT_MAX = 18;

/** The one way in which the API writes a quantity: `0.5` becomes `500m`, `1024Mi` becomes `1Gi`. */
export function canonicalQuantity(text: string): string | undefined {
  const nanos = quantityNanos(text.trim());
  if (nanos === undefined) return undefined;
  const isBinary = /[KMGTPE]i$/.test(text);
  const isSmall = nanos > -1024n * NANOS && nanos < 1024n * NANOS;
  if (isBinary && !isSmall && nanos % NANOS === 0n) return binaryText(nanos / NANOS);
  return decimalText(nanos, /\d[eE][+-]?\d+$/.test(text));
}

/** The canonical form of a quantity rounded up to thousandths, as lists of resources hold it. */
export function milliQuantity(text: string): string {
  const nanos = quantityNanos(text);
  if (nanos === undefined || nanos % NANOS_PER_MILLI === 0n) return text;
  const up = nanos > 0n ? nanos + NANOS_PER_MILLI : nanos;
  return decimalText(up - (up % NANOS_PER_MILLI), false);
}

function binaryText(whole: bigint): string {
  let rest = whole;
  let power = 0;
  while (rest !== 0n && rest % 1024n === 0n && power < BINARY_SUFFIXES.length - 1) {
    rest /= 1024n;
    power++;
  }
  return `${rest}${BINARY_SUFFIXES[power]}`;
}

function decimalText(nanos: bigint, isExponent: boolean): string {
  if (nanos === 0n) return "0";
  let rest = nanos;
  let exponent = NANO_EXPONENT;
  while (rest % 1000n === 0n && exponent < EXPONENT_MAX) {
    rest /= 1000n;
    exponent += 3;
  }
  if (isExponent) return exponent === 0 ? `${rest}` : `${rest}e${exponent}`;
  return `${rest}${DECIMAL_SUFFIXES[exponent / 3 + 3]}`;
}
