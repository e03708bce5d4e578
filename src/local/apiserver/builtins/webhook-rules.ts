import { isObject, type JsonObject } from "#base/json.ts";
import { numberAt, objectAt, objectsAt, stringAt, stringsAt } from "../json-access.ts";
import {
  child,
  duplicate,
  type FieldError,
  index,
  invalid,
  notSupported,
  required,
  tooMany,
} from "../schema/field-error.ts";
import { dns1035Label, qualifiedName, subdomain } from "../schema/name-rules.ts";
import { byRule, labelSelectorErrors, portNumber } from "./rules.ts";

const REVIEW_VERSIONS = ["v1", "v1beta1"];
const OPERATIONS = ["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
const SCOPES = ["*", "Cluster", "Namespaced"];
const SIDE_EFFECTS = ["None", "NoneOnDryRun"];
const TIMEOUT_SECONDS_MAX = 30;
const CONDITIONS_MAX = 64;
const URL_FORM = "; desired format: https://host[/path]";
const CHOICES: [string, string[]][] = [
  ["failurePolicy", ["Fail", "Ignore"]],
  ["matchPolicy", ["Equivalent", "Exact"]],
];

/** Checks the webhooks of a configuration; mutating ones have a policy more. */
export function webhookErrors(configuration: JsonObject): FieldError[] {
  const names = new Set<string>();
  return objectsAt(configuration, "webhooks").flatMap((webhook, position) => {
    const path = index("webhooks", position);
    const name = stringAt(webhook, "name");
    const isRepeated = name !== "" && names.has(name);
    names.add(name);
    return [
      ...oneWebhookErrors(webhook, path),
      ...reviewErrors(webhook, child(path, "admissionReviewVersions")),
      ...(isRepeated ? [duplicate(child(path, "name"), name)] : []),
    ];
  });
}

function oneWebhookErrors(webhook: JsonObject, path: string): FieldError[] {
  const errors = nameErrors(stringAt(webhook, "name"), child(path, "name"));
  for (const [position, rule] of objectsAt(webhook, "rules").entries()) {
    errors.push(...ruleErrors(rule, index(child(path, "rules"), position)));
  }
  for (const [name, supported] of CHOICES) {
    const value = stringAt(webhook, name);
    if (!supported.includes(value)) {
      errors.push(notSupported(child(path, name), value, supported));
    }
  }
  const effects = webhook["sideEffects"];
  const effectsPath = child(path, "sideEffects");
  if (typeof effects !== "string") {
    errors.push(required(effectsPath, `must specify one of ${SIDE_EFFECTS.join(", ")}`));
  } else if (!SIDE_EFFECTS.includes(effects)) {
    errors.push(notSupported(effectsPath, effects, SIDE_EFFECTS));
  }
  const seconds = numberAt(webhook, "timeoutSeconds");
  if (seconds < 1 || seconds > TIMEOUT_SECONDS_MAX) {
    const text = `the timeout value must be between 1 and ${TIMEOUT_SECONDS_MAX} seconds`;
    errors.push(invalid(child(path, "timeoutSeconds"), seconds, text));
  }
  for (const name of ["namespaceSelector", "objectSelector"]) {
    errors.push(...labelSelectorErrors(objectAt(webhook, name), child(path, name)));
  }
  const reinvocation = webhook["reinvocationPolicy"];
  const policies = ["IfNeeded", "Never"];
  if (typeof reinvocation === "string" && !policies.includes(reinvocation)) {
    errors.push(notSupported(child(path, "reinvocationPolicy"), reinvocation, policies));
  }
  return [
    ...errors,
    ...clientErrors(objectAt(webhook, "clientConfig"), child(path, "clientConfig")),
    ...conditionErrors(objectsAt(webhook, "matchConditions"), child(path, "matchConditions")),
  ];
}

function nameErrors(name: string, path: string): FieldError[] {
  if (name === "") return [required(path)];
  const wrong = subdomain(name);
  if (wrong.length > 0) return [invalid(path, name, wrong.join(","))];
  if (name.split(".").length >= 3) return [];
  const text = "should be a domain with at least three segments separated by dots";
  return [invalid(path, name, text)];
}

function ruleErrors(rule: JsonObject, path: string): FieldError[] {
  const errors: FieldError[] = [];
  const lists: [string, string][] = [
    ["operations", "operations"],
    ["apiGroups", "API groups"],
    ["apiVersions", "API versions"],
  ];
  for (const [name, words] of lists) {
    const values = stringsAt(rule, name);
    const field = child(path, name);
    if (values.length === 0) errors.push(required(field));
    if (values.length > 1 && values.includes("*")) {
      errors.push(invalid(field, values, `if '*' is present, must not specify other ${words}`));
    }
    for (const [position, value] of values.entries()) {
      if (name === "operations" && !OPERATIONS.includes(value)) {
        errors.push(notSupported(index(field, position), value, OPERATIONS));
      }
      if (name === "apiVersions" && value === "") errors.push(required(index(field, position)));
    }
  }
  errors.push(...resourceErrors(stringsAt(rule, "resources"), child(path, "resources")));
  const scope = stringAt(rule, "scope");
  if (!SCOPES.includes(scope)) errors.push(notSupported(child(path, "scope"), scope, SCOPES));
  return errors;
}

function resourceErrors(resources: string[], path: string): FieldError[] {
  const errors = resources.length === 0 ? [required(path)] : [];
  const wholes = new Set<string>();
  const parts = new Set<string>();
  for (const [position, resource] of resources.entries()) {
    const field = index(path, position);
    if (resource === "") errors.push(required(field));
    const slash = resource.indexOf("/");
    if (slash < 0) continue;
    const [name, sub] = [resource.slice(0, slash), resource.slice(slash + 1)];
    const clash = (other: string) =>
      invalid(field, resource, `if '${other}' is present, must not specify ${resource}`);
    if (wholes.has(name)) errors.push(clash(`${name}/*`));
    if (parts.has(sub)) errors.push(clash(`*/${sub}`));
    if (sub === "*") wholes.add(name);
    if (name === "*") parts.add(sub);
  }
  if (resources.length > 1 && resources.includes("*/*")) {
    errors.push(invalid(path, resources, "if '*/*' is present, must not specify other resources"));
  }
  const last = resources.filter((resource) => resource !== "" && !resource.includes("/")).at(-1);
  if (resources.includes("*") && last !== undefined && last !== "*") {
    const text = "if '*' is present, must not specify other resources without subresources";
    errors.push(invalid(path, resources, text));
  }
  return errors;
}

function clientErrors(config: JsonObject, path: string): FieldError[] {
  const { url, service } = config;
  if ((typeof url === "string") === isObject(service)) {
    return [required(path, "exactly one of url or service is required")];
  }
  if (typeof url === "string") return urlErrors(url, child(path, "url"));
  return serviceErrors(objectAt(config, "service"), child(path, "service"));
}

function urlErrors(text: string, path: string): FieldError[] {
  const errors: FieldError[] = [];
  const match = /^(?:([a-zA-Z][a-zA-Z0-9+.-]*):)?(?:\/\/([^/?#]*))?([^?#]*)(\?[^#]*)?(#.*)?$/.exec(
    text,
  );
  const [, scheme = "", authority = "", , query = "", fragment = ""] = match ?? [];
  const [host = "", user] = authority.split("@").reverse();
  if (scheme.toLowerCase() !== "https") {
    const rule = `'https' is the only allowed URL scheme${URL_FORM}`;
    errors.push(invalid(path, scheme.toLowerCase(), rule));
  }
  if (host === "") errors.push(invalid(path, host, `host must be specified${URL_FORM}`));
  if (user !== undefined) {
    errors.push(invalid(path, user, "user information is not permitted in the URL"));
  }
  if (fragment.length > 1) {
    errors.push(invalid(path, fragment.slice(1), "fragments are not permitted in the URL"));
  }
  if (query.length > 1) {
    errors.push(invalid(path, query.slice(1), "query parameters are not permitted in the URL"));
  }
  return errors;
}

function serviceErrors(service: JsonObject, path: string): FieldError[] {
  const errors: FieldError[] = [];
  // The real thing has these two the wrong way round, too.
  if (stringAt(service, "namespace") === "") errors.push(required(child(path, "name")));
  if (stringAt(service, "name") === "") errors.push(required(child(path, "namespace")));
  const port = numberAt(service, "port");
  const [wrong] = portNumber("", port);
  if (wrong !== undefined) {
    const text = "port is not valid: must be between 1 and 65535, inclusive";
    errors.push(invalid(child(path, "port"), port, text));
  }
  return [...errors, ...pathErrors(stringAt(service, "path"), child(path, "path"))];
}

function pathErrors(place: string, path: string): FieldError[] {
  if (place === "" || place === "/") return [];
  if (place === "//") return [invalid(path, place, "segment[0] may not be empty")];
  const errors: FieldError[] = [];
  if (!place.startsWith("/")) errors.push(invalid(path, place, "must start with a '/'"));
  const steps = place.slice(1).replace(/\/$/, "").split("/");
  for (const [position, step] of steps.entries()) {
    const wrong = step === "" ? [" may not be empty"] : subdomain(step).map((text) => `: ${text}`);
    errors.push(...wrong.map((text) => invalid(path, place, `segment[${position}]${text}`)));
  }
  return errors;
}

function conditionErrors(conditions: readonly JsonObject[], path: string): FieldError[] {
  const errors: FieldError[] = [];
  if (conditions.length > CONDITIONS_MAX) {
    errors.push(tooMany(path, conditions.length, CONDITIONS_MAX));
  }
  const names = new Set<string>();
  for (const [position, condition] of conditions.entries()) {
    const field = index(path, position);
    const name = stringAt(condition, "name");
    if (stringAt(condition, "expression").trim() === "") {
      errors.push(required(child(field, "expression")));
    }
    if (name === "") errors.push(required(child(field, "name")));
    else errors.push(...byRule(qualifiedName, child(field, "name"), name));
    if (name !== "" && names.has(name)) errors.push(duplicate(child(field, "name"), name));
    names.add(name);
  }
  return errors;
}

function reviewErrors(webhook: JsonObject, path: string): FieldError[] {
  const versions = stringsAt(webhook, "admissionReviewVersions");
  const known = REVIEW_VERSIONS.join(", ");
  if (versions.length === 0) return [required(path, `must specify one of ${known}`)];
  const errors = versions.flatMap((version, position) => {
    const field = index(path, position);
    const isRepeated = versions.indexOf(version) < position;
    if (isRepeated) return [invalid(field, version, "duplicate version")];
    return byRule(dns1035Label, field, version);
  });
  if (!versions.some((version) => REVIEW_VERSIONS.includes(version))) {
    errors.push(invalid(path, versions, `must include at least one of ${known}`));
  }
  return errors;
}
