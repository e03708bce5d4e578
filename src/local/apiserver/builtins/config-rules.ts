import { type JsonObject, jsonEqual } from "#base/json.ts";
import { objectAt, stringAt } from "../json-access.ts";
import {
  type FieldError,
  forbidden,
  invalid,
  key,
  required,
  tooLong,
} from "../schema/field-error.ts";
import { byRule, configKey, IMMUTABLE } from "./rules.ts";

const SIZE_MAX_BYTES = 1024 * 1024;
const FROZEN = "field is immutable when `immutable` is set";
const HIDDEN = "<secret contents redacted>";
const ACCOUNT = "kubernetes.io/service-account.name";

/** Keys that a Secret of a type must have. */
const NEEDED_KEYS: { readonly [type: string]: readonly string[] } = {
  "kubernetes.io/dockercfg": [".dockercfg"],
  "kubernetes.io/dockerconfigjson": [".dockerconfigjson"],
  "kubernetes.io/ssh-auth": ["ssh-privatekey"],
  "kubernetes.io/tls": ["tls.crt", "tls.key"],
};

/** Checks a Secret; nothing of what is in it gets into the errors. */
export function secretErrors(secret: JsonObject, old: JsonObject | undefined): FieldError[] {
  const data = objectAt(secret, "data");
  const errors: FieldError[] = [];
  if (old !== undefined) {
    if (secret["type"] !== old["type"]) {
      errors.push(invalid("type", stringAt(secret, "type"), IMMUTABLE));
    }
    errors.push(...frozenErrors(secret, old, ["data"]));
  }
  for (const name of Object.keys(data)) {
    errors.push(...byRule(configKey, key("data", name), name));
  }
  const size = Object.values(data).reduce<number>((sum, text) => sum + bytesOf(String(text)), 0);
  if (size > SIZE_MAX_BYTES) errors.push(tooLong("data", SIZE_MAX_BYTES));
  return [...errors, ...typeErrors(secret, data)];
}

function typeErrors(secret: JsonObject, data: JsonObject): FieldError[] {
  const type = stringAt(secret, "type");
  if (type === "kubernetes.io/service-account-token") {
    const annotations = objectAt(objectAt(secret, "metadata"), "annotations");
    const isNamed = stringAt(annotations, ACCOUNT) !== "";
    return isNamed ? [] : [required(key("metadata.annotations", ACCOUNT))];
  }
  if (type === "kubernetes.io/basic-auth") {
    const names = ["username", "password"];
    const hasOne = names.some((name) => Object.hasOwn(data, name));
    return hasOne ? [] : names.map((name) => required(key("data", name)));
  }
  return (NEEDED_KEYS[type] ?? []).flatMap((name) => {
    const path = key("data", name);
    const isMissing = type === "kubernetes.io/ssh-auth" ? !data[name] : !(name in data);
    if (isMissing) return [required(path)];
    const wrong = type.includes("docker") ? jsonError(stringAt(data, name)) : undefined;
    return wrong === undefined ? [] : [invalid(path, HIDDEN, wrong)];
  });
}

/** Why a text in base64 is no JSON object. Go and JavaScript tell it in words of their own. */
function jsonError(encoded: string): string | undefined {
  try {
    JSON.parse(Buffer.from(encoded, "base64").toString());
    return undefined;
  } catch {
    return encoded === "" ? "unexpected end of JSON input" : "invalid character in JSON input";
  }
}

const bytesOf = (encoded: string) => Buffer.byteLength(encoded, "base64");

/** Checks a ConfigMap. */
export function configMapErrors(map: JsonObject, old: JsonObject | undefined): FieldError[] {
  const [texts, bytes] = [objectAt(map, "data"), objectAt(map, "binaryData")];
  const errors = old === undefined ? [] : frozenErrors(map, old, ["data", "binaryData"]);
  let size = 0;
  for (const [name, text] of Object.entries(texts)) {
    errors.push(...byRule(configKey, key("data", name), name));
    if (Object.hasOwn(bytes, name)) {
      errors.push(invalid(key("data", name), name, "duplicate of key present in binaryData"));
    }
    size += Buffer.byteLength(String(text));
  }
  for (const [name, encoded] of Object.entries(bytes)) {
    errors.push(...byRule(configKey, key("binaryData", name), name));
    size += bytesOf(String(encoded));
  }
  if (size > SIZE_MAX_BYTES) errors.push(tooLong("[]", SIZE_MAX_BYTES));
  return errors;
}

function frozenErrors(
  object: JsonObject,
  old: JsonObject,
  fields: readonly string[],
): FieldError[] {
  if (old["immutable"] !== true) return [];
  return [
    ...(object["immutable"] === true ? [] : [forbidden("immutable", FROZEN)]),
    ...fields
      .filter((name) => !jsonEqual(objectAt(object, name), objectAt(old, name)))
      .map((name) => forbidden(name, FROZEN)),
  ];
}
