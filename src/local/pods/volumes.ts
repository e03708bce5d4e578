import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { dirname, isAbsolute, join, normalize } from "node:path";
import type { ConfigMap, Container, KeyToPath, Pod, Secret, Volume } from "#api/kubernetes.ts";
import { UserError } from "#base/errors.ts";
import type { MountedFolder } from "./substitute.ts";

/** Where a pod's volumes come from. */
export interface VolumeSources {
  readonly secret: (name: string) => Secret | undefined;
  readonly configMap: (name: string) => ConfigMap | undefined;
  /** Folder of a claim; it is shared by the pods that name it and outlives them. */
  readonly claimFolder: (claim: string) => string;
}

/** The folders of a pod's volumes by volume name. */
export type VolumeFolders = ReadonlyMap<string, string>;

/**
 * Brings a pod's volumes up to date below `root` and returns their folders. Secrets and ConfigMaps
 * change in one step, as in a cluster: readers see all old files or all new ones.
 * Throws a `UserError` in Kubernetes' words when a volume cannot be made.
 */
export function prepareVolumes(pod: Pod, root: string, sources: VolumeSources): VolumeFolders {
  const folders = new Map<string, string>();
  for (const volume of pod.spec.volumes ?? []) {
    try {
      folders.set(volume.name, prepareVolume(volume, join(root, volume.name), sources));
    } catch (error) {
      if (!(error instanceof UserError)) throw error;
      throw new UserError(
        `MountVolume.SetUp failed for volume "${volume.name}" : ${error.message}`,
      );
    }
  }
  return folders;
}

function prepareVolume(volume: Volume, folder: string, sources: VolumeSources): string {
  if (volume.secret !== undefined) {
    const { secretName, items, optional } = volume.secret;
    const secret = sources.secret(secretName);
    if (secret === undefined && optional !== true) {
      throw new UserError(`secret "${secretName}" not found`);
    }
    const data = decode(secret?.data);
    publishFiles(folder, project(data, { items, optional, what: `secret "${secretName}"` }));
    return folder;
  }
  if (volume.configMap !== undefined) {
    const { name, items, optional } = volume.configMap;
    const configMap = sources.configMap(name);
    if (configMap === undefined && optional !== true) {
      throw new UserError(`configmap "${name}" not found`);
    }
    const data = decode(configMap?.binaryData);
    for (const [key, text] of Object.entries(configMap?.data ?? {})) {
      data.set(key, Buffer.from(text));
    }
    publishFiles(folder, project(data, { items, optional, what: `configmap "${name}"` }));
    return folder;
  }
  if (volume.emptyDir !== undefined) return made(folder);
  if (volume.hostPath !== undefined) return made(volume.hostPath.path);
  if (volume.persistentVolumeClaim !== undefined) {
    return made(sources.claimFolder(volume.persistentVolumeClaim.claimName));
  }
  throw new UserError(
    "this kind of volume is not available on one machine; use emptyDir, secret, configMap, hostPath or persistentVolumeClaim",
  );
}

function made(folder: string): string {
  // A hostPath may name a file.
  if (!existsSync(folder)) mkdirSync(folder, { recursive: true, mode: 0o700 });
  return folder;
}

function decode(data: Record<string, string> | undefined): Map<string, Buffer> {
  return new Map(
    Object.entries(data ?? {}).map(([key, value]) => [key, Buffer.from(value, "base64")]),
  );
}

function project(
  data: Map<string, Buffer>,
  how: { items: KeyToPath[] | undefined; optional: boolean | undefined; what: string },
): Map<string, Buffer> {
  if (how.items === undefined) return data;
  const files = new Map<string, Buffer>();
  for (const { key, path } of how.items) {
    const content = data.get(key);
    if (content !== undefined) files.set(confined(path), content);
    else if (how.optional !== true) {
      throw new UserError(`references non-existent key ${key} of ${how.what}`);
    }
  }
  return files;
}

function confined(path: string): string {
  const clean = normalize(path);
  if (isAbsolute(clean) || clean === "." || clean.split("/").includes("..")) {
    throw new UserError(`the path ${JSON.stringify(path)} leaves the volume`);
  }
  return clean;
}

const CURRENT = "..data";

/**
 * Publishes files as the kubelet of a cluster does: they lie in a folder of their own, `..data`
 * points to it, and what users see points through `..data`; one rename changes everything.
 */
function publishFiles(folder: string, files: ReadonlyMap<string, Buffer>): void {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const current = join(folder, CURRENT);
  const published = readLink(current);
  if (published !== undefined && holds(join(folder, published), files)) return;
  const name = nextVersion(published);
  const next = join(folder, name);
  rmSync(next, { recursive: true, force: true });
  mkdirSync(next, { mode: 0o700 });
  for (const [path, content] of files) {
    mkdirSync(dirname(join(next, path)), { recursive: true, mode: 0o700 });
    writeFileSync(join(next, path), content, { mode: 0o600 });
  }
  replaceLink(name, current);
  const visible = new Set([...files.keys()].map((path) => path.split("/")[0] ?? path));
  for (const entry of visible) {
    if (readLink(join(folder, entry)) === undefined) {
      replaceLink(join(CURRENT, entry), join(folder, entry));
    }
  }
  for (const entry of readdirSync(folder)) {
    if (entry === CURRENT || entry === name || visible.has(entry)) continue;
    rmSync(join(folder, entry), { recursive: true, force: true });
  }
}

function nextVersion(published: string | undefined): string {
  const version = Number(/^\.\.v(\d+)$/.exec(published ?? "")?.[1] ?? 0);
  return `..v${version + 1}`;
}

function replaceLink(target: string, path: string): void {
  const temporary = `${path}.tmp`;
  rmSync(temporary, { force: true });
  symlinkSync(target, temporary);
  renameSync(temporary, path);
}

function readLink(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch {
    return undefined;
  }
}

function holds(folder: string, files: ReadonlyMap<string, Buffer>): boolean {
  if (!existsSync(folder)) return false;
  const there = readdirSync(folder, { recursive: true, encoding: "utf8" }).filter((path) =>
    statSync(join(folder, path)).isFile(),
  );
  return (
    there.length === files.size &&
    there.every((path) => files.get(path)?.equals(readFileSync(join(folder, path))) ?? false)
  );
}

/** What a container's mount paths stand for on this machine. */
export function mountsOf(container: Container, volumes: VolumeFolders): MountedFolder[] {
  return (container.volumeMounts ?? []).map((mount) => {
    const folder = volumes.get(mount.name);
    if (folder === undefined) {
      throw new UserError(`container ${container.name} mounts ${mount.name}, which is no volume`);
    }
    const { subPath } = mount;
    if (subPath === undefined || subPath === "") return { mountPath: mount.mountPath, folder };
    const inside = join(folder, confined(subPath));
    return { mountPath: mount.mountPath, folder: made(inside) };
  });
}
