import { isIPv4, isIPv6 } from "node:net";

const UUID = /^[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}$/i;
const uuidOf = (version: number) => (text: string) =>
  UUID.test(text) && text.replaceAll("-", "").at(12) === String(version);

/** What each `format` of a string asks for; a format that is not here asks for nothing. */
const FORMATS: { readonly [format: string]: (text: string) => boolean } = {
  "date-time": isDateTime,
  datetime: isDateTime,
  date: (text) => /^\d{4}-\d\d-\d\d$/.test(text) && isDateTime(`${text}T00:00:00Z`),
  duration: (text) => durationNanos(text) !== undefined || isWordyDuration(text),
  uri: (text) => text.startsWith("/") || URL.canParse(text),
  email: (text) => /^[^\s@]+@[^\s@]+$/.test(text),
  hostname: (text) =>
    /^[a-zA-Z](([-0-9a-zA-Z]+)?[0-9a-zA-Z])?(\.[a-zA-Z](([-0-9a-zA-Z]+)?[0-9a-zA-Z])?)*[a-zA-Z]{2,63}([a-zA-Z]+)?$/.test(
      text,
    ) && text.length <= 255,
  ipv4: isIPv4,
  ipv6: (text) => isIPv6(text),
  cidr: isCidr,
  mac: (text) => /^([0-9a-f]{2}([:-][0-9a-f]{2}){5}|[0-9a-f]{4}(\.[0-9a-f]{4}){2})$/i.test(text),
  uuid: (text) => UUID.test(text),
  uuid3: uuidOf(3),
  uuid4: uuidOf(4),
  uuid5: uuidOf(5),
  byte: (text) =>
    text === "" || /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/.test(text),
  hexcolor: (text) => /^#?([0-9a-f]{3}|[0-9a-f]{6})$/i.test(text),
};

/** Whether a string has the given OpenAPI format; unknown formats are not checked. */
export function hasFormat(format: string, text: string): boolean {
  return FORMATS[format]?.(text) ?? true;
}

/** RFC 3339, with a real date and a time zone. */
function isDateTime(text: string): boolean {
  const match = /^(\d{4})-(\d\d)-(\d\d)[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)$/.exec(text);
  if (match === null || Number.isNaN(Date.parse(text))) return false;
  const day = Number(match[3]);
  return day >= 1 && day <= new Date(Date.UTC(Number(match[1]), Number(match[2]), 0)).getUTCDate();
}

/** An address with a prefix length, e.g. `10.0.0.0/8`. */
export function isCidr(text: string): boolean {
  const [address = "", prefix = "", ...more] = text.split("/");
  if (more.length > 0 || !/^(0|[1-9]\d{0,2})$/.test(prefix)) return false;
  if (isIPv4(address)) return Number(prefix) <= 32;
  return isIPv6(address) && !address.includes("%") && Number(prefix) <= 128;
}

const UNIT_NANOS: { readonly [unit: string]: bigint } = {
  ns: 1n,
  us: 1_000n,
  µs: 1_000n,
  μs: 1_000n,
  ms: 1_000_000n,
  s: 1_000_000_000n,
  m: 60_000_000_000n,
  h: 3_600_000_000_000n,
};

/** Nanoseconds of a Go duration such as `1h30m` or `-1.5s`; undefined when it is not one. */
export function durationNanos(text: string): bigint | undefined {
  if (text === "0") return 0n;
  if (!/^[+-]?(\d+(\.\d*)?(ns|us|µs|μs|ms|s|m|h))+$/.test(text)) return undefined;
  let total = 0n;
  for (const [, whole = "0", fraction = "", unit = "s"] of text.matchAll(
    /(\d+)(?:\.(\d*))?(ns|us|µs|μs|ms|s|m|h)/g,
  )) {
    const nanos = UNIT_NANOS[unit] ?? 0n;
    const scale = 10n ** BigInt(fraction.length);
    total += BigInt(whole) * nanos + (BigInt(fraction === "" ? "0" : fraction) * nanos) / scale;
  }
  return text.startsWith("-") ? -total : total;
}

/** `5 minutes`, `2 weeks`: what the API server's duration format takes besides Go's form. */
function isWordyDuration(text: string): boolean {
  return /^(\d+)\s*(nanos?(econds?)?|micros?(econds?)?|millis?(econds?)?|sec(onds?)?|min(utes?)?|hrs?|hours?|days?|weeks?|wks?|d|w)$/i.test(
    text,
  );
}
