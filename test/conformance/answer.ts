import assert from "node:assert/strict";
import { isObject, type Json, type JsonObject } from "#base/json.ts";

/** What a refusal says, without what all of them have in common. */
export interface Refusal {
  readonly code: number;
  readonly reason?: string;
  readonly message: string;
  readonly details?: JsonObject;
}

/** One answer of the API. */
export class Answer {
  /** Method and path, for the messages of failing tests. */
  readonly asked: string;
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly text: string;

  constructor(asked: string, status: number, headers: Answer["headers"], text: string) {
    this.asked = asked;
    this.status = status;
    this.headers = headers;
    this.text = text;
  }

  get body(): JsonObject {
    const body: unknown = JSON.parse(this.text);
    assert.ok(isObject(body), `${this.asked}: not a JSON object: ${this.text.slice(0, 200)}`);
    return body;
  }

  /** The value at a path such as `spec.ports.0.name`; undefined when there is nothing. */
  at(path: string | readonly string[]): Json | undefined {
    return at(this.body, path);
  }

  /** Like `at`, for what has to be a string. */
  textAt(path: string): string {
    const value = this.at(path);
    assert.ok(typeof value === "string", `${this.asked}: no text at ${path}: ${this.text}`);
    return value;
  }

  get uid(): string {
    return this.textAt("metadata.uid");
  }

  get resourceVersion(): string {
    return this.textAt("metadata.resourceVersion");
  }

  get items(): JsonObject[] {
    const items = this.at("items");
    assert.ok(Array.isArray(items), `${this.asked}: not a list: ${this.text.slice(0, 500)}`);
    return items.filter(isObject);
  }

  /** Names of a list's items, in the list's order. */
  get names(): string[] {
    return this.items.map((item) => String(at(item, "metadata.name")));
  }

  /** The texts of the Warning headers. */
  get warnings(): string[] {
    const header = this.headers["warning"] ?? [];
    const all = Array.isArray(header) ? header : [header];
    return all.flatMap((one) =>
      [...one.matchAll(/299 - "((?:[^"\\]|\\.)*)"/g)].map((match) =>
        (match[1] ?? "").replaceAll(/\\(.)/g, "$1"),
      ),
    );
  }

  /** Fails with the whole answer unless it has this status code. */
  expect(status: number): this {
    if (this.status !== status) {
      assert.fail(`${this.asked}: expected ${status}, got ${this.status}: ${this.text}`);
    }
    return this;
  }

  /** Fails unless this is exactly that Status. */
  refused(refusal: Refusal): void {
    const { code, reason, message, details } = refusal;
    const wanted = {
      kind: "Status",
      apiVersion: "v1",
      metadata: {},
      status: "Failure",
      message,
      ...(reason === undefined ? {} : { reason }),
      ...(details === undefined ? {} : { details }),
      code,
    };
    assert.deepEqual(this.body, wanted, `${this.asked}: ${this.text}`);
    assert.equal(this.status, code, `${this.asked}: the status line`);
  }
}

/** The value at a dotted path of an object, array indices included; undefined when it is not there. */
export function at(value: unknown, path: string | readonly string[]): Json | undefined {
  let current = value;
  for (const key of typeof path === "string" ? path.split(".") : path) {
    if (Array.isArray(current)) current = current[Number(key)];
    else if (isObject(current)) current = current[key];
    else return undefined;
  }
  return current as Json | undefined;
}

/** A copy of an object without what differs from run to run and without managedFields. */
export function lasting(object: JsonObject): JsonObject {
  const metadata = isObject(object["metadata"] ?? null) ? (object["metadata"] as JsonObject) : {};
  const { uid, resourceVersion, creationTimestamp, managedFields, ...rest } = metadata;
  assert.match(String(uid), /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
  assert.match(String(resourceVersion), /^[1-9]\d*$/);
  assert.match(String(creationTimestamp), /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
  assert.ok(managedFields === undefined || Array.isArray(managedFields));
  return { ...object, metadata: rest };
}
