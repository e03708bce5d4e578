import type { Pod } from "#api/kubernetes.ts";
import { DEFAULT_ENGINE_PORT, LABEL, RUNTIME_PORT } from "#api/names.ts";

/** A program of ours that containers call by name: an entry below `src/main` and leading arguments. */
export interface Program {
  readonly entry: string;
  readonly args: readonly string[];
}

/**
 * The programs that known images contain. They lie in a folder that is first on every container's
 * PATH, so that `sh -c "vllm serve ..."` and `kubectl exec` find them too.
 */
export const PROGRAMS: Readonly<Record<string, Program>> = {
  vllm: { entry: "engine.ts", args: [] },
  aibrix_runtime: { entry: "loradock.ts", args: ["runtime"] },
  manager: { entry: "loradock.ts", args: ["controller"] },
  loradock: { entry: "loradock.ts", args: [] },
};

/** The program that the choice of the engine decides about. */
export const ENGINE_PROGRAM = "vllm";

/** What an image would bring along: as in a Dockerfile, `command` replaces both, `args` only `args`. */
export interface Image {
  /** Repository without registry and tag; a `*` at the end matches any ending. */
  readonly pattern: string;
  /** What it stands for, for people. */
  readonly role: "engine" | "sidecar" | "controller" | "loradock";
  readonly entrypoint: readonly string[];
  readonly args: (pod: Pod) => readonly string[];
}

const none = () => [];

/** Every image that this machine can run; the first match counts. A new image is one entry. */
const IMAGES: readonly Image[] = [
  {
    pattern: "vllm/vllm-openai*",
    role: "engine",
    entrypoint: ["vllm", "serve"],
    args: (pod) => {
      const name = pod.metadata.labels?.[LABEL.modelName];
      const served = name === undefined ? [] : ["--served-model-name", name];
      return ["--port", String(DEFAULT_ENGINE_PORT), "--enable-lora", ...served];
    },
  },
  {
    pattern: "aibrix/runtime*",
    role: "sidecar",
    entrypoint: ["aibrix_runtime"],
    args: () => ["--port", String(RUNTIME_PORT)],
  },
  {
    pattern: "loradock/runtime*",
    role: "sidecar",
    entrypoint: ["aibrix_runtime"],
    args: () => ["--port", String(RUNTIME_PORT)],
  },
  {
    pattern: "aibrix/controller-manager*",
    role: "controller",
    entrypoint: ["/manager"],
    args: none,
  },
  { pattern: "loradock/*", role: "loradock", entrypoint: ["loradock"], args: none },
];

/**
 * An image's repository without registry, tag and digest, by Docker's rules: the first part is a
 * registry when it has a dot or a colon or is `localhost`.
 *
 * @example repositoryOf("registry.example:5000/vllm/vllm-openai:v0.7.1") // "vllm/vllm-openai"
 */
export function repositoryOf(image: string): string {
  const parts = (image.split("@")[0] ?? "").split("/");
  const first = parts[0] ?? "";
  if (parts.length > 1 && (/[.:]/.test(first) || first === "localhost")) parts.shift();
  const last = parts.length - 1;
  parts[last] = (parts[last] ?? "").split(":")[0] ?? "";
  return parts.join("/");
}

function matches(pattern: string, repository: string): boolean {
  return pattern.endsWith("*")
    ? repository.startsWith(pattern.slice(0, -1))
    : repository === pattern;
}

/** The entry for an image name; undefined when this machine has nothing to run for it. */
export function findImage(image: string): Image | undefined {
  const repository = repositoryOf(image);
  return IMAGES.find((known) => matches(known.pattern, repository));
}

/** What a user can do about an image that is not known. */
export function unknownImageMessage(image: string): string {
  const known = IMAGES.map((entry) => entry.pattern).join(", ");
  return (
    `Failed to pull image "${image}": pods are local processes here, images are not downloaded; ` +
    `known images: ${known}. Other images need a cluster.`
  );
}

/** The words of a container's process before references and folders are filled in. */
export function argvOf(
  image: Image,
  container: { command?: readonly string[]; args?: readonly string[] },
  pod: Pod,
): string[] {
  const hasCommand = container.command !== undefined && container.command.length > 0;
  const hasArgs = container.args !== undefined && container.args.length > 0;
  const argv = [
    ...(hasCommand ? (container.command ?? []) : image.entrypoint),
    ...(hasArgs ? (container.args ?? []) : hasCommand ? [] : image.args(pod)),
  ];
  return image.role === "engine" ? withoutPythonModule(argv) : argv;
}

/**
 * `vllm serve` listens on every address of the machine unless it is told one; pods may only use
 * their own.
 */
export function withHost(argv: readonly string[], podAddress: string): readonly string[] {
  const isServer = /(?:^|\/)vllm$/.test(argv[0] ?? "") && argv[1] === "serve";
  if (!isServer || argv.some((word) => /^--host(?:=|$)/.test(word))) return argv;
  return [...argv, "--host", podAddress];
}

/** `python3 -m vllm.entrypoints.openai.api_server ...` is the older spelling of `vllm serve ...`. */
function withoutPythonModule(argv: string[]): string[] {
  const isPython = /(?:^|\/)python[\d.]*$/.test(argv[0] ?? "");
  return isPython && argv[1] === "-m" && argv[2] === "vllm.entrypoints.openai.api_server"
    ? ["vllm", "serve", ...argv.slice(3)]
    : argv;
}
