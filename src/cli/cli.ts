import { Command as Commander, CommanderError, Option } from "commander";
import { UserError } from "#base/errors.ts";
import type { Command, CommandContext, CommandOption } from "./command.ts";

/** Loads one command; only the one that is run is ever imported, so that each process stays small. */
export interface CommandEntry {
  readonly name: string;
  readonly summary: string;
  readonly hidden?: boolean;
  readonly load: () => Promise<Command>;
}

/**
 * Runs the command that `argv` (without node and script) names.
 * @throws UserError for anything wrong in `argv`, with the cure in its message.
 */
export async function runCli(
  entries: readonly CommandEntry[],
  argv: readonly string[],
  version: string,
  context: CommandContext,
): Promise<void> {
  const entry = entries.find((item) => item.name === argv[0]);
  const program = programOf(version, context);
  for (const item of entries) {
    const sub = program.command(item.name, { hidden: item.hidden ?? false });
    sub.summary(item.summary);
    if (item === entry) await describe(sub, await item.load(), context);
  }
  if (argv.length === 0) {
    context.stdout.write(program.helpInformation());
    return;
  }
  try {
    await program.parseAsync([...argv], { from: "user" });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    // Help and version come out as errors with status 0.
    if (error.exitCode === 0) return;
    throw new UserError(sentenceOf(error, entry?.name));
  }
}

/** What Commander says in up to two lines, in one, and where the commands and flags are told. */
function sentenceOf(error: CommanderError, command: string | undefined): string {
  const [said = "", hint = ""] = error.message.replace(/^error: /, "").split("\n");
  const suggestion = hint === "" ? "" : ` ${hint.replace(/^\(Did/, "(did")}`;
  const help = ["loradock", ...(command === undefined ? [] : [command]), "--help"].join(" ");
  return `${said.replace(/\.$/, "")}${suggestion}; see ${help}`;
}

function programOf(version: string, context: CommandContext): Commander {
  const program = new Commander("loradock");
  program
    .description(
      "Keeps LoRA adapters loaded on the right inference pods and routes requests to them.",
    )
    .version(version)
    .exitOverride()
    .configureOutput({
      writeOut: (text) => context.stdout.write(text),
      // The message comes back as the thrown error, once.
      writeErr: () => undefined,
    })
    .showSuggestionAfterError(true);
  return program;
}

async function describe(sub: Commander, command: Command, context: CommandContext): Promise<void> {
  sub.description(command.description ?? command.summary).exitOverride();
  for (const option of command.options) sub.addOption(optionOf(option, context));
  sub.action(async (values: Record<string, unknown>) => {
    await command.run(values, context);
  });
}

function optionOf(option: CommandOption, context: CommandContext): Option {
  const made = new Option(option.flags, option.description);
  const { parse } = option;
  const fromEnv = option.env === undefined ? undefined : context.env[option.env] || undefined;
  if (option.env !== undefined) made.description += ` (env: ${option.env})`;
  if (parse !== undefined) made.argParser((text) => parse(text));
  const fallback = fromEnv ?? option.default;
  if (fallback === undefined) return made;
  const value = typeof fallback === "string" && parse !== undefined ? parse(fallback) : fallback;
  return made.default(value, String(option.default ?? ""));
}
