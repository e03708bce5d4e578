import { type JsonObject, jsonEqual } from "#base/json.ts";
import { objectsAt, stringAt } from "../json-access.ts";
import { isExternallyAccessible } from "./defaults.ts";
import { mapItems, without } from "./edit.ts";
import {
  clusterIpsOf,
  mayHaveNodePorts,
  needsClusterIp,
  needsHealthPort,
  nodePortsOf,
  sameClusterIps,
  wantsNodePorts,
} from "./service-state.ts";

/**
 * The spec of a Service that is created or updated, with what follows from other fields: an update
 * keeps what was allocated and is not asked for anew, and loses what its new type has no use for.
 */
export function prepareServiceSpec(spec: JsonObject, old: JsonObject | undefined): JsonObject {
  if (old === undefined) return withPluralIps(spec);
  const kept = withPluralIpsOfUpdate(withAllocated(spec, old), old);
  const isExternalName = kept["type"] === "ExternalName";
  const pruned = withoutUnused(kept, old);
  return isExternalName ? without(pruned, "internalTrafficPolicy") : pruned;
}

/** Clients that know only of `clusterIP` mean `clusterIPs`, too. */
function withPluralIps(spec: JsonObject): JsonObject {
  const ip = stringAt(spec, "clusterIP");
  const isPlural = ip === "" || clusterIpsOf(spec).length > 0;
  const result = isPlural ? spec : { ...spec, clusterIPs: [ip] };
  return spec["type"] === "ExternalName" ? without(result, "internalTrafficPolicy") : result;
}

function withAllocated(spec: JsonObject, old: JsonObject): JsonObject {
  let result = spec;
  if (needsClusterIp(old) && needsClusterIp(spec)) {
    const { clusterIP = "" } = old;
    if (stringAt(spec, "clusterIP") === "" && clusterIP !== "") result = { ...result, clusterIP };
    const clusterIPs = clusterIpsOf(old);
    if (clusterIpsOf(spec).length === 0 && clusterIPs.length > 0) {
      result = { ...result, clusterIPs };
    }
  }
  if (wantsNodePorts(old) && wantsNodePorts(spec)) result = withOldNodePorts(result, old);
  const { healthCheckNodePort } = old;
  const lacksHealthPort = needsHealthPort(old) && needsHealthPort(spec);
  if (lacksHealthPort && healthCheckNodePort !== undefined && !("healthCheckNodePort" in spec)) {
    result = { ...result, healthCheckNodePort };
  }
  return result;
}

/** Ports keep their number on the nodes by their name, unless another port asks for that number. */
function withOldNodePorts(spec: JsonObject, old: JsonObject): JsonObject {
  const byName = new Map(
    objectsAt(old, "ports").map((port) => [stringAt(port, "name"), port["nodePort"]]),
  );
  const asked = new Set(nodePortsOf(spec));
  return mapItems(spec, "ports", (port) => {
    const nodePort = byName.get(stringAt(port, "name"));
    if ("nodePort" in port || typeof nodePort !== "number" || asked.has(nodePort)) return port;
    return { ...port, nodePort };
  });
}

function withPluralIpsOfUpdate(spec: JsonObject, old: JsonObject): JsonObject {
  const ip = stringAt(spec, "clusterIP");
  const oldIp = stringAt(old, "clusterIP");
  if (ip === oldIp) {
    const clusterIPs = clusterIpsOf(old);
    const isCleared = clusterIPs.length > 0 && clusterIpsOf(spec).length === 0;
    return isCleared ? { ...spec, clusterIPs } : spec;
  }
  if (!sameClusterIps(spec, old)) return spec;
  return ip === "" ? without(spec, "clusterIPs") : { ...spec, clusterIPs: [ip] };
}

/** Only what the client left as it was is taken away: what it changed is for validation to judge. */
function withoutUnused(spec: JsonObject, old: JsonObject): JsonObject {
  const unused: string[] = [];
  const isSame = (name: string) => jsonEqual(spec[name], old[name]);
  if (needsClusterIp(old) && !needsClusterIp(spec)) {
    if (isSame("clusterIP") && sameClusterIps(spec, old)) unused.push("clusterIP", "clusterIPs");
    unused.push(...["ipFamilies", "ipFamilyPolicy"].filter(isSame));
  }
  if (needsHealthPort(old) && !needsHealthPort(spec)) {
    unused.push(...["healthCheckNodePort"].filter(isSame));
  }
  if (old["type"] === "LoadBalancer" && spec["type"] !== "LoadBalancer") {
    unused.push(...["allocateLoadBalancerNodePorts", "loadBalancerClass"].filter(isSame));
  }
  if (isExternallyAccessible(old) && !isExternallyAccessible(spec)) {
    unused.push(...["externalTrafficPolicy"].filter(isSame));
  }
  const result = without(spec, ...unused);
  const oldPorts = nodePortsOf(old);
  const addsNone = nodePortsOf(spec).every((port) => oldPorts.includes(port));
  if (!mayHaveNodePorts(old) || mayHaveNodePorts(spec) || !addsNone) return result;
  return mapItems(result, "ports", (port) => without(port, "nodePort"));
}
