import { join } from "node:path";
import type { Clock } from "#base/clock.ts";
import { codeOf, UserError } from "#base/errors.ts";
import type { KubeConfig, ReadFile } from "./config.ts";

const SERVICE_ACCOUNT_DIR = "/var/run/secrets/kubernetes.io/serviceaccount";
/** The kubelet renews a projected token long before it expires; client-go reads it again every minute, too. */
const TOKEN_FRESH_MS = 60_000;

/** The configuration that Kubernetes gives to each pod; undefined outside of one. */
export async function inClusterConfig(
  env: Record<string, string | undefined>,
  readFile: ReadFile,
  clock: Clock,
): Promise<KubeConfig | undefined> {
  const host = env["KUBERNETES_SERVICE_HOST"];
  const port = env["KUBERNETES_SERVICE_PORT"];
  if (host === undefined || host === "" || port === undefined || port === "") return undefined;
  const read = async (name: string) => {
    const path = join(SERVICE_ACCOUNT_DIR, name);
    try {
      return await readFile(path);
    } catch (error) {
      if (codeOf(error) === "ENOENT") return undefined;
      throw new UserError(`the service account's file ${path} cannot be read`, { cause: error });
    }
  };
  const [token, ca, namespace] = await Promise.all([
    read("token"),
    read("ca.crt"),
    read("namespace"),
  ]);
  // A pod without a mounted service account is not meant to speak to the API.
  if (token === undefined) return undefined;
  return {
    source: "the pod's service account",
    server: `https://${host.includes(":") ? `[${host}]` : host}:${port}`,
    tls: ca === undefined ? {} : { ca },
    namespace: namespace?.trim() ?? "default",
    ...tokenFromFile(join(SERVICE_ACCOUNT_DIR, "token"), readFile, clock),
  };
}

/** A bearer token that another process renews in a file. */
export function tokenFromFile(
  path: string,
  readFile: ReadFile,
  clock: Clock,
): Pick<KubeConfig, "authorization" | "forgetAuthorization"> & object {
  let value: string | undefined;
  let readAtMs = 0;
  return {
    authorization: async () => {
      if (value === undefined || clock.now() - readAtMs >= TOKEN_FRESH_MS) {
        value = `Bearer ${(await readFile(path)).trim()}`;
        readAtMs = clock.now();
      }
      return value;
    },
    forgetAuthorization: () => {
      value = undefined;
    },
  };
}
