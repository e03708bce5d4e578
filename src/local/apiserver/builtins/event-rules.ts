import { isObject, type Json, type JsonObject, jsonEqual } from "#base/json.ts";
import { numberAt, objectAt, stringAt } from "../json-access.ts";
import { type FieldError, invalid, invalidStruct, required } from "../schema/field-error.ts";
import { qualifiedName, subdomain } from "../schema/name-rules.ts";
import { toCoreEvent } from "./events.ts";
import { byRule, IMMUTABLE } from "./rules.ts";

const REFERENCES = ["involvedObject", "related"];
const LENGTH_MAX = 128;
const NOTE_LENGTH_MAX = 1024;
/** Fields that an update through events.k8s.io may not change, as core/v1 names them. */
const FIXED = [
  "involvedObject",
  "reason",
  "message",
  "source",
  "firstTimestamp",
  "lastTimestamp",
  "count",
  "reason",
  "type",
  "eventTime",
  "action",
  "related",
  "reportingComponent",
  "reportingInstance",
];

/** Checks an Event of either group; errors name the fields as core/v1 has them, whichever it is. */
export function eventErrors(
  given: JsonObject,
  old: JsonObject | undefined,
  isCore: boolean,
): FieldError[] {
  const event = toCoreEvent(given);
  const errors = basicErrors(event, isCore ? "reportingComponent" : "reportingController");
  if (isCore) return errors;
  if (old === undefined) return [...errors, ...newErrors(event)];
  const before = toCoreEvent(old);
  const isSeriesChanged = !jsonEqual(event["series"] ?? null, before["series"] ?? null);
  return [
    ...errors,
    ...(isSeriesChanged ? seriesErrors(event) : []),
    ...FIXED.filter((name) => !jsonEqual(event[name] ?? null, before[name] ?? null)).map((name) =>
      fixedError(name, event[name] ?? null),
    ),
  ];
}

function fixedError(name: string, value: Json): FieldError {
  if (name === "reportingComponent") return invalid("reportingController", value, IMMUTABLE);
  if (!isObject(value) || !REFERENCES.includes(name)) return invalid(name, value, IMMUTABLE);
  // What is shown has the fields of the server's own struct.
  const shown = {
    Kind: stringAt(value, "kind"),
    Namespace: stringAt(value, "namespace"),
    Name: stringAt(value, "name"),
    UID: stringAt(value, "uid"),
    APIVersion: stringAt(value, "apiVersion"),
    ResourceVersion: stringAt(value, "resourceVersion"),
    FieldPath: stringAt(value, "fieldPath"),
  };
  return invalidStruct(name, shown, IMMUTABLE);
}

function basicErrors(event: JsonObject, controllerField: string): FieldError[] {
  const namespace = stringAt(objectAt(event, "metadata"), "namespace");
  const involved = stringAt(objectAt(event, "involvedObject"), "namespace");
  const isOld = typeof event["eventTime"] !== "string";
  const homes = ["default", ...(isOld ? [""] : ["kube-system"])];
  const isMatch = involved === "" ? homes.includes(namespace) : !isOld || involved === namespace;
  const errors: FieldError[] = [];
  if (!isMatch) {
    const text = "does not match event.namespace";
    errors.push(invalid("involvedObject.namespace", involved, text));
  }
  if (!isOld) errors.push(...reporterErrors(event, controllerField));
  return [...errors, ...byRule(subdomain, "namespace", namespace)];
}

function reporterErrors(event: JsonObject, controllerField: string): FieldError[] {
  const controller = stringAt(event, "reportingComponent");
  const errors: FieldError[] = [];
  if (controller === "") errors.push(required(controllerField));
  errors.push(...byRule(qualifiedName, controllerField, controller));
  for (const name of ["reportingInstance", "action", "reason"]) {
    const text = stringAt(event, name);
    if (text === "") errors.push(required(name));
    if (text.length > LENGTH_MAX) {
      errors.push(invalid(name, "", `can have at most ${LENGTH_MAX} characters`));
    }
  }
  if (Buffer.byteLength(stringAt(event, "message")) > NOTE_LENGTH_MAX) {
    errors.push(invalid("message", "", `can have at most ${NOTE_LENGTH_MAX} characters`));
  }
  return errors;
}

function newErrors(event: JsonObject): FieldError[] {
  const errors = seriesErrors(event);
  if (typeof event["eventTime"] !== "string") errors.push(required("eventTime"));
  const type = stringAt(event, "type");
  if (type !== "Normal" && type !== "Warning") {
    errors.push(invalid("type", "", `has invalid value: ${type}`));
  }
  const source = objectAt(event, "source");
  const unwanted: [string, boolean][] = [
    ["firstTimestamp", typeof event["firstTimestamp"] === "string"],
    ["lastTimestamp", typeof event["lastTimestamp"] === "string"],
    ["count", numberAt(event, "count") !== 0],
    ["source", stringAt(source, "component") !== "" || stringAt(source, "host") !== ""],
  ];
  for (const [name, isSet] of unwanted) {
    if (isSet) errors.push(invalid(name, "", "needs to be unset"));
  }
  return errors;
}

function seriesErrors(event: JsonObject): FieldError[] {
  const { series } = event;
  if (!isObject(series)) return [];
  const isRepeated = numberAt(series, "count") >= 2;
  return [
    ...(isRepeated ? [] : [invalid("series.count", "", "should be at least 2")]),
    ...(typeof series["lastObservedTime"] === "string"
      ? []
      : [required("series.lastObservedTime")]),
  ];
}
