import { isObject, type Json, type JsonObject, jsonEqual } from "#base/json.ts";
import { objectAt, objectsAt, stringAt } from "../json-access.ts";
import {
  child,
  type FieldError,
  forbidden,
  index,
  invalid,
  required,
} from "../schema/field-error.ts";
import { qualifiedName } from "../schema/name-rules.ts";
import { mapItems } from "./edit.ts";
import { familyOf, legacyIpErrors } from "./ip-address.ts";
import { byRule, IMMUTABLE, inRange } from "./rules.ts";
import { tolerationErrors } from "./scheduling-rules.ts";
import { unifiedDiff } from "./unified-diff.ts";

const DEADLINE_MAX = 2 ** 31 - 1;
const MUTABLE_FIELDS = [
  "`spec.containers[*].image`",
  "`spec.initContainers[*].image`",
  "`spec.activeDeadlineSeconds`",
  "`spec.tolerations` (only additions to existing tolerations)",
  "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)",
];
const SYSTEM_CONDITIONS = ["PodScheduled", "Ready", "Initialized"];

/** What an update of a pod may not change. */
export function podUpdateErrors(pod: JsonObject, old: JsonObject): FieldError[] {
  const [spec, before] = [objectAt(pod, "spec"), objectAt(old, "spec")];
  for (const list of ["containers", "initContainers"]) {
    if (objectsAt(spec, list).length !== objectsAt(before, list).length) {
      const text = "pod updates may not add or remove containers";
      return [forbidden(child("spec", list), text)];
    }
  }
  const images = ["containers", "initContainers"].flatMap((list) =>
    objectsAt(spec, list).flatMap((container, position) => {
      const path = `${index(child("spec", list), position)}.image`;
      return imageErrors(stringAt(container, "image"), path);
    }),
  );
  const deadline = deadlineUpdateErrors(spec, before);
  if (deadline.length > 0 && "activeDeadlineSeconds" in spec) return [...images, ...deadline];
  const errors = [
    ...images,
    ...deadline,
    ...lostTolerations(spec, before),
    ...addedGates(objectsAt(spec, "schedulingGates"), objectsAt(before, "schedulingGates")),
  ];
  const comparable = withMutableOf(spec, before);
  if (jsonEqual(comparable, before)) return errors;
  const text = `pod updates may not change fields other than ${MUTABLE_FIELDS.join(",")}`;
  return [...errors, forbidden("spec", `${text}\n${unifiedDiff(before, comparable)}`)];
}

/** Told of every pod; of one that is updated the API server tells it once more. */
function imageErrors(image: string, path: string): FieldError[] {
  if (image === "") return [required(path)];
  if (image === image.trim()) return [];
  return [invalid(path, image, "must not have leading or trailing whitespace")];
}

function deadlineUpdateErrors(spec: JsonObject, before: JsonObject): FieldError[] {
  const path = "spec.activeDeadlineSeconds";
  const [seconds, was] = [spec["activeDeadlineSeconds"], before["activeDeadlineSeconds"]];
  if (typeof seconds === "number") {
    const errors = inRange(path, seconds, 0, DEADLINE_MAX);
    if (errors.length > 0 || typeof was !== "number" || was >= seconds) return errors;
    return [invalid(path, seconds, "must be less than or equal to previous value")];
  }
  if (typeof was !== "number") return [];
  return [invalid(path, null, "must not update from a positive integer to nil value")];
}

function lostTolerations(spec: JsonObject, before: JsonObject): FieldError[] {
  const path = "spec.tolerations";
  const tolerations = objectsAt(spec, "tolerations");
  const withoutSeconds = (toleration: JsonObject) => ({ ...toleration, tolerationSeconds: null });
  const isLost = objectsAt(before, "tolerations").some(
    (old) => !tolerations.some((now) => jsonEqual(withoutSeconds(now), withoutSeconds(old))),
  );
  const text = "existing toleration can not be modified except its tolerationSeconds";
  return isLost ? [forbidden(path, text)] : tolerationErrors(tolerations, path);
}

function addedGates(gates: readonly JsonObject[], before: readonly JsonObject[]): FieldError[] {
  const known = before.map((gate) => gate["name"]);
  return gates.flatMap((gate, position) => {
    if (known.includes(gate["name"])) return [];
    const text = "only deletion is allowed, but found new scheduling gate";
    const path = `${index("spec.schedulingGates", position)}.name`;
    return [forbidden(path, `${text} '${gate["name"]}'`)];
  });
}

/** The new spec with the old values of what may change, so that whatever still differs may not. */
function withMutableOf(spec: JsonObject, before: JsonObject): JsonObject {
  let result = spec;
  for (const list of ["containers", "initContainers"]) {
    const images = objectsAt(before, list).map((container) => container["image"]);
    result = mapItems(result, list, (container, position) => ({
      ...container,
      image: images[position] ?? "",
    }));
  }
  const { activeDeadlineSeconds: _, tolerations: __, schedulingGates: ___, ...rest } = result;
  const kept = Object.entries(before).filter(([name]) =>
    ["activeDeadlineSeconds", "tolerations", "schedulingGates"].includes(name),
  );
  return { ...rest, ...Object.fromEntries(kept) };
}

/** What is wrong with the status of a pod. */
export function podStatusErrors(pod: JsonObject, old: JsonObject): FieldError[] {
  const [status, before] = [objectAt(pod, "status"), objectAt(old, "status")];
  const errors = objectsAt(status, "conditions").flatMap((condition, position) => {
    const type = stringAt(condition, "type");
    if (SYSTEM_CONDITIONS.includes(type)) return [];
    return byRule(qualifiedName, `${index("status.conditions", position)}.Type`, type);
  });
  if (status["qosClass"] !== before["qosClass"]) {
    errors.push(invalid("status.qosClass", stringAt(status, "qosClass"), IMMUTABLE));
  }
  const policy = stringAt(objectAt(pod, "spec"), "restartPolicy");
  return [
    ...errors,
    ...revivedContainers(status, before, policy),
    ...podIpErrors(objectsAt(status, "podIPs")),
  ];
}

/** A container that has ended does not run again when its pod does not restart it. */
function revivedContainers(status: JsonObject, before: JsonObject, policy: string): FieldError[] {
  if (policy === "Always") return [];
  const now = objectsAt(status, "containerStatuses");
  return objectsAt(before, "containerStatuses").flatMap((old, position) => {
    const ended = objectAt(old, "state")["terminated"];
    if (!isObject(ended) || (policy === "OnFailure" && ended["exitCode"] !== 0)) return [];
    const isRevived = now.some(
      (container) =>
        container["name"] === old["name"] && !isObject(objectAt(container, "state")["terminated"]),
    );
    const path = `${index("status.containerStatuses", position)}.state`;
    return isRevived ? [forbidden(path, "may not be transitioned to non-terminated state")] : [];
  });
}

function podIpErrors(ips: readonly JsonObject[]): FieldError[] {
  const path = "status.podIPs";
  const texts = ips.map((item) => stringAt(item, "ip"));
  const errors = texts.flatMap((ip, position) => legacyIpErrors(index(path, position), ip));
  if (ips.length < 2 || errors.length > 0) return errors;
  const shown: Json = ips.map((item) => ({ IP: item["ip"] ?? "" }));
  if (ips.length > 2 || new Set(texts.map(familyOf)).size < 2) {
    errors.push(invalid(path, shown, "may specify no more than one IP for each IP family"));
  }
  return errors;
}
