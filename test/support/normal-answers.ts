import { isObject, type Json, type JsonObject, jsonEqual } from "#base/json.ts";

/** Fields of metadata that differ from run to run, or that are the pipeline's. */
const VOLATILE = ["uid", "resourceVersion", "creationTimestamp", "managedFields", "generation"];
/**
 * What admission adds for controllers that this API does without: nobody would ever take the
 * finalizer and the taint away again.
 */
const PROTECTION = ["kubernetes.io/pvc-protection"];
const NOT_READY = [{ key: "node.kubernetes.io/not-ready", effect: "NoSchedule" }];
const CLUSTER_IP = /^(10|127)\.96\.\d+\.\d+$/;
const CLUSTER_IP_SHOWN = "127.96.0.10";
const NODE_PORT_FIRST = 30_000;

/**
 * An object with what differs from run to run made the same: names of versions are gone, allocated
 * addresses are all the same, ports on nodes are numbered in the order in which they first appear.
 */
export function normalAnswer(object: JsonObject): JsonObject {
  const { metadata, spec } = object;
  const result = { ...object };
  if (isObject(metadata)) {
    const kept = Object.entries(metadata).filter(
      ([name, value]) => !VOLATILE.includes(name) && !jsonEqual(value, PROTECTION),
    );
    result["metadata"] = Object.fromEntries(kept);
  }
  if (object["kind"] === "Pod") result["status"] = withoutTimes(object["status"] ?? {});
  if (object["kind"] === "Node" && isObject(spec) && jsonEqual(spec["taints"], NOT_READY)) {
    const { taints: _, ...rest } = spec;
    result["spec"] = rest;
  }
  if (object["kind"] === "Service" && isObject(spec)) result["spec"] = normalService(spec);
  return result;
}

/** A message with the addresses of Services made the same. */
export const normalMessage = (message: string) =>
  message.replace(/\b(10|127)\.96\.\d+\.\d+/g, CLUSTER_IP_SHOWN);

/** Conditions that the server sets have the time of the request. */
function withoutTimes(value: Json): Json {
  if (Array.isArray(value)) return value.map(withoutTimes);
  if (!isObject(value)) return value;
  const kept = Object.entries(value).filter(([name]) => name !== "lastTransitionTime");
  return Object.fromEntries(kept.map(([name, item]) => [name, withoutTimes(item)]));
}

function normalService(spec: JsonObject): JsonObject {
  const numbers = new Map<number, number>();
  const normalPort = (port: Json) => {
    if (typeof port !== "number") return port;
    if (!numbers.has(port)) numbers.set(port, NODE_PORT_FIRST + numbers.size);
    return numbers.get(port) ?? port;
  };
  const walk = (name: string, value: Json): Json => {
    if (name === "nodePort" || name === "healthCheckNodePort") return normalPort(value);
    if (typeof value === "string" && CLUSTER_IP.test(value)) return CLUSTER_IP_SHOWN;
    if (Array.isArray(value)) return value.map((item) => walk("", item));
    if (!isObject(value)) return value;
    return Object.fromEntries(
      Object.entries(value)
        .sort(([a], [b]) => (a < b ? 1 : -1))
        .map(([key, item]) => [key, walk(key, item)]),
    );
  };
  return walk("", spec) as JsonObject;
}
