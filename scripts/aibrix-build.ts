/** Installs AIBrix's own runtime sidecars, which `npm run test:aibrix` runs ours against. */
import { join } from "node:path";
import { installAsProgram, installPython, type PythonSet } from "./python-venv.ts";

/**
 * What the command `aibrix_runtime` imports, in versions that AIBrix asks for. The rest of its requirements is for other commands, or
 * for stores that these tests do not use.
 */
const SERVER = [
  "boto3==1.35.99",
  "fastapi==0.112.4",
  "filelock==3.16.1",
  "httpx==0.27.2",
  "huggingface-hub==0.24.7",
  "packaging==24.2",
  "prometheus-client==0.20.0",
  "requests==2.32.3",
  "tqdm==4.67.1",
  "uvicorn==0.30.6",
];

/** The oldest that knows nothing of artifact URLs and is still pinned in deployments, and one that does. */
const SETS = {
  "0.3.0": { name: "aibrix", packages: SERVER, bare: ["aibrix==0.3.0"] },
  "0.8.0": {
    name: "aibrix",
    packages: [...SERVER, "pydantic-settings==2.6.1", "structlog==24.4.0", "tenacity==9.0.0"],
    bare: ["aibrix==0.8.0"],
  },
} as const satisfies Record<string, PythonSet>;

export type AibrixVersion = keyof typeof SETS;
export const AIBRIX_VERSIONS = Object.keys(SETS) as AibrixVersion[];

/** Installs what the cache lacks, at once when it lacks nothing; returns the command. */
export function buildAibrix(
  version: AibrixVersion,
  env: NodeJS.ProcessEnv,
  say: (line: string) => void,
): string {
  return join(installPython(SETS[version], env, say), "bin/aibrix_runtime");
}

if (import.meta.main) {
  installAsProgram((say) => {
    for (const version of AIBRIX_VERSIONS) buildAibrix(version, process.env, say);
  });
}
