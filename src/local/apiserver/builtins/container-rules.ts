import { isObject, type JsonObject } from "#base/json.ts";
import { numberAt, objectAt, objectsAt, stringAt } from "../json-access.ts";
import {
  child,
  duplicate,
  type FieldError,
  forbidden,
  index,
  invalid,
  notFound,
  notSupported,
  required,
} from "../schema/field-error.ts";
import { dnsLabel } from "../schema/name-rules.ts";
import { envErrors } from "./env-rules.ts";
import { probeErrors } from "./probe-rules.ts";
import { resourceErrors } from "./resource-rules.ts";
import { byRule, oneOf, PROTOCOLS, portName, portNumber } from "./rules.ts";
import { seccompErrors, userErrors } from "./security-rules.ts";
import { descendingPath, pullPolicyErrors } from "./volume-rules.ts";

const MESSAGE_POLICIES = ["File", "FallbackToLogsOnError"];
const PROPAGATIONS = ["Bidirectional", "HostToContainer", "None"];
const NOT_FOR_INIT = "may not be set for init containers without restartPolicy=Always";

/** What the rules about one container need to know about its pod. */
export interface PodContext {
  /** Names of the volumes that are in order. */
  readonly volumes: ReadonlySet<string>;
  readonly graceSeconds: number;
}

/** Checks the containers that make up a pod. */
export function containerErrors(
  containers: readonly JsonObject[],
  pod: PodContext,
  path: string,
): FieldError[] {
  if (containers.length === 0) return [required(path)];
  const errors: FieldError[] = [];
  const names = new Set<string>();
  for (const [position, container] of containers.entries()) {
    const field = index(path, position);
    const name = stringAt(container, "name");
    errors.push(...commonErrors(container, pod, field));
    if (names.has(name)) errors.push(duplicate(child(field, "name"), name));
    names.add(name);
    errors.push(...probeErrors(container, pod.graceSeconds, field));
  }
  return [...errors, ...hostPortErrors(containers, path)];
}

/** Checks the containers that run before those that make up the pod, or beside them. */
export function initContainerErrors(
  containers: readonly JsonObject[],
  others: readonly JsonObject[],
  pod: PodContext,
  path: string,
): FieldError[] {
  const errors: FieldError[] = [];
  const names = new Set(others.map((container) => stringAt(container, "name")));
  for (const [position, container] of containers.entries()) {
    const field = index(path, position);
    const name = stringAt(container, "name");
    errors.push(...commonErrors(container, pod, field));
    const policy = container["restartPolicy"];
    if (names.has(name)) errors.push(duplicate(child(field, "name"), name));
    else if (name !== "") names.add(name);
    errors.push(...hostPortErrors([container], path));
    if (policy === "Always") errors.push(...probeErrors(container, pod.graceSeconds, field));
    else {
      for (const part of ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"]) {
        if (isObject(container[part])) errors.push(forbidden(child(field, part), NOT_FOR_INIT));
      }
    }
  }
  return errors;
}

function commonErrors(container: JsonObject, pod: PodContext, path: string): FieldError[] {
  const name = stringAt(container, "name");
  const messages = stringAt(container, "terminationMessagePolicy");
  const errors =
    name === "" ? [required(child(path, "name"))] : byRule(dnsLabel, child(path, "name"), name);
  if (stringAt(container, "image") === "") errors.push(required(child(path, "image")));
  return [
    ...errors,
    ...oneOf(child(path, "terminationMessagePolicy"), messages, MESSAGE_POLICIES),
    ...containerPortErrors(objectsAt(container, "ports"), child(path, "ports")),
    ...envErrors(container, path),
    ...mountErrors(container, pod.volumes, child(path, "volumeMounts")),
    ...pullPolicyErrors(stringAt(container, "imagePullPolicy"), child(path, "imagePullPolicy")),
    ...resourceErrors(objectAt(container, "resources"), child(path, "resources")),
    ...contextErrors(container, child(path, "securityContext")),
  ];
}

function containerPortErrors(ports: readonly JsonObject[], path: string): FieldError[] {
  const errors: FieldError[] = [];
  const names = new Set<string>();
  for (const [position, port] of ports.entries()) {
    const field = index(path, position);
    const name = stringAt(port, "name");
    if (name !== "") {
      const wrong = byRule(portName, child(field, "name"), name);
      if (wrong.length > 0) errors.push(...wrong);
      else if (names.has(name)) errors.push(duplicate(child(field, "name"), name));
      else names.add(name);
    }
    const number = numberAt(port, "containerPort");
    if (number === 0) errors.push(required(child(field, "containerPort")));
    else errors.push(...portNumber(child(field, "containerPort"), number));
    const hostPort = numberAt(port, "hostPort");
    if (hostPort !== 0) errors.push(...portNumber(child(field, "hostPort"), hostPort));
    errors.push(...oneOf(child(field, "protocol"), stringAt(port, "protocol"), PROTOCOLS));
  }
  return errors;
}

function hostPortErrors(containers: readonly JsonObject[], path: string): FieldError[] {
  const errors: FieldError[] = [];
  const seen = new Set<string>();
  for (const [position, container] of containers.entries()) {
    for (const [place, port] of objectsAt(container, "ports").entries()) {
      const number = numberAt(port, "hostPort");
      if (number === 0) continue;
      const text = `${stringAt(port, "protocol")}/${stringAt(port, "hostIP")}/${number}`;
      const field = `${index(child(index(path, position), "ports"), place)}.hostPort`;
      if (seen.has(text)) errors.push(duplicate(field, text));
      seen.add(text);
    }
  }
  return errors;
}

function mountErrors(
  container: JsonObject,
  volumes: ReadonlySet<string>,
  path: string,
): FieldError[] {
  const errors: FieldError[] = [];
  const places = new Set<string>();
  for (const [position, mount] of objectsAt(container, "volumeMounts").entries()) {
    const field = index(path, position);
    const name = stringAt(mount, "name");
    const place = stringAt(mount, "mountPath");
    if (name === "") errors.push(required(child(field, "name")));
    if (!volumes.has(name)) errors.push(notFound(child(field, "name"), name));
    if (place === "") errors.push(required(child(field, "mountPath")));
    if (places.has(place)) errors.push(invalid(child(field, "mountPath"), place, "must be unique"));
    places.add(place);
    // Paths of these fields leave out which mount it is, in the real thing, too.
    const subPath = stringAt(mount, "subPath");
    if (subPath !== "") errors.push(...descendingPath(subPath, child(path, "subPath")));
    errors.push(...subPathExprErrors(mount, field, path));
    errors.push(...propagationErrors(mount, container, child(path, "mountPropagation")));
  }
  return errors;
}

function subPathExprErrors(mount: JsonObject, field: string, path: string): FieldError[] {
  const expression = stringAt(mount, "subPathExpr");
  if (expression === "") return [];
  const text = "subPathExpr and subPath are mutually exclusive";
  return [
    ...(stringAt(mount, "subPath") === ""
      ? []
      : [invalid(child(field, "subPathExpr"), expression, text)]),
    ...descendingPath(expression, child(path, "subPathExpr")),
  ];
}

function propagationErrors(mount: JsonObject, container: JsonObject, path: string): FieldError[] {
  const propagation = mount["mountPropagation"];
  if (typeof propagation !== "string") return [];
  if (!PROPAGATIONS.includes(propagation)) return [notSupported(path, propagation, PROPAGATIONS)];
  const isPrivileged = objectAt(container, "securityContext")["privileged"] === true;
  if (propagation !== "Bidirectional" || isPrivileged) return [];
  const text = "Bidirectional mount propagation is available only to privileged containers";
  return [forbidden(path, text)];
}

function contextErrors(container: JsonObject, path: string): FieldError[] {
  const context = container["securityContext"];
  if (!isObject(context)) return [];
  const errors: FieldError[] = [];
  errors.push(...userErrors(context, ["runAsUser", "runAsGroup"], path));
  errors.push(...seccompErrors(context, path));
  if (context["allowPrivilegeEscalation"] === false && context["privileged"] === true) {
    const text = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
    errors.push(invalid(path, context, text));
  }
  return errors;
}
