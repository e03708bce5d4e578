import { createHash, randomUUID } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { HubOptions } from "./engine-args.ts";

/** The files of an adapter that this engine reads. */
const FILES = ["adapter_config.json", "adapter_model.safetensors"];

/** One fetch, both files, may take this long. */
const DOWNLOAD_MS_MAX = 300_000;

/** `repo` or `organisation/repo`, as the Hugging Face Hub allows them; never a path. */
const REPOSITORY = /^(?:[A-Za-z0-9][\w.-]*\/)?[A-Za-z0-9][\w.-]*$/;

/** True for a name that the hub may know. */
export function isRepositoryId(text: string): boolean {
  return REPOSITORY.test(text) && !text.includes("..") && !text.includes("--");
}

/**
 * Fetches an adapter from the hub into the cache folder and returns the folder of this very version.
 * The layout is the one of `huggingface_hub`: `models--org--repo/snapshots/<version>`, with the last
 * version named in `refs/main`; the version is a hash of the contents, so that a folder never
 * changes under an engine that reads it again later. Offline, the last version is returned.
 * @throws Error that says why the adapter could not be had
 */
export async function fetchAdapter(
  repository: string,
  hub: HubOptions,
  signal: AbortSignal,
): Promise<string> {
  const storage = join(hub.cacheFolder, `models--${repository.replace("/", "--")}`);
  if (hub.isOffline) return lastVersion(storage, repository);
  const limit = AbortSignal.any([signal, AbortSignal.timeout(DOWNLOAD_MS_MAX)]);
  const staging = join(storage, "tmp", randomUUID());
  await mkdir(staging, { recursive: true });
  try {
    const version = await download({ repository, hub, staging, signal: limit });
    const folder = join(storage, "snapshots", version);
    await mkdir(join(storage, "snapshots"), { recursive: true });
    if (!existsSync(folder)) await publish(staging, folder);
    await mkdir(join(storage, "refs"), { recursive: true });
    await writeFile(join(storage, "refs", "main"), version);
    return folder;
  } finally {
    await rm(staging, { recursive: true, force: true });
  }
}

async function lastVersion(storage: string, repository: string): Promise<string> {
  const version = await readFile(join(storage, "refs", "main"), "utf8").catch(() => undefined);
  if (version === undefined)
    throw new Error(`${repository} is not in the cache and HF_HUB_OFFLINE is set`);
  return join(storage, "snapshots", version.trim());
}

type Download = { repository: string; hub: HubOptions; staging: string; signal: AbortSignal };

async function download({ repository, hub, staging, signal }: Download): Promise<string> {
  // Loaded only now: an engine that never fetches should start quickly and stay small.
  const { downloadFile } = await import("@huggingface/hub");
  const hash = createHash("sha1");
  for (const path of FILES) {
    const blob = await downloadFile({
      repo: repository,
      path,
      hubUrl: hub.endpoint,
      ...(hub.token === undefined ? {} : { accessToken: hub.token }),
      fetch: (input, init) => fetch(input, { ...init, signal }),
      xet: false,
    });
    if (blob === null) throw new Error(`${repository} has no ${path}`);
    const bytes = new Uint8Array(await blob.arrayBuffer());
    if (bytes.byteLength !== blob.size) {
      throw new Error(
        `${repository}/${path} ended after ${bytes.byteLength} of ${blob.size} bytes`,
      );
    }
    hash.update(bytes);
    await writeFile(join(staging, path), bytes);
  }
  return hash.digest("hex");
}

/** Another engine on this machine may have published the same version meanwhile: that is as good. */
async function publish(staging: string, folder: string): Promise<void> {
  try {
    await rename(staging, folder);
  } catch (error) {
    if (!existsSync(folder)) throw error;
  }
}
