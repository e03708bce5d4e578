import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { isObject } from "#base/json.ts";
import { ArtifactError } from "./errors.ts";
import type { Credentials } from "./source.ts";

/** A Secret holds at most 1 MiB in all. */
const FILE_BYTES_MAX = 1 << 20;
const FILES_MAX = 64;

/**
 * The credentials of one delivery: the request's, or, when it brings none, the files mounted at `folder`
 * (one a key, as Kubernetes mounts a Secret). Read anew each time, so that a rotated Secret counts at once.
 */
export async function readCredentials(
  fromRequest: Credentials | undefined,
  folder: string,
): Promise<Credentials> {
  if (fromRequest !== undefined && Object.keys(fromRequest).length > 0) return fromRequest;
  let names: string[];
  try {
    names = await readdir(folder);
  } catch {
    // Nothing is mounted there: most adapters need no credentials.
    return {};
  }
  const found: Record<string, string> = {};
  // Kubernetes keeps its own ..data links beside the keys.
  for (const name of names.filter((name) => !name.startsWith(".")).slice(0, FILES_MAX)) {
    const path = join(folder, name);
    const { size } = await stat(path).catch(() => ({ size: Number.POSITIVE_INFINITY }));
    if (size <= FILE_BYTES_MAX) {
      const text = await readFile(path, "utf8").catch(() => undefined);
      // Editors and `echo` end files with a line end, which is no part of a key.
      if (text !== undefined) found[name] = text.replace(/\r?\n$/, "");
    }
  }
  return found;
}

/** Who decides about the connection must not be overridden by a Secret. */
const RESERVED_HEADERS = new Set([
  "host",
  "connection",
  "content-length",
  "transfer-encoding",
  "range",
  "if-range",
  "accept-encoding",
]);

/**
 * The headers for http(s) sources: the key `headers`, a JSON object as a string.
 * @throws ArtifactError InvalidCredentials; the value itself is never in the message.
 */
export function headersOf(credentials: Credentials): Record<string, string> {
  const text = credentials["headers"];
  if (text === undefined || text.trim() === "") return {};
  const wrong = (why: string) =>
    new ArtifactError(
      "InvalidCredentials",
      `Invalid credentials: the key headers ${why}; write a JSON object such as {"Authorization": "Bearer ..."}`,
    );
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw wrong("is not valid JSON");
  }
  if (!isObject(value)) throw wrong("is not a JSON object");
  const headers: Record<string, string> = {};
  for (const [name, content] of Object.entries(value)) {
    const isName = /^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}$/.test(name);
    if (!isName || typeof content !== "string" || /[^\t\x20-\x7e\x80-\xff]/.test(content)) {
      throw wrong("has an entry that is not a valid HTTP header");
    }
    if (RESERVED_HEADERS.has(name.toLowerCase())) throw wrong(`must not set ${name}`);
    // In one spelling, so that one given twice is sent once.
    headers[name.toLowerCase()] = content;
  }
  return headers;
}

/** Shorter values are words that appear everywhere; masking them would only garble texts. */
const SECRET_LENGTH_MIN = 6;

/** Keys of a Secret that say where, not who: masking a region would garble names of buckets. */
const OPEN_KEYS = new Set(["aws_region", "aws_endpoint_url", "TOS_REGION", "TOS_ENDPOINT"]);

/**
 * A function that takes the secrets of one delivery out of texts made elsewhere: an engine or a store
 * may echo what it was sent.
 */
export function scrubberOf(
  credentials: Credentials,
  artifactUrl: string,
  ...more: readonly string[]
): (text: string) => string {
  const kept = Object.entries(credentials).filter(([key]) => !OPEN_KEYS.has(key));
  const values = kept.map(([, value]) => value.trim());
  const secrets = [...values, ...headerValues(credentials), ...more];
  if (/^https?:/i.test(artifactUrl) && URL.canParse(artifactUrl)) {
    const url = new URL(artifactUrl);
    secrets.push(url.username, url.password, url.search, ...url.searchParams.values());
  }
  const known = [...new Set(secrets)]
    .filter((secret) => secret.length >= SECRET_LENGTH_MIN)
    .sort((a, b) => b.length - a.length);
  return (text) => known.reduce((scrubbed, secret) => scrubbed.replaceAll(secret, "***"), text);
}

function headerValues(credentials: Credentials): string[] {
  try {
    return Object.values(headersOf(credentials)).flatMap((value) => [
      value,
      value.slice(value.indexOf(" ") + 1),
    ]);
  } catch {
    return [];
  }
}
