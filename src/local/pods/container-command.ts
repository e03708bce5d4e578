import { accessSync, constants, existsSync, mkdirSync } from "node:fs";
import { basename, delimiter, isAbsolute, join } from "node:path";
import type { Container, Pod } from "#api/kubernetes.ts";
import { ADAPTER_MOUNT_PATH, CREDENTIALS_MOUNT_PATH, RUNTIME_CONTAINER } from "#api/names.ts";
import { UserError } from "#base/errors.ts";
import { type EnvironmentContext, environmentOf } from "./environment.ts";
import { argvOf, type Image, PROGRAMS, withHost } from "./images.ts";
import { expandReferences, type MountedFolder, substitute } from "./substitute.ts";

/** Everything that a container's process is started with. */
export interface ContainerCommand {
  readonly argv: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
  readonly workingDir: string;
  /** Names in `env` or `envFrom` that no process can have. */
  readonly skippedNames: readonly string[];
  /** Rewrites further words of this container (exec probes, `kubectl exec`) in the same way. */
  readonly localize: (word: string) => string;
}

export interface ContainerPlace {
  readonly pod: Pod;
  readonly podAddress: string;
  readonly hostAddress: string;
  readonly nodeName: string;
  readonly mounts: readonly MountedFolder[];
  /** Stands for what of the container's file system is not mounted: its own, kept over restarts. */
  readonly privateFolder: string;
  /** Where the known images' programs lie. */
  readonly programFolder: string;
  /** The machine's own variables and those that every container gets. */
  readonly defaults: Readonly<Record<string, string>>;
  readonly kubeconfig: string | undefined;
  readonly allocatable: Readonly<Record<string, string>>;
  readonly secret: EnvironmentContext["secret"];
  readonly configMap: EnvironmentContext["configMap"];
}

/**
 * Works out a container's command on this machine.
 * Throws a `UserError` when its environment refers to something that is missing.
 */
export function commandOf(
  container: Container,
  image: Image,
  place: ContainerPlace,
): ContainerCommand {
  const { values, skipped } = environmentOf(container, {
    ...place,
    provided: providedEnvironment(container, image, place),
  });
  const references = new Map(Object.entries(values));
  const localize = (word: string) => substitute(word, place);
  const argv = argvOf(image, container, place.pod)
    .map((word) => localize(expandReferences(word, references)))
    .map((word, index) => (index === 0 ? ownProgram(word) : word));
  return {
    argv: withHost(argv, place.podAddress),
    environment: values,
    workingDir: workingDirOf(container, place),
    skippedNames: skipped,
    localize,
  };
}

/** What every container is told about its place; its own `env` may say otherwise. */
function providedEnvironment(
  container: Container,
  image: Image,
  place: ContainerPlace,
): Record<string, string> {
  const { defaults, podAddress, mounts, privateFolder } = place;
  const temporary = join(privateFolder, "tmp");
  const provided: Record<string, string> = {
    ...defaults,
    PATH: [place.programFolder, defaults["PATH"] ?? "/usr/local/bin:/usr/bin:/bin"].join(delimiter),
    HOSTNAME: place.pod.metadata.name,
    TMPDIR: temporary,
    LORADOCK_BIND_ADDRESS: podAddress,
  };
  if (place.kubeconfig !== undefined) provided["KUBECONFIG"] = place.kubeconfig;
  const mounted = (path: string) => mounts.find((mount) => mount.mountPath === path)?.folder;
  // A sidecar without a volume has its adapters in its own file system, never in the machine's.
  const adapters =
    mounted(ADAPTER_MOUNT_PATH) ??
    (image.role === "sidecar" || container.name === RUNTIME_CONTAINER
      ? join(privateFolder, ADAPTER_MOUNT_PATH)
      : undefined);
  if (adapters !== undefined) provided["AIBRIX_ADAPTER_DIR"] = adapters;
  const credentials = mounted(CREDENTIALS_MOUNT_PATH);
  if (credentials !== undefined) provided["AIBRIX_CREDENTIALS_DIR"] = credentials;
  mkdirSync(temporary, { recursive: true, mode: 0o700 });
  return provided;
}

function workingDirOf(container: Container, place: ContainerPlace): string {
  const wanted = container.workingDir;
  if (wanted === undefined || wanted === "") return made(place.privateFolder);
  const local = substitute(wanted, place);
  // What is not mounted lies in the container's own file system.
  return made(local === wanted ? join(place.privateFolder, wanted) : local);
}

function made(folder: string): string {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  return folder;
}

/** `/manager` and the like, as images name their programs, are ours wherever the machine has none. */
function ownProgram(word: string): string {
  const name = basename(word);
  return isAbsolute(word) && PROGRAMS[name] !== undefined && !existsSync(word) ? name : word;
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/**
 * The file that a command's first word names, as a shell looks for it.
 * Throws a `UserError` in a container runtime's words when there is none.
 */
export function findExecutable(word: string, path: string | undefined): string {
  const candidates = word.includes("/")
    ? [word]
    : (path ?? "").split(delimiter).map((folder) => join(folder, word));
  const found = candidates.find(isExecutable);
  if (found !== undefined) return found;
  throw new UserError(
    word.includes("/")
      ? `exec: "${word}": no such file or directory`
      : `exec: "${word}": executable file not found in $PATH`,
  );
}
