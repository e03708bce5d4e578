import { isObject, type JsonObject } from "#base/json.ts";
import { numberAt, objectAt, objectsAt, stringAt, stringsAt } from "../json-access.ts";
import {
  child,
  type FieldError,
  forbidden,
  index,
  invalid,
  notSupported,
  required,
} from "../schema/field-error.ts";
import { dnsLabel, qualifiedName, subdomain } from "../schema/name-rules.ts";
import { annotationErrors, labelErrors } from "../schema/object-meta.ts";
import { containerErrors, initContainerErrors } from "./container-rules.ts";
import { legacyIpErrors } from "./ip-address.ts";
import { resourceErrors } from "./resource-rules.ts";
import { byRule, oneOf } from "./rules.ts";
import {
  affinityErrors,
  deadlineErrors,
  spreadErrors,
  tolerationErrors,
} from "./scheduling-rules.ts";
import { seccompErrors, userErrors } from "./security-rules.ts";
import { volumeErrors } from "./volume-rules.ts";

const RESTART_POLICIES = ["Always", "OnFailure", "Never"];
const DNS_POLICIES = ["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
const PREEMPTION_POLICIES = ["PreemptLowerPriority", "Never"];

/** Checks a pod that is created, and what a pod must be after an update. */
export function podErrors(pod: JsonObject): FieldError[] {
  const spec = objectAt(pod, "spec");
  const errors = podSpecErrors(spec, "spec", true);
  if (stringAt(spec, "serviceAccountName") === "") errors.push(...accountlessTokens(spec));
  for (const list of ["containers", "initContainers"]) {
    for (const [position, container] of objectsAt(spec, list).entries()) {
      const image = stringAt(container, "image");
      if (image === image.trim()) continue;
      const text = "must not have leading or trailing whitespace";
      errors.push(invalid(`${index(child("spec", list), position)}.image`, image, text));
    }
  }
  return errors;
}

/** What may not be in a pod that is only being created. */
export function podCreationErrors(pod: JsonObject): FieldError[] {
  const spec = objectAt(pod, "spec");
  const errors: FieldError[] = [];
  if (objectsAt(spec, "ephemeralContainers").length > 0) {
    errors.push(forbidden("spec.ephemeralContainers", "cannot be set on create"));
  }
  if (stringAt(spec, "nodeName") !== "" && objectsAt(spec, "schedulingGates").length > 0) {
    const text = "cannot be set until all schedulingGates have been cleared";
    errors.push(forbidden("spec.nodeName", text));
  }
  return errors;
}

function accountlessTokens(spec: JsonObject): FieldError[] {
  return objectsAt(spec, "volumes").flatMap((volume, position) =>
    objectsAt(objectAt(volume, "projected"), "sources").flatMap((source, place) => {
      if (!isObject(source["serviceAccountToken"])) return [];
      const sources = `${index("spec.volumes", position)}.projected.sources`;
      const field = child(index(sources, place), "serviceAccountToken");
      return [forbidden(field, "must not be specified when serviceAccountName is not set")];
    }),
  );
}

/** Checks the template of pods that a Deployment or ReplicaSet makes. */
export function podTemplateErrors(template: JsonObject, path: string): FieldError[] {
  const { labels, annotations } = objectAt(template, "metadata");
  const spec = objectAt(template, "spec");
  const errors = [
    ...labelErrors(labels, child(path, "labels")),
    ...annotationErrors(annotations, child(path, "annotations")),
    ...podSpecErrors(spec, child(path, "spec"), false),
  ];
  if (objectsAt(spec, "ephemeralContainers").length > 0) {
    const text = "ephemeral containers not allowed in pod template";
    errors.push(forbidden(child(path, "spec.ephemeralContainers"), text));
  }
  return errors;
}

function podSpecErrors(spec: JsonObject, path: string, isPod: boolean): FieldError[] {
  const volumes = volumeErrors(objectsAt(spec, "volumes"), child(path, "volumes"));
  const context = {
    volumes: volumes.names,
    graceSeconds: numberAt(spec, "terminationGracePeriodSeconds"),
  };
  const containers = objectsAt(spec, "containers");
  const initContainers = objectsAt(spec, "initContainers");
  return [
    ...volumes.errors,
    ...containerErrors(containers, context, child(path, "containers")),
    ...initContainerErrors(initContainers, containers, context, child(path, "initContainers")),
    ...hostNetworkErrors(spec, path, isPod),
    ...oneOf(child(path, "restartPolicy"), stringAt(spec, "restartPolicy"), RESTART_POLICIES),
    ...oneOf(child(path, "dnsPolicy"), stringAt(spec, "dnsPolicy"), DNS_POLICIES),
    ...labelErrors(spec["nodeSelector"], child(path, "nodeSelector")),
    ...contextErrors(spec, child(path, "securityContext")),
    ...affinityErrors(objectAt(spec, "affinity"), child(path, "affinity")),
    ...dnsConfigErrors(spec, child(path, "dnsConfig")),
    ...gateErrors(spec, path),
    ...spreadErrors(
      objectsAt(spec, "topologySpreadConstraints"),
      child(path, "topologySpreadConstraints"),
    ),
    ...nameErrors(spec, path),
    ...deadlineErrors(spec, path),
    ...hostNameErrors(spec, path),
    ...tolerationErrors(objectsAt(spec, "tolerations"), child(path, "tolerations")),
    ...hostAliasErrors(objectsAt(spec, "hostAliases"), child(path, "hostAliases")),
    ...classErrors(spec, path),
    ...resourceErrors({ limits: objectAt(spec, "overhead") }, child(path, "overhead")),
  ];
}

function hostNetworkErrors(spec: JsonObject, path: string, isPod: boolean): FieldError[] {
  if (spec["hostNetwork"] !== true) return [];
  return objectsAt(spec, "containers").flatMap((container, position) =>
    objectsAt(container, "ports").flatMap((port, place) => {
      const [onHost, inside] = [numberAt(port, "hostPort"), numberAt(port, "containerPort")];
      if (onHost === inside || (onHost === 0 && !isPod)) return [];
      const ports = `${index(child(path, "containers"), position)}.ports`;
      const text = "must match `containerPort` when `hostNetwork` is true";
      return [invalid(child(index(ports, place), "hostPort"), onHost, text)];
    }),
  );
}

function contextErrors(spec: JsonObject, path: string): FieldError[] {
  const context = objectAt(spec, "securityContext");
  const errors = userErrors(context, ["fsGroup", "runAsUser", "runAsGroup"], path);
  if (spec["shareProcessNamespace"] === true && spec["hostPID"] === true) {
    const text = "ShareProcessNamespace and HostPID cannot both be enabled";
    errors.push(invalid(child(path, "shareProcessNamespace"), true, text));
  }
  return [...errors, ...seccompErrors(context, path)];
}

function dnsConfigErrors(spec: JsonObject, path: string): FieldError[] {
  const config = spec["dnsConfig"];
  const servers = stringsAt(objectAt(spec, "dnsConfig"), "nameservers");
  if (spec["dnsPolicy"] === "None") {
    if (!isObject(config)) {
      return [required(path, "must provide `dnsConfig` when `dnsPolicy` is None")];
    }
    if (servers.length === 0) {
      const text = "must provide at least one DNS nameserver when `dnsPolicy` is None";
      return [required(child(path, "nameservers"), text)];
    }
  }
  const errors = servers.flatMap((server, position) =>
    legacyIpErrors(index(child(path, "nameservers"), position), server),
  );
  if (servers.length > 3) {
    const text = "must not have more than 3 nameservers";
    errors.unshift(invalid(child(path, "nameservers"), servers, text));
  }
  return errors;
}

function gateErrors(spec: JsonObject, path: string): FieldError[] {
  return [
    ...objectsAt(spec, "readinessGates").flatMap((gate, position) => {
      const field = `${index(child(path, "readinessGates"), position)}.conditionType`;
      return byRule(qualifiedName, field, stringAt(gate, "conditionType"));
    }),
    ...objectsAt(spec, "schedulingGates").flatMap((gate, position) =>
      byRule(
        qualifiedName,
        index(child(path, "schedulingGates"), position),
        stringAt(gate, "name"),
      ),
    ),
  ];
}

function nameErrors(spec: JsonObject, path: string): FieldError[] {
  return ["serviceAccountName", "nodeName"].flatMap((name) => {
    const value = stringAt(spec, name);
    return value === "" ? [] : byRule(subdomain, child(path, name), value);
  });
}

function hostNameErrors(spec: JsonObject, path: string): FieldError[] {
  return ["hostname", "subdomain"].flatMap((name) => {
    const value = stringAt(spec, name);
    return value === "" ? [] : byRule(dnsLabel, child(path, name), value);
  });
}

function hostAliasErrors(aliases: readonly JsonObject[], path: string): FieldError[] {
  return aliases.flatMap((alias, position) => {
    const field = index(path, position);
    return [
      ...legacyIpErrors(child(field, "ip"), stringAt(alias, "ip")),
      ...stringsAt(alias, "hostnames").flatMap((name, place) =>
        byRule(subdomain, index(child(field, "hostnames"), place), name),
      ),
    ];
  });
}

function classErrors(spec: JsonObject, path: string): FieldError[] {
  const errors: FieldError[] = [];
  for (const name of ["priorityClassName", "runtimeClassName"]) {
    const value = spec[name];
    if (typeof value === "string") errors.push(...byRule(subdomain, child(path, name), value));
  }
  const policy = spec["preemptionPolicy"];
  if (typeof policy === "string" && !PREEMPTION_POLICIES.includes(policy)) {
    errors.push(notSupported(child(path, "preemptionPolicy"), policy, PREEMPTION_POLICIES));
  }
  return errors;
}
