/** Changes to a folder that survive a crash of the machine, in an order that one can rely on. */
import { open, readdir, rename, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";

/** What lies in a folder; nothing when there is none. */
export async function names(folder: string): Promise<string[]> {
  return await readdir(folder).catch(() => []);
}

export async function remove(path: string): Promise<void> {
  await rm(path, { recursive: true, force: true });
}

/** Old content or new, whole. */
export async function writeDurably(path: string, text: string): Promise<void> {
  await writeFile(`${path}.tmp`, text, { flush: true });
  await rename(`${path}.tmp`, path);
  await syncFolder(dirname(path));
}

/** Files and folders below `folder`, then itself, to disk. */
export async function syncTree(folder: string): Promise<void> {
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) await syncTree(path);
    else await syncFile(path);
  }
  await syncFolder(folder);
}

async function syncFile(path: string): Promise<void> {
  const handle = await open(path, "r");
  try {
    await handle.datasync();
  } finally {
    await handle.close();
  }
}

/** Makes renames inside a folder durable. File systems that cannot are as good as their best. */
export async function syncFolder(path: string): Promise<void> {
  const handle = await open(path, "r");
  try {
    await handle.sync().catch(() => {});
  } finally {
    await handle.close();
  }
}
