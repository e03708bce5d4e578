import type { Json, JsonObject } from "#base/json.ts";
import { without } from "./edit.ts";
import { formOfDefinition } from "./go-form.ts";

/** Fields of core/v1 Events that have another name in events.k8s.io/v1. */
const NEW_NAMES: { readonly [core: string]: string } = {
  involvedObject: "regarding",
  message: "note",
  source: "deprecatedSource",
  firstTimestamp: "deprecatedFirstTimestamp",
  lastTimestamp: "deprecatedLastTimestamp",
  count: "deprecatedCount",
  reportingComponent: "reportingController",
};
const OLD_NAMES = Object.fromEntries(Object.entries(NEW_NAMES).map(([core, name]) => [name, core]));

/** An events.k8s.io/v1 Event as the core/v1 Event that is stored of it. */
export function toCoreEvent(event: JsonObject): JsonObject {
  if (event["apiVersion"] === "v1") return event;
  return formOfDefinition("io.k8s.api.core.v1.Event", renamed(event, OLD_NAMES, "v1"));
}

/** A core/v1 Event, as it is stored, as events.k8s.io/v1 shows it. */
export function toEventsEvent(event: JsonObject): JsonObject {
  if (event["apiVersion"] === "events.k8s.io/v1") return event;
  const object = renamed(event, NEW_NAMES, "events.k8s.io/v1");
  return formOfDefinition("io.k8s.api.events.v1.Event", object);
}

function renamed(
  event: JsonObject,
  names: { readonly [name: string]: string },
  apiVersion: string,
): JsonObject {
  const fields = Object.entries(without(event, "apiVersion", "kind")).map(
    ([name, value]): [string, Json] => [names[name] ?? name, value],
  );
  return { kind: "Event", apiVersion, ...Object.fromEntries(fields) };
}
