import { isObject, type Json, type JsonObject, jsonEqual } from "./json.ts";

/** Operations that one patch may hold; the Kubernetes API draws the same line. */
export const JSON_PATCH_OPERATIONS_MAX = 10_000;

/** What `copy` may add in all, in characters of JSON: copies of copies double with each operation. */
const COPIED_MAX = 3 * 1024 * 1024;

/** A JSON Patch that cannot be read, or that does not fit the document. */
export class JsonPatchError extends Error {
  override readonly name = "JsonPatchError";
}

type Operation =
  | { op: "add" | "replace" | "test"; path: string[]; value: Json }
  | { op: "remove"; path: string[] }
  | { op: "move" | "copy"; path: string[]; from: string[] };

/**
 * Applies a JSON Patch (RFC 6902) and returns the new document; `document` stays as it was. Two
 * things are looser than the RFC, as in the Kubernetes API: `replace` also sets a member that is
 * absent, and `test` takes an absent member for null; a `value` that is left out is null, too.
 * @throws JsonPatchError that names the operation by its index and says what is missing.
 */
export function applyJsonPatch(document: Json, operations: unknown): Json {
  if (!Array.isArray(operations)) {
    throw new JsonPatchError("a JSON Patch is a list of operations");
  }
  if (operations.length > JSON_PATCH_OPERATIONS_MAX) {
    throw new JsonPatchError(
      `the patch has ${operations.length} operations, at most ${JSON_PATCH_OPERATIONS_MAX} are allowed`,
    );
  }
  let result = document;
  let copied = 0;
  for (const [index, text] of operations.entries()) {
    try {
      const operation = parseOperation(text);
      if (operation.op === "copy") copied += sizeOf(present(result, operation.from));
      if (copied > COPIED_MAX) {
        throw new JsonPatchError(`copies more than ${COPIED_MAX} characters`);
      }
      result = apply(result, operation);
    } catch (error) {
      if (!(error instanceof JsonPatchError)) throw error;
      throw new JsonPatchError(`operation ${index}: ${error.message}`);
    }
  }
  return result;
}

function parseOperation(text: unknown): Operation {
  if (!isObject(text)) throw new JsonPatchError("is not an object");
  const { op, path, from, value } = text;
  const tokens = parsePointer(path, "path");
  switch (op) {
    case "add":
    case "replace":
    case "test":
      return { op, path: tokens, value: value ?? null };
    case "remove":
      return { op, path: tokens };
    case "move":
    case "copy":
      return { op, path: tokens, from: parsePointer(from, "from") };
    default:
      throw new JsonPatchError(`unknown op ${JSON.stringify(op ?? null)}`);
  }
}

function parsePointer(text: unknown, name: string): string[] {
  if (typeof text !== "string" || (text !== "" && !text.startsWith("/"))) {
    throw new JsonPatchError(`${name} must be a JSON Pointer such as /spec/replicas`);
  }
  if (/~(?![01])/.test(text)) {
    throw new JsonPatchError(`${name} ${text} holds a ~ that is neither ~0 nor ~1`);
  }
  const tokens = text.split("/").slice(1);
  return tokens.map((token) => token.replaceAll("~1", "/").replaceAll("~0", "~"));
}

const sizeOf = (value: Json) => JSON.stringify(value).length;

const pointer = (tokens: readonly string[]) =>
  tokens.map((token) => `/${token.replaceAll("~", "~0").replaceAll("/", "~1")}`).join("");

const missing = (tokens: readonly string[]) =>
  new JsonPatchError(`the document has nothing at ${pointer(tokens) || "/"}`);

function apply(document: Json, operation: Operation): Json {
  const { op, path } = operation;
  switch (op) {
    case "add":
      return set(document, path, operation.value, "insert");
    case "replace":
      return set(document, path, operation.value, "overwrite");
    case "remove":
      return remove(document, path);
    case "test": {
      const actual = get(document, path, 0, operation.value === null) ?? null;
      if (jsonEqual(actual, operation.value)) return document;
      throw new JsonPatchError(`test failed at ${pointer(path) || "/"}`);
    }
    case "copy":
      return set(document, path, present(document, operation.from), "insert");
    case "move": {
      const { from } = operation;
      const isAncestor = from.length < path.length && from.every((t, i) => t === path[i]);
      if (isAncestor) {
        throw new JsonPatchError(`cannot move ${pointer(from)} into itself`);
      }
      return set(remove(document, from), path, present(document, from), "insert");
    }
  }
}

function present(document: Json, path: readonly string[]): Json {
  const value = get(document, path, 0, false);
  if (value === undefined) throw missing(path);
  return value;
}

/** The value at `path`; undefined only for the absent member of an object that is there. */
function get(
  value: Json,
  path: readonly string[],
  depth: number,
  lenient: boolean,
): Json | undefined {
  const token = path[depth];
  if (token === undefined) return value;
  const child = childOf(value, token);
  const isLast = depth === path.length - 1;
  if (child === undefined) {
    if (isLast && lenient && isObject(value)) return undefined;
    throw missing(path.slice(0, depth + 1));
  }
  return get(child, path, depth + 1, lenient);
}

function childOf(value: Json, token: string): Json | undefined {
  if (Array.isArray(value)) {
    const index = indexOf(token, value.length - 1);
    return index === undefined ? undefined : value[index];
  }
  return isObject(value) && Object.hasOwn(value, token) ? value[token] : undefined;
}

function indexOf(token: string, max: number): number | undefined {
  if (!/^(0|[1-9][0-9]*)$/.test(token)) return undefined;
  const index = Number(token);
  return index <= max ? index : undefined;
}

function set(
  value: Json,
  path: readonly string[],
  replacement: Json,
  mode: "insert" | "overwrite",
): Json {
  return (
    edit(value, path, 0, (parent, token) => {
      if (isObject(parent)) return { ...parent, [token]: replacement };
      if (!Array.isArray(parent)) return undefined;
      if (mode === "insert") {
        const index = token === "-" ? parent.length : indexOf(token, parent.length);
        return index === undefined ? undefined : parent.toSpliced(index, 0, replacement);
      }
      const index = indexOf(token, parent.length - 1);
      return index === undefined ? undefined : parent.with(index, replacement);
    }) ?? replacement
  );
}

function remove(value: Json, path: readonly string[]): Json {
  const result = edit(value, path, 0, (parent, token) => {
    if (Array.isArray(parent)) {
      const index = indexOf(token, parent.length - 1);
      return index === undefined ? undefined : parent.toSpliced(index, 1);
    }
    if (!isObject(parent) || !Object.hasOwn(parent, token)) return undefined;
    const { [token]: _, ...rest } = parent;
    return rest;
  });
  if (result === undefined) {
    throw new JsonPatchError("the whole document cannot be removed");
  }
  return result;
}

/**
 * Copies the way down to the parent of `path` and lets `change` make the new parent, or refuse
 * with undefined. An empty path has no parent: the answer is undefined.
 */
function edit(
  value: Json,
  path: readonly string[],
  depth: number,
  change: (parent: Json, token: string) => Json | undefined,
): Json | undefined {
  const token = path[depth];
  if (token === undefined) return undefined;
  if (depth === path.length - 1) {
    const changed = change(value, token);
    if (changed === undefined) throw missing(path);
    return changed;
  }
  const child = childOf(value, token);
  if (child === undefined) throw missing(path.slice(0, depth + 1));
  const edited = edit(child, path, depth + 1, change) as Json;
  return Array.isArray(value)
    ? value.with(Number(token), edited)
    : { ...(value as JsonObject), [token]: edited };
}
