import { isObject, type Json, type JsonObject } from "#base/json.ts";
import { numberAt, objectAt, objectsAt, stringAt } from "../json-access.ts";
import { age } from "./human-duration.ts";

/** What the containers of one sort (init or main) add to a pod's row. */
interface Tally {
  ready: number;
  restarts: number;
  /** RFC 3339 of the latest restart; timestamps of one format compare as texts. */
  lastRestart: string;
}

/** The cells of a pod: name, ready, status, restarts, age; IP, node, nominated node, readiness gates. */
export function podCells(pod: JsonObject, nowMs: number): Json[] {
  const spec = objectAt(pod, "spec");
  const status = objectAt(pod, "status");
  const metadata = objectAt(pod, "metadata");
  const total =
    objectsAt(spec, "containers").length +
    objectsAt(spec, "initContainers").filter(isRestartable).length;
  const { reason, tally } = podStatus(pod);
  const restarts =
    tally.restarts > 0 && tally.lastRestart !== ""
      ? `${tally.restarts} (${age(tally.lastRestart, nowMs)} ago)`
      : String(tally.restarts);
  return [
    stringAt(metadata, "name"),
    `${tally.ready}/${total}`,
    reason,
    restarts,
    age(metadata["creationTimestamp"], nowMs),
    stringAt(objectsAt(status, "podIPs")[0] ?? {}, "ip") || "<none>",
    stringAt(spec, "nodeName") || "<none>",
    stringAt(status, "nominatedNodeName") || "<none>",
    readinessGates(spec, status),
  ];
}

/** The row conditions by which `kubectl` may hide pods that are done. */
export function podRowConditions(pod: JsonObject): Json[] | undefined {
  const phase = stringAt(objectAt(pod, "status"), "phase");
  const completed = (message: string) => [
    { type: "Completed", status: "True", reason: phase, message },
  ];
  if (phase === "Succeeded") return completed("The pod has completed successfully.");
  return phase === "Failed" ? completed("The pod failed.") : undefined;
}

/** The word in the STATUS column, with the numbers that are found on the way to it. */
function podStatus(pod: JsonObject): { reason: string; tally: Tally } {
  const status = objectAt(pod, "status");
  const phase = stringAt(status, "phase");
  const conditions = objectsAt(status, "conditions");
  const isGated = conditions.some(
    (condition) =>
      condition["type"] === "PodScheduled" && condition["reason"] === "SchedulingGated",
  );
  let reason = isGated ? "SchedulingGated" : stringAt(status, "reason") || phase;
  const init = initTally(pod);
  let tally = init.all;
  if (init.reason !== undefined) reason = init.reason;
  if (init.reason === undefined || isTrue(conditions, "Initialized")) {
    const main = mainTally(objectsAt(status, "containerStatuses"));
    tally = sum(init.restartable, main.tally);
    reason = main.reason ?? reason;
    // One container that still runs makes the pod more than completed.
    if (reason === "Completed" && main.hasRunning) {
      reason = isTrue(conditions, "Ready") ? "Running" : "NotReady";
    }
  }
  if (objectAt(pod, "metadata")["deletionTimestamp"] !== undefined) {
    if (stringAt(status, "reason") === "NodeLost") reason = "Unknown";
    else if (phase !== "Failed" && phase !== "Succeeded") reason = "Terminating";
  }
  return { reason, tally };
}

const NOTHING: Tally = { ready: 0, restarts: 0, lastRestart: "" };

const sum = (a: Tally, b: Tally): Tally => ({
  ready: a.ready + b.ready,
  restarts: a.restarts + b.restarts,
  lastRestart: [a.lastRestart, b.lastRestart].sort()[1] ?? "",
});

const tallyOf = (container: JsonObject): Tally => ({
  ready: 0,
  restarts: numberAt(container, "restartCount"),
  lastRestart: stringAt(objectAt(objectAt(container, "lastState"), "terminated"), "finishedAt"),
});

const isRestartable = (container: JsonObject) => container["restartPolicy"] === "Always";

/** `reason` is set while the pod still initializes. */
function initTally(pod: JsonObject): { all: Tally; restartable: Tally; reason?: string } {
  const specs = objectsAt(objectAt(pod, "spec"), "initContainers");
  const statuses = objectsAt(objectAt(pod, "status"), "initContainerStatuses");
  let all = NOTHING;
  let restartable = NOTHING;
  for (const [position, container] of statuses.entries()) {
    const isSidecar = specs.some(
      (spec) => spec["name"] === container["name"] && isRestartable(spec),
    );
    all = sum(all, tallyOf(container));
    if (isSidecar) restartable = sum(restartable, tallyOf(container));
    const state = objectAt(container, "state");
    const terminated = state["terminated"];
    if (isObject(terminated) && numberAt(terminated, "exitCode") === 0) continue;
    if (isSidecar && container["started"] === true) {
      const ready = { ...NOTHING, ready: container["ready"] === true ? 1 : 0 };
      all = sum(all, ready);
      restartable = sum(restartable, ready);
      continue;
    }
    const waiting = stringAt(objectAt(state, "waiting"), "reason");
    const reason = isObject(terminated)
      ? `Init:${terminatedReason(terminated)}`
      : waiting !== "" && waiting !== "PodInitializing"
        ? `Init:${waiting}`
        : `Init:${position}/${specs.length}`;
    return { all, restartable, reason };
  }
  return { all, restartable };
}

function mainTally(statuses: readonly JsonObject[]) {
  let tally = NOTHING;
  let reason: string | undefined;
  let hasRunning = false;
  // The first container that has something to say has the last word.
  for (const container of statuses.toReversed()) {
    tally = sum(tally, tallyOf(container));
    const state = objectAt(container, "state");
    const waiting = stringAt(objectAt(state, "waiting"), "reason");
    const terminated = state["terminated"];
    if (waiting !== "") reason = waiting;
    else if (isObject(terminated)) reason = terminatedReason(terminated);
    else if (container["ready"] === true && isObject(state["running"])) {
      hasRunning = true;
      tally = sum(tally, { ...NOTHING, ready: 1 });
    }
  }
  return { tally, reason, hasRunning };
}

function terminatedReason(terminated: JsonObject): string {
  const signal = numberAt(terminated, "signal");
  const number = signal === 0 ? `ExitCode:${numberAt(terminated, "exitCode")}` : `Signal:${signal}`;
  return stringAt(terminated, "reason") || number;
}

const isTrue = (conditions: readonly JsonObject[], type: string) =>
  conditions.some((condition) => condition["type"] === type && condition["status"] === "True");

function readinessGates(spec: JsonObject, status: JsonObject): string {
  const gates = objectsAt(spec, "readinessGates");
  if (gates.length === 0) return "<none>";
  const conditions = objectsAt(status, "conditions");
  const open = gates.filter((gate) => isTrue(conditions, stringAt(gate, "conditionType")));
  return `${open.length}/${gates.length}`;
}
