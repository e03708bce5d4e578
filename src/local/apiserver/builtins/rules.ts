import type { Json, JsonObject } from "#base/json.ts";
import { objectAt, objectsAt, stringAt, stringsAt } from "../json-access.ts";
import {
  child,
  type FieldError,
  forbidden,
  index,
  invalid,
  notSupported,
  required,
} from "../schema/field-error.ts";
import {
  atMost,
  labelValue,
  matching,
  type NameRule,
  qualifiedName,
} from "../schema/name-rules.ts";
import { labelErrors } from "../schema/object-meta.ts";

export const PROTOCOLS = ["SCTP", "TCP", "UDP"];
const PORT_MAX = 65_535;
const PORT_NAME_MAX = 15;
const NAME_MAX = 253;
export const NEGATIVE = "must be greater than or equal to 0";
export const IMMUTABLE = "field is immutable";
const FILE_MODE_MAX = 0o777;

/** One error for each thing that a rule finds wrong with a text. */
export const byRule = (rule: NameRule, path: string, text: string): FieldError[] =>
  rule(text).map((message) => invalid(path, text, message));

/** Checks a text that must be one of a few; an empty one is missing. */
export function oneOf(path: string, value: string, supported: readonly string[]): FieldError[] {
  if (value === "") return [required(path)];
  return supported.includes(value) ? [] : [notSupported(path, value, supported)];
}

/** Key of a ConfigMap or Secret. */
export const configKey: NameRule = (text) => [
  ...atMost(
    NAME_MAX,
    matching(
      "[-._a-zA-Z0-9]+",
      "a valid config key must consist of alphanumeric characters, '-', '_' or '.'",
      ["key.name", "KEY_NAME", "key-name"],
    ),
  )(text),
  ...upwards(text),
];

function upwards(text: string): string[] {
  if (text === "." || text === "..") return [`must not be '${text}'`];
  return text.startsWith("..") ? ["must not start with '..'"] : [];
}

/** Name of a port of a container. */
export const portName: NameRule = (text) => [
  ...(text.length > PORT_NAME_MAX ? [`must be no more than ${PORT_NAME_MAX} characters`] : []),
  ...(/^[-a-z0-9]+$/.test(text)
    ? []
    : ["must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)"]),
  ...(/[a-z]/.test(text) ? [] : ["must contain at least one letter (a-z)"]),
  ...(text.includes("--") ? ["must not contain consecutive hyphens"] : []),
  ...(/^-|-$/.test(text) ? ["must not begin or end with a hyphen"] : []),
];

export const inRange = (path: string, value: number, min: number, max: number): FieldError[] =>
  value >= min && value <= max
    ? []
    : [invalid(path, value, `must be between ${min} and ${max}, inclusive`)];

export const portNumber = (path: string, port: number) => inRange(path, port, 1, PORT_MAX);

/** A port by its number or by its name. */
export const port = (path: string, value: Json | undefined): FieldError[] =>
  typeof value === "string"
    ? byRule(portName, path, value)
    : portNumber(path, typeof value === "number" ? value : 0);

/** A number that may be missing, and may not be below zero. */
export const notNegative = (path: string, value: Json | undefined): FieldError[] =>
  typeof value === "number" && value < 0 ? [invalid(path, value, NEGATIVE)] : [];

/** The permissions of a file that may be missing. */
export const fileMode = (path: string, mode: Json | undefined): FieldError[] =>
  typeof mode === "number" && (mode < 0 || mode > FILE_MODE_MAX)
    ? [invalid(path, mode, "must be a number between 0 and 0777 (octal), both inclusive")]
    : [];

/** Checks a label selector that may be missing. */
export function labelSelectorErrors(selector: JsonObject, path: string): FieldError[] {
  const labels = selector["matchLabels"];
  return [
    ...labelErrors(labels, child(path, "matchLabels")),
    ...objectsAt(selector, "matchExpressions").flatMap((requirement, position) =>
      requirementErrors(requirement, index(child(path, "matchExpressions"), position)),
    ),
  ];
}

function requirementErrors(requirement: JsonObject, path: string): FieldError[] {
  const errors: FieldError[] = [];
  const values = stringsAt(requirement, "values");
  const operator = stringAt(requirement, "operator");
  if (["In", "NotIn"].includes(operator)) {
    const text = "must be specified when `operator` is 'In' or 'NotIn'";
    if (values.length === 0) errors.push(required(child(path, "values"), text));
  } else if (["Exists", "DoesNotExist"].includes(operator)) {
    const text = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
    if (values.length > 0) errors.push(forbidden(child(path, "values"), text));
  } else {
    errors.push(invalid(child(path, "operator"), operator, "not a valid selector operator"));
  }
  errors.push(...byRule(qualifiedName, child(path, "key"), stringAt(requirement, "key")));
  for (const [position, value] of values.entries()) {
    errors.push(...byRule(labelValue, index(child(path, "values"), position), value));
  }
  return errors;
}

/** A label selector with its fields in the order in which the server shows them. */
export function shownSelector(selector: JsonObject): JsonObject {
  const { matchLabels, matchExpressions } = selector;
  const sorted = Object.entries(objectAt(selector, "matchLabels")).sort(([a], [b]) =>
    a < b ? -1 : 1,
  );
  return {
    ...(matchLabels === undefined ? {} : { matchLabels: Object.fromEntries(sorted) }),
    ...(matchExpressions === undefined
      ? {}
      : {
          matchExpressions: objectsAt(selector, "matchExpressions").map((requirement) => {
            const { key = "", operator = "", values } = requirement;
            return { key, operator, ...(values === undefined ? {} : { values }) };
          }),
        }),
  };
}

/** Whether labels are those that a valid selector asks for; an empty selector asks for nothing. */
export function selects(selector: JsonObject, labels: JsonObject): boolean {
  const asked = Object.entries(objectAt(selector, "matchLabels"));
  if (asked.some(([name, value]) => labels[name] !== value)) return false;
  return objectsAt(selector, "matchExpressions").every((requirement) => {
    const value = labels[stringAt(requirement, "key")];
    const isListed = typeof value === "string" && stringsAt(requirement, "values").includes(value);
    switch (requirement["operator"]) {
      case "In":
        return isListed;
      case "NotIn":
        return !isListed;
      case "Exists":
        return value !== undefined;
      default:
        return value === undefined;
    }
  });
}
