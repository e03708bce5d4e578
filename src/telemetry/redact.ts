import type { LogFields, LogValue } from "./log.ts";

const MASK = "[redacted]";

/** Ends of field names, in kebab-case, whose values are nobody's business. */
const SECRET_NAME =
  /(^|-)(api-?key|token|password|passwd|secret|authorization|credentials?|cookie|(access|private|secret)-key(-id)?)$/;

/** Credentials inside texts: authorization values, and the userinfo of a URL. */
const BEARER = /\b(bearer|basic)\s+[\w.~+/=-]{6,}/gi;
const USERINFO = /(\b[a-z][a-z0-9+.-]*:\/\/)[^\s/?#@]+@/gi;

/**
 * Masks what looks like a secret. A safety net below callers who do not pass secrets anyway, not a
 * licence to pass them.
 */
export function redact(fields: LogFields): LogFields {
  const result: LogFields = {};
  for (const [name, value] of Object.entries(fields)) result[name] = redactField(name, value);
  return result;
}

function redactField(name: string, value: LogValue): LogValue {
  if (typeof value === "string") return isSecretName(name) ? MASK : redactText(value);
  if (Array.isArray(value)) return isSecretName(name) ? [MASK] : value.map(redactText);
  return value;
}

function isSecretName(name: string): boolean {
  const kebab = name.replace(/([a-z0-9])([A-Z])/g, "$1-$2").replace(/[_.\s]/g, "-");
  return SECRET_NAME.test(kebab.toLowerCase());
}

/** The text with authorization values and URL userinfo masked. */
function redactText(text: string): string {
  return text.replace(BEARER, `$1 ${MASK}`).replace(USERINFO, `$1${MASK}@`);
}
