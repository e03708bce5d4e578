import { dirname, resolve } from "node:path";
import { parse } from "yaml";
import { z } from "zod";
import type { Clock } from "#base/clock.ts";
import { codeOf, messageOf, UserError } from "#base/errors.ts";
import type { KubeConfig, ReadFile } from "./config.ts";
import { tokenFromFile } from "./in-cluster.ts";

const optionalText = z.string().nullish();

const clusterSchema = z.object({
  server: z.string(),
  "certificate-authority": optionalText,
  "certificate-authority-data": optionalText,
  "insecure-skip-tls-verify": z.boolean().nullish(),
  "tls-server-name": optionalText,
  "proxy-url": optionalText,
});

const userSchema = z.object({
  token: optionalText,
  tokenFile: optionalText,
  username: optionalText,
  password: optionalText,
  "client-certificate": optionalText,
  "client-certificate-data": optionalText,
  "client-key": optionalText,
  "client-key-data": optionalText,
  exec: z.unknown().optional(),
  "auth-provider": z.unknown().optional(),
});

const kubeconfigSchema = z.object({
  "current-context": optionalText,
  clusters: z.array(z.object({ name: z.string(), cluster: clusterSchema })).nullish(),
  users: z.array(z.object({ name: z.string(), user: userSchema.nullish() })).nullish(),
  contexts: z
    .array(
      z.object({
        name: z.string(),
        context: z.object({ cluster: z.string(), user: optionalText, namespace: optionalText }),
      }),
    )
    .nullish(),
});

type Cluster = z.infer<typeof clusterSchema>;
type User = z.infer<typeof userSchema>;

export interface KubeconfigFile {
  readonly path: string;
  readonly text: string;
  readonly content: z.infer<typeof kubeconfigSchema>;
}

interface Sources {
  readonly context: string | undefined;
  readonly readFile: ReadFile;
  readonly clock: Clock;
}

/** @throws UserError naming the file and what is wrong in it; never its values. */
export function parseKubeconfig(path: string, text: string): KubeconfigFile {
  let document: unknown;
  try {
    document = parse(text, { prettyErrors: false });
  } catch (error) {
    throw new UserError(`the kubeconfig ${path} is not YAML: ${messageOf(error)}`, {
      cause: error,
    });
  }
  const content = kubeconfigSchema.safeParse(document ?? {});
  if (!content.success) {
    const issue = content.error.issues[0];
    const where = issue?.path.join(".") || "the document";
    throw new UserError(`the kubeconfig ${path} is not valid at ${where}: ${issue?.message}`);
  }
  return { path, text, content: content.data };
}

/** What the chosen context of `files` says; of two entries with one name the earlier file's counts. */
export async function configOfFiles(
  files: readonly KubeconfigFile[],
  sources: Sources,
): Promise<KubeConfig> {
  const paths = files.map((file) => file.path).join(", ");
  const wanted =
    sources.context ??
    files
      .map((file) => file.content["current-context"])
      .find((name) => name != null && name !== "");
  if (wanted == null) {
    throw new UserError(
      `the kubeconfig ${paths} has no current-context: set one with kubectl config use-context`,
    );
  }
  const context = find(files, (file) => file.content.contexts, wanted);
  if (context === undefined)
    throw new UserError(`the kubeconfig ${paths} has no context ${wanted}`);
  const { cluster: clusterName, user: userName, namespace } = context.entry.context;
  const cluster = find(files, (file) => file.content.clusters, clusterName);
  if (cluster === undefined) {
    throw new UserError(
      `the kubeconfig ${paths} has no cluster ${clusterName}, which context ${wanted} names`,
    );
  }
  if (!URL.canParse(cluster.entry.cluster.server)) {
    throw new UserError(
      `the server of cluster ${clusterName} in the kubeconfig ${paths} is not a URL`,
    );
  }
  if (cluster.entry.cluster["proxy-url"]) {
    throw new UserError(
      `cluster ${clusterName} has a proxy-url, which is not supported: remove it`,
    );
  }
  const user = find(files, (file) => file.content.users, userName ?? "");
  const base = {
    source: `context ${wanted} of ${paths}`,
    server: cluster.entry.cluster.server,
    namespace: namespace || "default",
  };
  const tls = await clusterTls(cluster.entry.cluster, cluster.file, sources.readFile);
  if (user?.entry.user == null) return { ...base, tls };
  if (user.entry.user.exec != null || user.entry.user["auth-provider"] != null) {
    return { ...base, ...(await pluginConfig(user.file, wanted, tls)) };
  }
  return { ...base, ...(await userConfig(user.entry.user, user.file, tls, sources)) };
}

function find<E extends { name: string }>(
  files: readonly KubeconfigFile[],
  entries: (file: KubeconfigFile) => readonly E[] | null | undefined,
  name: string,
): { entry: E; file: KubeconfigFile } | undefined {
  for (const file of files) {
    const entry = entries(file)?.find((candidate) => candidate.name === name);
    if (entry !== undefined) return { entry, file };
  }
  return undefined;
}

async function clusterTls(cluster: Cluster, file: KubeconfigFile, readFile: ReadFile) {
  const ca = await pem(
    cluster["certificate-authority-data"],
    cluster["certificate-authority"],
    file,
    readFile,
  );
  return {
    ...(ca === undefined ? {} : { ca }),
    ...(cluster["tls-server-name"] ? { servername: cluster["tls-server-name"] } : {}),
    ...(cluster["insecure-skip-tls-verify"] === true ? { rejectUnauthorized: false } : {}),
  };
}

async function userConfig(
  user: User,
  file: KubeconfigFile,
  clusterPart: KubeConfig["tls"],
  sources: Sources,
): Promise<Pick<KubeConfig, "tls"> & Partial<KubeConfig>> {
  const { readFile, clock } = sources;
  const cert = await pem(
    user["client-certificate-data"],
    user["client-certificate"],
    file,
    readFile,
  );
  const key = await pem(user["client-key-data"], user["client-key"], file, readFile);
  const tls = {
    ...clusterPart,
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key }),
  };
  // kubectl's order: a token wins over its file, both over a password.
  if (user.token) {
    const value = `Bearer ${user.token}`;
    return { tls, authorization: () => Promise.resolve(value) };
  }
  if (user.tokenFile) {
    return { tls, ...tokenFromFile(resolve(dirname(file.path), user.tokenFile), readFile, clock) };
  }
  if (user.username) {
    const value = `Basic ${Buffer.from(`${user.username}:${user.password ?? ""}`).toString("base64")}`;
    return { tls, authorization: () => Promise.resolve(value) };
  }
  return { tls };
}

/** PEM text from its base64 form inside the kubeconfig, else from a file beside it. */
async function pem(
  data: string | null | undefined,
  path: string | null | undefined,
  file: KubeconfigFile,
  readFile: ReadFile,
): Promise<string | undefined> {
  if (data) return Buffer.from(data, "base64").toString("utf8");
  if (!path) return undefined;
  const absolute = resolve(dirname(file.path), path);
  try {
    return await readFile(absolute);
  } catch (error) {
    throw new UserError(
      `${absolute}, which the kubeconfig ${file.path} names, cannot be read (${codeOf(error) ?? "unknown error"})`,
      { cause: error },
    );
  }
}

/**
 * Credentials from a plug-in (cloud vendors' login helpers). Their protocol is the client library's
 * business; it is loaded only here because it costs a second of CPU and 80 MiB.
 */
async function pluginConfig(
  file: KubeconfigFile,
  context: string,
  tls: KubeConfig["tls"],
): Promise<Pick<KubeConfig, "tls"> & Partial<KubeConfig>> {
  const { KubeConfig: PluginConfig } = await import("@kubernetes/client-node");
  const config = new PluginConfig();
  config.loadFromString(file.text, { onInvalidEntry: "filter" });
  config.setCurrentContext(context);
  const ask = async () => {
    const options: { headers: Record<string, string>; cert?: unknown; key?: unknown } = {
      headers: {},
    };
    try {
      // It takes the options of https.request and fills in what the plug-in says.
      await config.applyToHTTPSOptions(options as Parameters<typeof config.applyToHTTPSOptions>[0]);
    } catch (error) {
      throw new UserError(`the login plug-in of context ${context} failed: ${messageOf(error)}`, {
        cause: error,
      });
    }
    return options;
  };
  const first = await ask();
  const text = (value: unknown) =>
    typeof value === "string" || Buffer.isBuffer(value) ? value.toString() : undefined;
  const cert = text(first.cert);
  const key = text(first.key);
  return {
    tls: { ...tls, ...(cert === undefined ? {} : { cert }), ...(key === undefined ? {} : { key }) },
    // The plug-in's answer is cached in there until it expires.
    authorization: async () => (await ask()).headers["Authorization"],
  };
}
