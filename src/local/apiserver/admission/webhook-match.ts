import type { LabelSelector } from "#api/kubernetes.ts";
import { isObject, type JsonObject } from "#base/json.ts";
import { matchesSelector } from "#core/adapter/selector.ts";
import { numberAt, objectAt, objectsAt, stringAt, stringsAt } from "../json-access.ts";
import type { AdmissionRequest } from "../registry/admission.ts";

/** One webhook of a configuration, with the defaults of the API. */
export interface Webhook {
  readonly configuration: string;
  readonly name: string;
  readonly clientConfig: JsonObject;
  readonly rules: readonly JsonObject[];
  readonly failurePolicy: "Fail" | "Ignore";
  readonly namespaceSelector: LabelSelector;
  readonly objectSelector: LabelSelector;
  readonly matchConditions: readonly JsonObject[];
  /** Empty when the configuration says nothing. */
  readonly sideEffects: string;
  readonly timeoutSeconds: number;
  readonly reinvokes: boolean;
  readonly reviewVersions: readonly string[];
}

const TIMEOUT_DEFAULT_S = 10;

/** All webhooks in the order in which they are asked: by the name of their configuration. */
export function webhooksOf(configurations: readonly JsonObject[]): Webhook[] {
  const nameOf = (configuration: JsonObject) =>
    stringAt(objectAt(configuration, "metadata"), "name");
  return configurations
    .toSorted((a, b) => (nameOf(a) < nameOf(b) ? -1 : 1))
    .flatMap((configuration) =>
      objectsAt(configuration, "webhooks").map((webhook) => ({
        configuration: nameOf(configuration),
        name: stringAt(webhook, "name"),
        clientConfig: objectAt(webhook, "clientConfig"),
        rules: objectsAt(webhook, "rules"),
        failurePolicy: webhook["failurePolicy"] === "Ignore" ? "Ignore" : "Fail",
        namespaceSelector: selectorAt(webhook, "namespaceSelector"),
        objectSelector: selectorAt(webhook, "objectSelector"),
        matchConditions: objectsAt(webhook, "matchConditions"),
        sideEffects: stringAt(webhook, "sideEffects"),
        timeoutSeconds: numberAt(webhook, "timeoutSeconds") || TIMEOUT_DEFAULT_S,
        reinvokes: webhook["reinvocationPolicy"] === "IfNeeded",
        reviewVersions: stringsAt(webhook, "admissionReviewVersions"),
      })),
    );
}

const selectorAt = (webhook: JsonObject, name: string) =>
  objectAt(webhook, name) as unknown as LabelSelector;

/** Configurations of webhooks must stay mendable, whatever the webhooks say. */
export const isExempt = ({ kind }: AdmissionRequest) =>
  kind.group === "admissionregistration.k8s.io";

const isNamespaceItself = ({ kind }: AdmissionRequest) =>
  kind.group === "" && kind.plural === "namespaces";

/** The namespace that a request is about; a Namespace is in itself. */
export const namespaceOf = (request: AdmissionRequest) =>
  isNamespaceItself(request) ? request.name : request.namespace;

/** Whether a rule covers the request. */
export function matchesRule(rule: JsonObject, request: AdmissionRequest): boolean {
  const { kind, subresource, operation } = request;
  const isOneOf = (list: string, wanted: string) =>
    stringsAt(rule, list).some((item) => item === "*" || item === wanted);
  const isCluster = isNamespaceItself(request) || namespaceOf(request) === "";
  const scope = rule["scope"] ?? "*";
  return (
    (scope === "*" || scope === (isCluster ? "Cluster" : "Namespaced")) &&
    isOneOf("operations", operation) &&
    isOneOf("apiGroups", kind.group) &&
    isOneOf("apiVersions", kind.version) &&
    stringsAt(rule, "resources").some((item) => {
      const [resource = "", ...rest] = item.split("/");
      const asked = rest.join("/");
      return (
        (resource === "*" || resource === kind.plural) && (asked === "*" || asked === subresource)
      );
    })
  );
}

/**
 * Whether the namespaceSelector covers the request; objects outside all namespaces are never exempt.
 * @returns undefined when the request's namespace does not exist
 */
export function matchesNamespace(
  { namespaceSelector }: Webhook,
  request: AdmissionRequest,
  namespaceLabels: (name: string) => Readonly<Record<string, string>> | undefined,
): boolean | undefined {
  const name = namespaceOf(request);
  const isSelf = isNamespaceItself(request);
  if ((name === "" && !isSelf) || isEmpty(namespaceSelector)) return true;
  // The labels that a Namespace is about to have are not stored yet.
  const isWritten = isSelf && request.subresource === "" && request.operation !== "DELETE";
  const labels = isWritten ? labelsOf(request.object) : namespaceLabels(name);
  return labels === undefined ? undefined : matchesSelector(namespaceSelector, labels);
}

/** Whether the objectSelector covers the object as it was or as it will be. */
export function matchesObject({ objectSelector }: Webhook, request: AdmissionRequest): boolean {
  if (isEmpty(objectSelector)) return true;
  return [request.object, request.oldObject].some(
    (object) => object !== undefined && matchesSelector(objectSelector, labelsOf(object)),
  );
}

function labelsOf(object: JsonObject | undefined): Record<string, string> {
  const labels = objectAt(objectAt(object, "metadata"), "labels");
  const texts = Object.entries(labels).filter(
    (entry): entry is [string, string] => typeof entry[1] === "string",
  );
  return Object.fromEntries(texts);
}

function isEmpty({ matchLabels, matchExpressions = [] }: LabelSelector): boolean {
  const labels = isObject(matchLabels) ? Object.keys(matchLabels) : [];
  return labels.length === 0 && matchExpressions.length === 0;
}
