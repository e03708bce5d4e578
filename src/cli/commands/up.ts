import { isAbsolute, relative, resolve } from "node:path";
import { ENGINES } from "#local/pods/engine-choice.ts";
import { runUp } from "#local/up/up.ts";
import { createLog } from "#telemetry/log.ts";
import type { Command, CommandContext } from "../command.ts";
import { parseChoice, parsePort } from "../parse.ts";

interface UpFlags {
  stateDir: string;
  apiPort: number;
  gatewayPort: number;
  hubPort: number;
  once?: boolean;
  sample: boolean;
  engine: (typeof ENGINES)[number];
  logFormat: "text" | "json";
}

/** Exit status of a shell's command that Ctrl-C ended. */
const INTERRUPTED = 130;

/** Others have to know a port before it is bound. */
const PORT_MIN = 1;

/** `loradock up`: everything on one machine. */
export const upCommand: Command = {
  name: "up",
  summary: "run everything on this machine",
  description:
    "Starts an embedded Kubernetes API and a kubelet, on them the controller, the gateway, a base model and three adapters, and asks each model a question. Runs until Ctrl-C; the state is kept for the next start.",
  options: [
    {
      flags: "--state-dir <folder>",
      description: "where everything is kept: objects, pods' files, logs, the hub's models",
      default: ".loradock",
    },
    {
      flags: "--api-port <port>",
      description: "port of the Kubernetes API on 127.0.0.1",
      default: "16443",
      parse: parsePort("--api-port", PORT_MIN),
    },
    {
      flags: "--gateway-port <port>",
      description: "port of the gateway on 127.0.0.1",
      default: "8888",
      parse: parsePort("--gateway-port", PORT_MIN),
    },
    {
      flags: "--hub-port <port>",
      description: "port of the model hub on 127.0.0.1",
      default: "16480",
      parse: parsePort("--hub-port", PORT_MIN),
    },
    {
      flags: "--once",
      description: "print the answers as a table, stop, and exit 0 only if they are right",
    },
    {
      flags: "--no-sample",
      description: "start only the control plane, no base model and no adapters",
      default: true,
    },
    {
      flags: "--engine <name>",
      description: "what engine images run: built-in (a tiny model) or vllm (if it is on PATH)",
      default: "built-in",
      parse: parseChoice("--engine", ENGINES),
      env: "LORADOCK_ENGINE",
    },
    {
      flags: "--log-format <form>",
      description: "form of the log files: text (klog's form) or json",
      default: "text",
      parse: parseChoice("--log-format", ["text", "json"]),
    },
  ],
  run: (flags, context) => run(flags as unknown as UpFlags, context),
};

async function run(flags: UpFlags, context: CommandContext): Promise<void> {
  const { clock, env, signal, stdout, stderr, cwd } = context;
  const stateDir = resolve(cwd, flags.stateDir);
  const shown = relative(cwd, stateDir);
  const write = (line: string) => void stderr.write(line);
  const settings = {
    ...flags,
    stateDir,
    shownStateDir: shown === "" || shown.startsWith("..") || isAbsolute(shown) ? stateDir : shown,
    once: flags.once === true,
  };
  const deps = {
    clock,
    log: createLog({ format: flags.logFormat, clock, write }),
    screen: { stdout, clock },
    env: Object.fromEntries(
      Object.entries(env).filter((entry): entry is [string, string] => entry[1] !== undefined),
    ),
    node: process.execPath,
  };
  try {
    await runUp(settings, deps, signal);
  } catch (error) {
    if (!signal.aborted) throw error;
    // Interrupted before the answers were there: nothing was proved.
    if (settings.once) context.exitCode = INTERRUPTED;
  }
}
