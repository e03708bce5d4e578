const BINARY = ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
const DECIMAL: { readonly [suffix: string]: number } = {
  n: -9,
  u: -6,
  m: -3,
  "": 0,
  k: 3,
  M: 6,
  G: 9,
  T: 12,
  P: 15,
  E: 18,
};
const NANO_DIGITS = 9;
/** Larger exponents would only make larger numbers than any quantity may be. */
const EXPONENT_MAX = 40;

/** The value of a Kubernetes quantity such as `1.5Gi` or `100m`, in billionths; undefined when it is none. */
export function quantityNanos(text: string): bigint | undefined {
  const match = /^([+-]?)(\d*)(?:\.(\d*))?(Ki|Mi|Gi|Ti|Pi|Ei|[numkMGTPE]|[eE][+-]?\d+)?$/.exec(
    text,
  );
  if (match === null) return undefined;
  const [, sign = "", whole = "", fraction = "", suffix = ""] = match;
  if (whole === "" && fraction === "") return undefined;
  const binary = BINARY.indexOf(suffix) + 1;
  const exponent = /^[eE][+-]?\d/.test(suffix) ? Number(suffix.slice(1)) : (DECIMAL[suffix] ?? 0);
  if (Math.abs(exponent) > EXPONENT_MAX) return undefined;
  const digits = BigInt(whole + fraction) * 1024n ** BigInt(binary);
  const power = NANO_DIGITS + exponent - fraction.length;
  // What is finer than a billionth is rounded up, away from zero.
  const nanos =
    power >= 0 ? digits * 10n ** BigInt(power) : divideUp(digits, 10n ** BigInt(-power));
  return sign === "-" ? -nanos : nanos;
}

const divideUp = (a: bigint, b: bigint) => (a + b - 1n) / b;
