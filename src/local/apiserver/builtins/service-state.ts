import { type JsonObject, jsonEqual } from "#base/json.ts";
import { objectAt, objectsAt, stringAt, stringsAt } from "../json-access.ts";

/** The spec of a Service; an empty one when there is no Service. */
export const specOf = (service: JsonObject | undefined) => objectAt(service, "spec");

export const needsClusterIp = (spec: JsonObject) => spec["type"] !== "ExternalName";

/** Whether a Service is one whose ports the nodes may open. */
export const mayHaveNodePorts = (spec: JsonObject) =>
  spec["type"] === "NodePort" || spec["type"] === "LoadBalancer";

/** Whether ports on the nodes are found for a Service that asks for none in particular. */
export const wantsNodePorts = (spec: JsonObject) =>
  spec["type"] === "NodePort" ||
  (spec["type"] === "LoadBalancer" && spec["allocateLoadBalancerNodePorts"] !== false);

/** Whether load balancers ask a port of the nodes about their health. */
export const needsHealthPort = (spec: JsonObject) =>
  spec["type"] === "LoadBalancer" && spec["externalTrafficPolicy"] === "Local";

/** The ports on the nodes that a Service holds, without that for health checks. */
export function nodePortsOf(spec: JsonObject): number[] {
  return objectsAt(spec, "ports")
    .map((port) => port["nodePort"])
    .filter((port) => typeof port === "number" && port !== 0) as number[];
}

/** The addresses that a Service holds. */
export const clusterIpsOf = (spec: JsonObject) => stringsAt(spec, "clusterIPs");

export const isHeadless = (spec: JsonObject) => stringAt(spec, "clusterIP") === "None";

export const sameClusterIps = (a: JsonObject, b: JsonObject) =>
  jsonEqual(clusterIpsOf(a), clusterIpsOf(b));
