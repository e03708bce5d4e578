import { readFileSync } from "node:fs";
import { join } from "node:path";
import { parseAllDocuments } from "yaml";
import type { KubeObject } from "#api/kubernetes.ts";
import { assert } from "#base/assert.ts";

/** Where the manifests lie, below the root of the package. */
const CONTROL_PLANE = [
  "deploy/namespace.yaml",
  "deploy/crd/model.aibrix.ai_modeladapters.yaml",
  "deploy/controller/rbac.yaml",
  "deploy/controller/deployment.yaml",
  "deploy/gateway/rbac.yaml",
  "deploy/local/gateway.yaml",
  "deploy/local/hub.yaml",
];
const BASE = ["samples/local/base.yaml"];
const ADAPTERS = ["samples/local/adapters.yaml"];

/** What the manifests leave to this run. */
export interface Places {
  readonly gatewayPort: number;
  readonly hubPort: number;
  /** Absolute folder that the hub serves. */
  readonly hubDir: string;
}

/** The ports that `deploy/local` is written for. */
const GATEWAY_PORT = 8888;
const HUB_PORT = 16480;

/** All objects of the single machine, in the order in which they are applied. */
export interface Manifests {
  readonly controlPlane: readonly KubeObject[];
  readonly base: readonly KubeObject[];
  readonly adapters: readonly KubeObject[];
}

/** Reads the manifests that come with Loradock and fills in where things are in this run. */
export function readManifests(root: string, places: Places): Manifests {
  const read = (files: readonly string[]) =>
    files.flatMap((file) => {
      const objects = parseManifest(readFileSync(join(root, file), "utf8"), file);
      return file.startsWith("deploy/local/")
        ? objects.map((object) => fillIn(object, places))
        : objects;
    });
  return { controlPlane: read(CONTROL_PLANE), base: read(BASE), adapters: read(ADAPTERS) };
}

/** The objects of a YAML file; `file` is for the error only. */
export function parseManifest(text: string, file: string): KubeObject[] {
  return parseAllDocuments(text)
    .map((document) => {
      assert(document.errors.length === 0, `${file}: ${document.errors[0]?.message}`);
      return document.toJS() as KubeObject | null;
    })
    .filter((object) => object !== null);
}

/**
 * Puts this run's ports and folders in the place of the ones that a manifest was written with: whole
 * numbers, and words that end in `=<port>` as flags do.
 */
export function fillIn<T>(object: T, places: Places): T {
  const ports = new Map([
    [GATEWAY_PORT, places.gatewayPort],
    [HUB_PORT, places.hubPort],
  ]);
  const fill = (value: unknown): unknown => {
    if (typeof value === "number") return ports.get(value) ?? value;
    if (typeof value === "string") {
      return value.replace(
        /^(--[\w-]+=)(\d+)$/,
        (_, flag, port) => `${flag}${ports.get(Number(port)) ?? port}`,
      );
    }
    if (Array.isArray(value)) return value.map(fill);
    if (typeof value !== "object" || value === null) return value;
    const filled = Object.entries(value).map(([key, inner]) => [
      key,
      key === "hostPath" ? { ...inner, path: places.hubDir } : fill(inner),
    ]);
    return Object.fromEntries(filled);
  };
  return fill(object) as T;
}
