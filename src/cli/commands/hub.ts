import { resolve } from "node:path";
import { codeOf, messageOf, UserError } from "#base/errors.ts";
import { startHub } from "#local/hub/hub.ts";
import { seedHub } from "#local/hub/seed.ts";
import { makeFolder } from "#local/pods/files.ts";
import { createLog } from "#telemetry/log.ts";
import type { Command, CommandContext } from "../command.ts";
import { parsePort } from "../parse.ts";

interface HubFlags {
  dir: string;
  host: string;
  port: number;
  seed?: boolean;
}

/** `loradock hub`: folders in the Hugging Face hub's protocol. */
export const hubCommand: Command = {
  name: "hub",
  summary: "serve folders in the protocol of the Hugging Face hub",
  description:
    "Serves <dir>/<organisation>/<repository> as a Hugging Face hub does: set HF_ENDPOINT to its address. For networks without Internet, and for trying things out.",
  options: [
    { flags: "--dir <folder>", description: "the folder to serve", default: ".loradock/hub" },
    { flags: "--host <address>", description: "where to listen", default: "127.0.0.1" },
    {
      flags: "--port <port>",
      description: "where to listen",
      default: "16480",
      parse: parsePort("--port"),
    },
    { flags: "--seed", description: "put the tiny sample adapters there first" },
  ],
  run: (flags, context) => run(flags as unknown as HubFlags, context),
};

function makeDir(dir: string): void {
  try {
    makeFolder(dir);
  } catch (error) {
    throw new UserError(
      `cannot make the folder ${dir} (${messageOf(error)}); choose another --dir`,
    );
  }
}

async function run(flags: HubFlags, context: CommandContext): Promise<void> {
  const dir = resolve(context.cwd, flags.dir);
  const { clock, signal, stderr } = context;
  const write = (line: string) => void stderr.write(line);
  const log = createLog({ format: "text", clock, write });
  try {
    makeDir(dir);
    if (flags.seed === true) await seedHub(dir);
    const hub = await startHub({ dir, host: flags.host, port: flags.port, log }, signal);
    log.info("The hub serves", { dir, HF_ENDPOINT: hub.url });
    await hub.closed;
  } catch (error) {
    const where = `${flags.host}:${flags.port}`;
    if (codeOf(error) === "EADDRINUSE") {
      throw new UserError(`${where} is taken by another process: stop it or choose another --port`);
    }
    if (codeOf(error) === "EACCES") {
      throw new UserError(`not allowed: ${messageOf(error)}; choose another --dir or --port`);
    }
    throw error;
  }
}
