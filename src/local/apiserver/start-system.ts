import type { Clock } from "#base/clock.ts";
import { messageOf } from "#base/errors.ts";
import type { JsonObject } from "#base/json.ts";
import type { Log } from "#telemetry/log.ts";
import { stringAt } from "./json-access.ts";
import { establishedStatus } from "./kinds/crd-kinds.ts";
import { ApiError } from "./registry/api-error.ts";
import { localApi } from "./registry/local-api.ts";
import { metadataOf } from "./registry/meta.ts";
import type { ObjectApi } from "./registry/object-api.ts";
import type { Registry } from "./registry/registry.ts";

export interface SystemOptions {
  readonly registry: Registry;
  readonly clock: Clock;
  readonly log: Log;
  /** PEM of the authority that signed the server's certificate. */
  readonly ca: string;
}

/** Namespaces that every cluster has. */
const NAMESPACES = ["default", "kube-system", "kube-public", "kube-node-lease"];
/** Events are news: what is older is dropped, as by a real API server. */
const EVENT_LIFETIME_MS = 60 * 60_000;
const PURGE_INTERVAL_MS = 60_000;

/**
 * Starts what a cluster's API server and its controllers do by themselves: the first namespaces, garbage
 * collection, namespaces and definitions that go, events that grow old.
 */
export function startSystem(
  options: SystemOptions,
  signal: AbortSignal,
): { readonly stopped: Promise<void> } {
  const { registry, clock, log } = options;
  const api = localApi(registry, "loradock-apiserver");
  makeNamespaces(api);
  const crdKind = api.kindNamed("apiextensions.k8s.io/v1", "CustomResourceDefinition");
  const establish = (crd: JsonObject) => {
    if (crdKind === undefined) return;
    const status = establishedStatus(crd, new Date(clock.now()).toISOString());
    api.patch(
      crdKind,
      { namespace: "", name: stringAt(metadataOf(crd), "name") },
      { status },
      "status",
    );
  };
  api.onChange(({ kind, before, after }) => {
    if (
      kind === crdKind &&
      after !== undefined &&
      JSON.stringify(before?.["spec"]) !== JSON.stringify(after["spec"])
    )
      establish(after);
  });
  const purge = purgeEvents(api, clock, signal).catch((error: unknown) => {
    if (!signal.aborted)
      log.error("Old events are not dropped any more", { error: messageOf(error) });
  });
  return { stopped: Promise.all([purge]).then(() => {}) };
}

function makeNamespaces(api: ObjectApi): void {
  const kind = api.kindNamed("v1", "Namespace");
  if (kind === undefined) return;
  for (const name of NAMESPACES) {
    if (api.get(kind, { namespace: "", name }) !== undefined) continue;
    api.create(kind, { apiVersion: "v1", kind: "Namespace", metadata: { name } });
  }
}

async function purgeEvents(api: ObjectApi, clock: Clock, signal: AbortSignal): Promise<void> {
  for (;;) {
    const events = api.kindNamed("v1", "Event");
    const oldest = clock.now() - EVENT_LIFETIME_MS;
    for (const event of events === undefined ? [] : api.list(events)) {
      if (events === undefined || lastSeenMs(event) >= oldest) continue;
      const metadata = metadataOf(event);
      const name = { namespace: stringAt(metadata, "namespace"), name: stringAt(metadata, "name") };
      try {
        api.delete(events, name, {});
      } catch (error) {
        if (!(error instanceof ApiError) || error.code !== 404) throw error;
      }
    }
    try {
      await clock.sleep(PURGE_INTERVAL_MS, signal);
    } catch {
      return;
    }
  }
}

function lastSeenMs(event: JsonObject): number {
  const texts = [
    event["lastTimestamp"],
    event["eventTime"],
    metadataOf(event)["creationTimestamp"],
  ];
  const times = texts.map((text) => (typeof text === "string" ? Date.parse(text) : Number.NaN));
  return Math.max(0, ...times.filter((time) => !Number.isNaN(time)));
}
