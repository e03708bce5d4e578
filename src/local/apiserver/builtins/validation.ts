import type { JsonObject } from "#base/json.ts";
import { numberAt, objectAt, stringAt, stringsAt } from "../json-access.ts";
import type { Kind } from "../kinds/kind.ts";
import { type FieldError, invalid } from "../schema/field-error.ts";
import { qualifiedName } from "../schema/name-rules.ts";
import { claimErrors } from "./claim-rules.ts";
import { configMapErrors, secretErrors } from "./config-rules.ts";
import { kindKey } from "./edit.ts";
import { endpointSliceErrors } from "./endpoint-slice-rules.ts";
import { eventErrors } from "./event-rules.ts";
import { nodeErrors, nodeStatusErrors } from "./node-rules.ts";
import { podCreationErrors, podErrors } from "./pod-rules.ts";
import { podStatusErrors, podUpdateErrors } from "./pod-update-rules.ts";
import { bindingErrors, roleErrors } from "./rbac-rules.ts";
import { byRule, NEGATIVE } from "./rules.ts";
import { serviceErrors, serviceStatusErrors } from "./service-rules.ts";
import { webhookErrors } from "./webhook-rules.ts";
import {
  deploymentErrors,
  deploymentStatusErrors,
  replicaSetErrors,
  replicaSetStatusErrors,
} from "./workload-rules.ts";

type Rule = (object: JsonObject, old: JsonObject | undefined) => FieldError[];

const RULES: { readonly [key: string]: Rule } = {
  "/ConfigMap": configMapErrors,
  "/Event": (event, old) => eventErrors(event, old, true),
  "/Namespace": namespaceErrors,
  "/Node": nodeErrors,
  "/PersistentVolumeClaim": claimErrors,
  "/Pod": (pod, old) =>
    old === undefined
      ? [...podErrors(pod), ...podCreationErrors(pod)]
      : [...podErrors(pod), ...podUpdateErrors(pod, old)],
  "/Secret": secretErrors,
  "/Service": serviceErrors,
  "admissionregistration.k8s.io/MutatingWebhookConfiguration": webhookErrors,
  "admissionregistration.k8s.io/ValidatingWebhookConfiguration": webhookErrors,
  "apps/Deployment": deploymentErrors,
  "apps/ReplicaSet": replicaSetErrors,
  "coordination.k8s.io/Lease": leaseErrors,
  "discovery.k8s.io/EndpointSlice": endpointSliceErrors,
  "events.k8s.io/Event": (event, old) => eventErrors(event, old, false),
  "rbac.authorization.k8s.io/ClusterRole": (role) => roleErrors(role, false),
  "rbac.authorization.k8s.io/ClusterRoleBinding": (binding, old) =>
    bindingErrors(binding, old, false),
  "rbac.authorization.k8s.io/Role": (role) => roleErrors(role, true),
  "rbac.authorization.k8s.io/RoleBinding": (binding, old) => bindingErrors(binding, old, true),
};

const STATUS_RULES: {
  readonly [key: string]: (object: JsonObject, old: JsonObject) => FieldError[];
} = {
  "/Namespace": namespaceStatusErrors,
  "/Node": nodeStatusErrors,
  "/Pod": podStatusErrors,
  "/Service": serviceStatusErrors,
  "apps/Deployment": deploymentStatusErrors,
  "apps/ReplicaSet": replicaSetStatusErrors,
};

/**
 * What is wrong with an object of a built-in kind, in the API server's words; its metadata is checked
 * elsewhere (`validateObjectMeta`), and that fields have the right types before all else. Of custom
 * kinds and CustomResourceDefinitions nothing is said here.
 * @param old the object as it is stored; undefined when it is created
 * @param subresource empty, or what is written: `status` checks only that
 */
export function validateBuiltin(
  kind: Kind,
  object: JsonObject,
  old: JsonObject | undefined,
  subresource: string,
): FieldError[] {
  if (kind.custom) return [];
  if (subresource !== "status") return RULES[kindKey(kind)]?.(object, old) ?? [];
  return old === undefined ? [] : (STATUS_RULES[kindKey(kind)]?.(object, old) ?? []);
}

/** What is wrong with an autoscaling/v1 Scale that a client sends. */
export function validateScale(scale: JsonObject): FieldError[] {
  const replicas = numberAt(objectAt(scale, "spec"), "replicas");
  return replicas < 0 ? [invalid("spec.replicas", replicas, NEGATIVE)] : [];
}

function namespaceErrors(namespace: JsonObject): FieldError[] {
  const path = "spec.finalizers";
  return stringsAt(objectAt(namespace, "spec"), "finalizers").flatMap((finalizer) => [
    ...byRule(qualifiedName, path, finalizer),
    ...(finalizer.includes("/") || finalizer === "kubernetes"
      ? []
      : [
          invalid(
            path,
            finalizer,
            "name is neither a standard finalizer name nor is it fully qualified",
          ),
        ]),
  ]);
}

function namespaceStatusErrors(namespace: JsonObject): FieldError[] {
  const phase = stringAt(objectAt(namespace, "status"), "phase");
  const isEnding = "deletionTimestamp" in objectAt(namespace, "metadata");
  const [expected, when] = isEnding ? ["Terminating", "is not empty"] : ["Active", "is empty"];
  if (phase === expected) return [];
  const text = `may only be '${expected}' if \`deletionTimestamp\` ${when}`;
  return [invalid("status.Phase", phase, text)];
}

function leaseErrors(lease: JsonObject): FieldError[] {
  const { leaseDurationSeconds: seconds, leaseTransitions: transitions } = objectAt(lease, "spec");
  const errors: FieldError[] = [];
  if (typeof seconds === "number" && seconds <= 0) {
    errors.push(invalid("spec.leaseDurationSeconds", seconds, "must be greater than 0"));
  }
  if (typeof transitions === "number" && transitions < 0) {
    errors.push(invalid("spec.leaseTransitions", transitions, NEGATIVE));
  }
  return errors;
}
