/**
 * The line of each pod in the status: what the adapter's state there is, and what holds it up. A line in any state but Waiting is
 * also the record that the pod's engine may hold the adapter; it stays until the engine has answered otherwise.
 */
import { versionOf } from "#api/adapter-version.ts";
import { parseArtifactUrl, redactArtifactUrl } from "#api/artifact-url.ts";
import {
  INSTANCES_MAX,
  type ModelAdapterPodStatus,
  type ModelAdapterSpec,
} from "#api/model-adapter.ts";
import type { Reason } from "#api/reasons.ts";
import { UserError } from "#base/errors.ts";
import { leftovers, mayHold } from "./operations.ts";
import { isExhausted, isGivenUp, nextLoadMs } from "./retry.ts";
import {
  type DownloadProgress,
  type Failure,
  type PodSeen,
  type Seen,
  timestampOf,
} from "./seen.ts";
import { type Choice, holdsOurs, ineligible, isUnknown } from "./select.ts";
import { inOurWords } from "./wording.ts";

type Line = ModelAdapterPodStatus;

const SILENT = "The engine does not answer; the load is tried all the same";
const OUTDATED = "It serves the earlier version until its turn comes";

type Details = Omit<Partial<Line>, "name" | "state" | "reason"> & { reason?: Reason };

/** A line, with reasons of our table only. */
function line(pod: PodSeen, state: Line["state"], more: Details = {}) {
  return { name: pod.name, state, ...more };
}

export function podLines(seen: Seen, choice: Choice): Line[] {
  const left = leftovers(seen, choice);
  return seen.pods
    .flatMap((pod): Line[] => {
      if (choice.selected.includes(pod) || choice.serving.includes(pod))
        return [chosenLine(seen, pod)];
      if (left.includes(pod)) return [leftoverLine(pod)];
      return otherLine(seen, pod);
    })
    .sort((a, b) => (a.name < b.name ? -1 : 1))
    .slice(0, INSTANCES_MAX);
}

function chosenLine(seen: Seen, pod: PodSeen): Line {
  if (pod.held === "current") return loadedLine(seen, pod);
  if (isUnknown(pod) && !pod.recorded) {
    // Not Loading, which would count as our record: the engine may have it from somebody whose work is taken over.
    const message = "The pod has not told yet what it holds";
    return line(pod, "Waiting", { reason: "PodNotReady", message });
  }
  if (pod.held === "unasked") return recordedLine(seen, pod) ?? line(pod, "Loading");
  const failure = pod.loadFailure;
  if (failure === undefined || pod.busy === "loading") {
    return line(pod, "Loading", {
      reason: "Loading",
      ...whyLoading(pod),
      ...heldVersion(seen, pod),
    });
  }
  return failedLine(seen, pod, failure);
}

function failedLine(seen: Seen, pod: PodSeen, failure: Failure): Line {
  const { retries } = failure;
  const message = inOurWords(failure.message);
  const nextRetryTime = timestampOf(seen, nextLoadMs(failure));
  const how = { message, retries, nextRetryTime, ...heldVersion(seen, pod) };
  if (!isGivenUp(failure)) {
    return line(pod, "Retrying", { reason: failedReason(seen, failure), ...how });
  }
  const reason = isExhausted(failure) ? "MaxRetriesExceeded" : failedReason(seen, failure);
  return line(pod, "Failed", { reason, ...how });
}

/** How far a load is, or what it waits for, or may wait for. */
function whyLoading(pod: PodSeen): Details {
  if (pod.progress !== undefined) return { message: downloadText(pod.progress) };
  if (pod.held === "silent") return { message: SILENT };
  return pod.held === "outdated" && pod.busy === undefined ? { message: OUTDATED } : {};
}

const MIB = 1 << 20;

function downloadText({ bytesDone, bytesTotal }: DownloadProgress): string {
  const done = Math.floor(bytesDone / MIB);
  const of = bytesTotal === undefined ? "" : ` of ${Math.ceil(bytesTotal / MIB)}`;
  return `downloading: ${done}${of} MiB`;
}

function failedReason({ adapter }: Seen, failure: Failure): Reason {
  return failure.isCapacity === true ? "Capacity" : loadingReason(adapter.spec);
}

/** Why no load can succeed, or one did not: what cannot be meant is told apart from what did not work. */
export function loadingReason({ artifactURL }: ModelAdapterSpec) {
  try {
    parseArtifactUrl(artifactURL);
    return "ModelAdapterLoadingError";
  } catch (error) {
    if (error instanceof UserError) return "ValidationFailed";
    throw error;
  }
}

function loadedLine(seen: Seen, pod: PodSeen): Line {
  const { spec } = seen.adapter;
  const loaded = line(pod, "Loaded", {
    artifactURL: redactArtifactUrl(spec.artifactURL),
    version: versionOf(spec),
    ...(pod.path === undefined ? {} : { path: redactArtifactUrl(pod.path) }),
  });
  const warning = baseModelWarning(spec.baseModel, pod.baseModel);
  return warning === undefined ? loaded : { ...loaded, ...warning };
}

function baseModelWarning(wanted: string | undefined, label: string | undefined) {
  if (wanted !== undefined && wanted === label) return undefined;
  const reason: Reason = "BaseModelMismatch";
  if (wanted === undefined) return { reason, message: "spec.baseModel is not set" };
  const is = label ?? "missing";
  const message = `spec.baseModel is ${wanted}, but the pod's label model.aibrix.ai/name is ${is}`;
  return { reason, message };
}

/** The version that a pod goes on holding while the wanted one is not there, as it was told when it was loaded. */
function heldVersion(seen: Seen, pod: PodSeen): Details {
  // It may still have it: whoever asks it next must be able to tell which version that is.
  if (pod.held === "silent" || isUnknown(pod)) return kept(seen, pod);
  if (pod.held !== "outdated") return {};
  const before = recordedLine(seen, pod);
  if (before?.path === undefined || pod.path === undefined) return {};
  if (before.path !== redactArtifactUrl(pod.path)) return {};
  const { artifactURL, path, version } = before;
  return {
    path,
    ...(artifactURL === undefined ? {} : { artifactURL }),
    ...(version === undefined ? {} : { version }),
  };
}

function recordedLine(seen: Seen, pod: PodSeen): Line | undefined {
  return seen.adapter.status?.pods?.find((one) => one.name === pod.name);
}

function leftoverLine(pod: PodSeen): Line {
  // Its engine never said that it does not have it; what is to be told is still that it was given up.
  if (pod.loadFailure !== undefined && isExhausted(pod.loadFailure)) {
    const { message, retries } = pod.loadFailure;
    return line(pod, "Unloading", {
      reason: "MaxRetriesExceeded",
      message: inOurWords(message),
      retries,
    });
  }
  const isGone = pod.readySinceMs === undefined;
  const waits = isGone ? "It is unloaded when the pod is Ready again" : undefined;
  const message = pod.unloadFailure?.message ?? waits;
  return line(pod, "Unloading", {
    reason: "Leftover",
    ...(message === undefined ? {} : { message }),
  });
}

/** Neither chosen nor to be cleaned: waited for, or on record. */
function otherLine(seen: Seen, pod: PodSeen): Line[] {
  const why = ineligible(pod, seen.nowMs);
  const message = why === undefined ? "Another pod hosts the adapter" : `The pod ${why}`;
  const failure = pod.loadFailure;
  // Whatever may come of a load yet: what is to be told is that it was given up.
  if (failure !== undefined && isExhausted(failure) && !holdsOurs(pod)) {
    return [failedLine(seen, pod, failure)];
  }
  const mayHave = pod.held === "absent" ? mayHold(pod) : pod.held !== "foreign";
  if (pod.recorded && mayHave) {
    // It will most likely come back with what it has: neither loaded again nor forgotten.
    return [
      { ...line(pod, "Unavailable", { reason: "PodNotReady", message }), ...kept(seen, pod) },
    ];
  }
  if (failure !== undefined) return [chosenLine(seen, pod)];
  if (!pod.matches || why === undefined) return [];
  return [line(pod, "Waiting", { reason: "PodNotReady", message })];
}

function kept(seen: Seen, pod: PodSeen): Details {
  const { artifactURL, path, version } = recordedLine(seen, pod) ?? {};
  return {
    ...(artifactURL === undefined ? {} : { artifactURL }),
    ...(path === undefined ? {} : { path }),
    ...(version === undefined ? {} : { version }),
  };
}

export function namesOf(pods: readonly { readonly name: string }[]): string[] {
  return pods.map((pod) => pod.name).sort();
}
