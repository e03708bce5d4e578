import { isObject, type JsonObject } from "#base/json.ts";
import { numberAt, objectAt, objectsAt, stringAt, stringsAt } from "../json-access.ts";
import {
  child,
  type FieldError,
  forbidden,
  invalid,
  notSupported,
  required,
} from "../schema/field-error.ts";
import { matching } from "../schema/name-rules.ts";
import { byRule, notNegative, port } from "./rules.ts";

const HANDLERS = ["exec", "httpGet", "tcpSocket", "grpc", "sleep"];
const NUMBERS = [
  "initialDelaySeconds",
  "timeoutSeconds",
  "periodSeconds",
  "successThreshold",
  "failureThreshold",
];
const SCHEMES = ["HTTP", "HTTPS"];
const headerName = matching(
  "[-A-Za-z0-9]+",
  "a valid HTTP header must consist of alphanumeric characters or '-'",
  ["X-Header-Name"],
);

/** Checks the probes and hooks of a container that runs for good. */
export function probeErrors(
  container: JsonObject,
  graceSeconds: number,
  path: string,
): FieldError[] {
  const errors: FieldError[] = [];
  const lifecycle = objectAt(container, "lifecycle");
  for (const name of ["postStart", "preStop"]) {
    const hook = lifecycle[name];
    if (!isObject(hook)) continue;
    errors.push(...handlerErrors(hook, graceSeconds, child(child(path, "lifecycle"), name)));
  }
  for (const name of ["livenessProbe", "readinessProbe", "startupProbe"]) {
    const probe = container[name];
    if (isObject(probe)) errors.push(...oneProbeErrors(name, probe, graceSeconds, path));
  }
  return errors;
}

function oneProbeErrors(
  name: string,
  probe: JsonObject,
  graceSeconds: number,
  containerPath: string,
): FieldError[] {
  const path = child(containerPath, name);
  const errors = handlerErrors(probe, graceSeconds, path);
  for (const number of NUMBERS) errors.push(...notNegative(child(path, number), probe[number]));
  const grace = probe["terminationGracePeriodSeconds"];
  const gracePath = child(path, "terminationGracePeriodSeconds");
  if (typeof grace === "number" && grace <= 0) {
    errors.push(invalid(gracePath, grace, "must be greater than 0"));
  }
  if (name === "readinessProbe") {
    const text = "must not be set for readinessProbes";
    if (typeof grace === "number") errors.push(invalid(gracePath, grace, text));
  } else if (probe["successThreshold"] !== 1) {
    const threshold = numberAt(probe, "successThreshold");
    errors.push(invalid(child(path, "successThreshold"), threshold, "must be 1"));
  }
  return errors;
}

function handlerErrors(handler: JsonObject, graceSeconds: number, path: string): FieldError[] {
  const [first, ...others] = HANDLERS.filter((name) => isObject(handler[name]));
  if (first === undefined) return [required(path, "must specify a handler type")];
  const extra = others.map((name) =>
    forbidden(child(path, name), "may not specify more than 1 handler type"),
  );
  const action = objectAt(handler, first);
  return [...actionErrors(first, action, graceSeconds, child(path, first)), ...extra];
}

function actionErrors(
  name: string,
  action: JsonObject,
  graceSeconds: number,
  path: string,
): FieldError[] {
  switch (name) {
    case "exec":
      return stringsAt(action, "command").length === 0 ? [required(child(path, "command"))] : [];
    case "httpGet":
      return httpGetErrors(action, path);
    case "sleep": {
      const seconds = numberAt(action, "seconds");
      if (seconds >= 0 && seconds <= graceSeconds) return [];
      const text = `must be non-negative and less than terminationGracePeriodSeconds (${graceSeconds})`;
      return [invalid(path, seconds, text)];
    }
    default:
      return port(child(path, "port"), action["port"]);
  }
}

function httpGetErrors(action: JsonObject, path: string): FieldError[] {
  const errors = port(child(path, "port"), action["port"]);
  const scheme = stringAt(action, "scheme");
  if (!SCHEMES.includes(scheme)) {
    errors.push(notSupported(child(path, "scheme"), scheme, SCHEMES));
  }
  for (const header of objectsAt(action, "httpHeaders")) {
    errors.push(...byRule(headerName, child(path, "httpHeaders"), stringAt(header, "name")));
  }
  return errors;
}
