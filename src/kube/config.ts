import { readFile as readFileFromDisk } from "node:fs/promises";
import { homedir } from "node:os";
import { delimiter, join } from "node:path";
import type { Clock } from "#base/clock.ts";
import { codeOf, UserError } from "#base/errors.ts";
import { inClusterConfig } from "./in-cluster.ts";
import { configOfFiles, type KubeconfigFile, parseKubeconfig } from "./kubeconfig.ts";

/** How to reach one API server and who we are there. */
export interface KubeConfig {
  /** For a person: where this configuration was found. */
  readonly source: string;
  /** Base URL, possibly with a path. */
  readonly server: string;
  readonly tls: {
    readonly ca?: string;
    readonly cert?: string;
    readonly key?: string;
    readonly servername?: string;
    readonly rejectUnauthorized?: boolean;
  };
  /** The namespace that requests of a person default to. */
  readonly namespace: string;
  /** The value of the Authorization header, asked for before each request. */
  readonly authorization?: () => Promise<string | undefined>;
  /** Called after a 401: the next `authorization` must not come from a cache. */
  readonly forgetAuthorization?: () => void;
}

export type ReadFile = (path: string) => Promise<string>;

export interface LoadKubeConfigOptions {
  /** The value of --kubeconfig. */
  readonly kubeconfigPath?: string | undefined;
  /** The value of --context; left out: the file's current-context. */
  readonly context?: string | undefined;
  readonly env: Record<string, string | undefined>;
  readonly clock: Clock;
  readonly readFile?: ReadFile;
}

/**
 * Finds the API server: --kubeconfig, then $KUBECONFIG (several files are merged, the first wins),
 * then the service account of the pod we run in, then ~/.kube/config.
 * @throws UserError when none is there or the one that is there cannot be used.
 */
export async function loadKubeConfig(options: LoadKubeConfigOptions): Promise<KubeConfig> {
  const readFile = options.readFile ?? ((path: string) => readFileFromDisk(path, "utf8"));
  const sources = { context: options.context, readFile, clock: options.clock };

  if (options.kubeconfigPath !== undefined && options.kubeconfigPath !== "") {
    const file = await readKubeconfig(options.kubeconfigPath, readFile);
    return configOfFiles([file], sources);
  }
  const listed = (options.env["KUBECONFIG"] ?? "").split(delimiter).filter((path) => path !== "");
  if (listed.length > 0) {
    const files = await Promise.all(listed.map((path) => readIfThere(path, readFile)));
    const found = files.filter((file) => file !== undefined);
    if (found.length > 0) return configOfFiles(found, sources);
    throw new UserError(
      `no kubeconfig at ${listed.join(" or ")}, which KUBECONFIG names: correct or unset it`,
    );
  }
  const inCluster = await inClusterConfig(options.env, readFile, options.clock);
  if (inCluster !== undefined) return inCluster;

  const home = options.env["HOME"] ?? homedir();
  const file = await readIfThere(join(home, ".kube", "config"), readFile);
  if (file !== undefined) return configOfFiles([file], sources);
  throw new UserError(
    "no Kubernetes API is configured: pass --kubeconfig, set KUBECONFIG, or run inside a cluster",
  );
}

async function readKubeconfig(path: string, readFile: ReadFile): Promise<KubeconfigFile> {
  let text: string;
  try {
    text = await readFile(path);
  } catch (error) {
    throw new UserError(
      `the kubeconfig ${path} cannot be read (${codeOf(error) ?? "unknown error"})`,
      {
        cause: error,
      },
    );
  }
  return parseKubeconfig(path, text);
}

async function readIfThere(path: string, readFile: ReadFile): Promise<KubeconfigFile | undefined> {
  try {
    return parseKubeconfig(path, await readFile(path));
  } catch (error) {
    if (codeOf(error) === "ENOENT") return undefined;
    if (error instanceof UserError) throw error;
    throw new UserError(
      `the kubeconfig ${path} cannot be read (${codeOf(error) ?? "unknown error"})`,
      {
        cause: error,
      },
    );
  }
}
