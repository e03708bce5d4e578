import { chmod, copyFile, mkdir, readdir, rename, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";

/** The tiny adapters that come with Loradock. */
const FIXTURES = join(import.meta.dirname, "../../../fixtures/tiny/adapters");

interface SeededRepository {
  readonly repo: string;
  /** Folder below the fixtures. */
  readonly adapter: string;
  readonly readme: string;
}

const own = (adapter: string, what: string): SeededRepository => ({
  repo: `loradock/tiny-${adapter}-lora`,
  adapter,
  readme: `# tiny-${adapter}-lora\n\nA LoRA adapter (rank 8) for Loradock's bundled tiny base model. ${what}\n`,
});

const REPOSITORIES: readonly SeededRepository[] = [
  own("sql", "It answers in SQL."),
  own("shout", "It answers in capitals."),
  own("pirate", "It answers like a pirate."),
  {
    repo: "ai-blond/Qwen-Qwen2.5-Coder-1.5B-Instruct-lora",
    adapter: "sql",
    readme: `# A stand-in

This is not the adapter of this name from the Hugging Face hub. It is loradock/tiny-sql-lora under that
name, so that manifests written for the real one run on a machine with neither a GPU nor the Internet.
Replace this folder's files to serve others; Loradock does not overwrite a folder that is here.
`,
  },
];

/**
 * Puts the bundled adapters into a hub's folder, as repositories of their own. A folder that is there
 * already is the user's and stays as it is.
 */
export async function seedHub(dir: string): Promise<void> {
  for (const { repo, adapter, readme } of REPOSITORIES) {
    const target = join(dir, repo);
    if (await exists(target)) continue;
    const next = join(dir, `.seeding-${process.pid}-${repo.replace("/", "-")}`);
    await rm(next, { recursive: true, force: true });
    await mkdir(next, { recursive: true });
    for (const name of await readdir(join(FIXTURES, adapter))) {
      await copyFile(join(FIXTURES, adapter, name), join(next, name));
      // A checkout may be read-only; the copy is the user's to edit.
      await chmod(join(next, name), 0o644);
    }
    await writeFile(join(next, "README.md"), readme);
    await mkdir(join(target, ".."), { recursive: true });
    await rename(next, target);
  }
}

async function exists(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch {
    return false;
  }
}
