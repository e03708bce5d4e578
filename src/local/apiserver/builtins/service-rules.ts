import { type JsonObject, jsonEqual } from "#base/json.ts";
import { numberAt, objectAt, objectsAt, stringAt, stringsAt } from "../json-access.ts";
import {
  child,
  duplicate,
  duplicateStruct,
  type FieldError,
  forbidden,
  index,
  invalid,
  notSupported,
  required,
} from "../schema/field-error.ts";
import { isCidr } from "../schema/formats.ts";
import { dnsLabel, qualifiedName, subdomain } from "../schema/name-rules.ts";
import { labelErrors } from "../schema/object-meta.ts";
import { isExternallyAccessible } from "./defaults.ts";
import { legacyIpErrors, specialIpErrors } from "./ip-address.ts";
import { byRule, IMMUTABLE, oneOf, PROTOCOLS, port, portNumber } from "./rules.ts";
import { clusterIpErrors } from "./service-ip-rules.ts";
import { clusterIpsOf, isHeadless, needsHealthPort, specOf } from "./service-state.ts";

const TYPES = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
const AFFINITIES = ["ClientIP", "None"];
const POLICIES = ["Cluster", "Local"];
const DISTRIBUTIONS = ["PreferClose", "PreferSameZone", "PreferSameNode"];
const AFFINITY_SECONDS_MAX = 86_400;
const ONLY_BALANCER = "may only be used when `type` is 'LoadBalancer'";
const NOT_EXTERNAL_NAME = "may not be set for ExternalName services";
const FIXED = "may not change once set";

/** Checks a Service after its addresses and ports are allocated. */
export function serviceErrors(service: JsonObject, old: JsonObject | undefined): FieldError[] {
  const spec = specOf(service);
  return [
    ...(old === undefined ? [] : updateErrors(spec, specOf(old))),
    ...typeErrors(spec),
    ...portErrors(spec),
    ...labelErrors(spec["selector"], "spec.selector"),
    ...affinityErrors(spec),
    ...clusterIpErrors(spec),
    ...stringsAt(spec, "externalIPs").flatMap((ip, position) => {
      const path = index("spec.externalIPs", position);
      const wrong = legacyIpErrors(path, ip);
      return wrong.length > 0 ? wrong : specialIpErrors(path, ip);
    }),
    ...oneOf("spec.type", stringAt(spec, "type"), TYPES),
    ...nodePortErrors(spec),
    ...samePortErrors(spec),
    ...balancerErrors(spec),
    ...trafficErrors(spec),
  ];
}

function updateErrors(spec: JsonObject, old: JsonObject): FieldError[] {
  const errors: FieldError[] = [];
  const isName = (one: JsonObject) => one["type"] === "ExternalName";
  const wasHeadless = isHeadless(old);
  if (!isName(spec) && !isName(old) && !(wasHeadless && isHeadless(spec))) {
    errors.push(...changedIps(spec, old));
    if (wasHeadless === isHeadless(spec)) errors.push(...changedFamilies(spec, old));
  }
  const isBalancer = spec["type"] === "LoadBalancer" && old["type"] === "LoadBalancer";
  if (isBalancer && spec["loadBalancerClass"] !== old["loadBalancerClass"]) {
    errors.push(invalid("spec.loadBalancerClass", spec["loadBalancerClass"] ?? null, FIXED));
  }
  errors.push(...balancerClassErrors(spec));
  const both = needsHealthPort(spec) && needsHealthPort(old);
  if (both && spec["healthCheckNodePort"] !== old["healthCheckNodePort"]) {
    errors.push(forbidden("spec.healthCheckNodePort", IMMUTABLE));
  }
  return errors;
}

function changedIps(spec: JsonObject, old: JsonObject): FieldError[] {
  const [now, before] = [clusterIpsOf(spec), clusterIpsOf(old)];
  if (now.length === before.length) {
    return before.flatMap((ip, position) =>
      ip === now[position] ? [] : [invalid(index("spec.clusterIPs", position), now, FIXED)],
    );
  }
  const path = index("spec.clusterIPs", 0);
  if (now.length === 0) return [invalid(path, now, "primary clusterIP can not be unset")];
  const [first] = before;
  return first === undefined || now[0] === first ? [] : [invalid(path, now, FIXED)];
}

function changedFamilies(spec: JsonObject, old: JsonObject): FieldError[] {
  const [now, before] = [stringsAt(spec, "ipFamilies"), stringsAt(old, "ipFamilies")];
  if (now.length !== before.length || jsonEqual(now, before)) return [];
  return [invalid(index("spec.ipFamilies", 0), now, FIXED)];
}

function typeErrors(spec: JsonObject): FieldError[] {
  const errors: FieldError[] = [];
  const { type } = spec;
  const isName = type === "ExternalName";
  if (objectsAt(spec, "ports").length === 0 && !isHeadless(spec) && !isName) {
    errors.push(required("spec.ports"));
  }
  if ((type === "LoadBalancer" || type === "NodePort") && isHeadless(spec)) {
    const text = `may not be set to 'None' for ${type} services`;
    errors.push(invalid(index("spec.clusterIPs", 0), "None", text));
  }
  return isName ? [...errors, ...externalNameErrors(spec)] : errors;
}

function externalNameErrors(spec: JsonObject): FieldError[] {
  const errors: FieldError[] = [];
  if (clusterIpsOf(spec).length > 0) errors.push(forbidden("spec.clusterIPs", NOT_EXTERNAL_NAME));
  for (const name of ["ipFamilies", "ipFamilyPolicy"]) {
    if (name in spec) errors.push(forbidden(child("spec", name), NOT_EXTERNAL_NAME));
  }
  const target = stringAt(spec, "externalName").replace(/\.$/, "");
  const path = "spec.externalName";
  return [...errors, ...(target === "" ? [required(path)] : byRule(subdomain, path, target))];
}

function portErrors(spec: JsonObject): FieldError[] {
  const errors: FieldError[] = [];
  const ports = objectsAt(spec, "ports");
  const names = new Set<string>();
  for (const [position, entry] of ports.entries()) {
    const path = index("spec.ports", position);
    const name = stringAt(entry, "name");
    if (name === "" && ports.length > 1) errors.push(required(child(path, "name")));
    else if (name !== "") {
      errors.push(...byRule(dnsLabel, child(path, "name"), name));
      if (names.has(name)) errors.push(duplicate(child(path, "name"), name));
      names.add(name);
    }
    const protocol = stringAt(entry, "protocol");
    errors.push(
      ...portNumber(child(path, "port"), numberAt(entry, "port")),
      ...oneOf(child(path, "protocol"), protocol, PROTOCOLS),
      ...port(child(path, "targetPort"), entry["targetPort"]),
    );
    const application = entry["appProtocol"];
    if (typeof application === "string") {
      errors.push(...byRule(qualifiedName, child(path, "appProtocol"), application));
    }
  }
  return errors;
}

function affinityErrors(spec: JsonObject): FieldError[] {
  const affinity = stringAt(spec, "sessionAffinity");
  const errors = oneOf("spec.sessionAffinity", affinity, AFFINITIES);
  if (affinity !== "ClientIP") return errors;
  const client = objectAt(objectAt(spec, "sessionAffinityConfig"), "clientIP");
  const seconds = numberAt(client, "timeoutSeconds");
  if (seconds > 0 && seconds <= AFFINITY_SECONDS_MAX) return errors;
  const path = "spec.sessionAffinityConfig.clientIP.timeoutSeconds";
  const text = `must be greater than 0 and less than ${AFFINITY_SECONDS_MAX}`;
  return [...errors, invalid(path, seconds, text)];
}

function nodePortErrors(spec: JsonObject): FieldError[] {
  const errors: FieldError[] = [];
  const repeated: FieldError[] = [];
  const seen = new Set<string>();
  for (const [position, entry] of objectsAt(spec, "ports").entries()) {
    const number = numberAt(entry, "nodePort");
    if (number === 0) continue;
    const path = `${index("spec.ports", position)}.nodePort`;
    if (spec["type"] === "ClusterIP") {
      errors.push(forbidden(path, "may not be used when `type` is 'ClusterIP'"));
    }
    const text = `${stringAt(entry, "protocol")}/${number}`;
    if (seen.has(text)) repeated.push(duplicate(path, number));
    seen.add(text);
  }
  return [...errors, ...repeated];
}

function samePortErrors(spec: JsonObject): FieldError[] {
  const seen = new Set<string>();
  return objectsAt(spec, "ports").flatMap((entry, position) => {
    const { protocol = "", port: number = 0 } = entry;
    const text = `${protocol}/${number}`;
    const isRepeated = seen.has(text);
    seen.add(text);
    if (!isRepeated) return [];
    // What is shown has the fields of the server's own struct.
    const shown = {
      Name: "",
      Protocol: protocol,
      AppProtocol: null,
      Port: number,
      TargetPort: 0,
      NodePort: 0,
    };
    return [duplicateStruct(index("spec.ports", position), shown)];
  });
}

function balancerErrors(spec: JsonObject): FieldError[] {
  const errors: FieldError[] = [];
  const isBalancer = spec["type"] === "LoadBalancer";
  const path = "spec.LoadBalancerSourceRanges";
  const ranges = stringsAt(spec, "loadBalancerSourceRanges");
  if (ranges.length > 0 && !isBalancer) errors.push(forbidden(path, ONLY_BALANCER));
  for (const [position, range] of ranges.map((text) => text.trim()).entries()) {
    if (isCidr(range)) continue;
    const text = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
    errors.push(invalid(index(path, position), range, text));
  }
  if ("allocateLoadBalancerNodePorts" in spec && !isBalancer) {
    errors.push(forbidden("spec.allocateLoadBalancerNodePorts", ONLY_BALANCER));
  }
  return [...errors, ...balancerClassErrors(spec)];
}

function balancerClassErrors(spec: JsonObject): FieldError[] {
  const { loadBalancerClass } = spec;
  const path = "spec.loadBalancerClass";
  if (typeof loadBalancerClass !== "string") return [];
  if (spec["type"] !== "LoadBalancer") return [forbidden(path, ONLY_BALANCER)];
  return byRule(qualifiedName, path, loadBalancerClass);
}

function trafficErrors(spec: JsonObject): FieldError[] {
  const errors: FieldError[] = [];
  const external = stringAt(spec, "externalTrafficPolicy");
  const path = "spec.externalTrafficPolicy";
  if (isExternallyAccessible(spec)) errors.push(...oneOf(path, external, POLICIES));
  else if (external !== "") {
    errors.push(invalid(path, external, "may only be set for externally-accessible services"));
  }
  const healthPort = numberAt(spec, "healthCheckNodePort");
  const healthPath = "spec.healthCheckNodePort";
  if (needsHealthPort(spec)) {
    errors.push(
      ...(healthPort === 0 ? [required(healthPath)] : portNumber(healthPath, healthPort)),
    );
  } else if (healthPort !== 0) {
    const text =
      "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
    errors.push(invalid(healthPath, healthPort, text));
  }
  const internal = spec["internalTrafficPolicy"];
  if (typeof internal === "string" && !POLICIES.includes(internal)) {
    errors.push(notSupported("spec.internalTrafficPolicy", internal, POLICIES));
  }
  const distribution = spec["trafficDistribution"];
  if (typeof distribution === "string" && !DISTRIBUTIONS.includes(distribution)) {
    errors.push(notSupported("spec.trafficDistribution", distribution, DISTRIBUTIONS));
  }
  return errors;
}

/** Checks the addresses that a load balancer says it has. */
export function serviceStatusErrors(service: JsonObject): FieldError[] {
  const balancer = objectAt(objectAt(service, "status"), "loadBalancer");
  const path = "status.loadBalancer.ingress";
  const ingress = objectsAt(balancer, "ingress");
  if (ingress.length > 0 && specOf(service)["type"] !== "LoadBalancer") {
    return [forbidden(path, "may only be used when `spec.type` is 'LoadBalancer'")];
  }
  return ingress.flatMap((entry, position) => ingressErrors(entry, index(path, position)));
}

function ingressErrors(entry: JsonObject, path: string): FieldError[] {
  const errors: FieldError[] = [];
  const [ip, host, mode] = [stringAt(entry, "ip"), stringAt(entry, "hostname"), entry["ipMode"]];
  if (ip !== "") errors.push(...legacyIpErrors(child(path, "ip"), ip));
  if (typeof mode === "string" && ip === "") {
    errors.push(forbidden(child(path, "ipMode"), "may not be specified when `ip` is not set"));
  } else if (typeof mode === "string" && !["Proxy", "VIP"].includes(mode)) {
    errors.push(notSupported(child(path, "ipMode"), mode, ["Proxy", "VIP"]));
  }
  if (host === "") return errors;
  errors.push(...byRule(subdomain, child(path, "hostname"), host));
  if (legacyIpErrors(path, host).length === 0) {
    const text = "must be a DNS name, not an IP address";
    errors.push(invalid(child(path, "hostname"), host, text));
  }
  return errors;
}
