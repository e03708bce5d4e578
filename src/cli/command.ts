import type { Clock } from "#base/clock.ts";

/** What a command gets from the process that runs it: nothing reads the process itself. */
export interface CommandContext {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Aborted by SIGINT and SIGTERM. */
  readonly signal: AbortSignal;
  readonly clock: Clock;
  readonly stdout: NodeJS.WritableStream;
  readonly stderr: NodeJS.WritableStream;
  readonly cwd: string;
  /** Ends the process with this status once the command has returned; 0 unless set. */
  exitCode: number;
}

/** One option of a command, in commander's notation. */
export interface CommandOption {
  /** For example `--port <number>` or `--leader-elect [boolean]`. */
  readonly flags: string;
  readonly description: string;
  readonly default?: string | boolean | undefined;
  /** Turns the text into a value; throws UserError naming the flag and the cure. */
  readonly parse?: (text: string) => unknown;
  /** Environment variable that serves when the flag is not given; an empty one counts as unset. */
  readonly env?: string;
}

/** A command as data: the parser, `--help` and the reference page come from it. */
export interface Command {
  readonly name: string;
  readonly summary: string;
  /** Shown by `--help` below the summary. */
  readonly description?: string;
  readonly options: readonly CommandOption[];
  /** Left out of the list of commands: for processes that others start. */
  readonly hidden?: boolean;
  run(options: Record<string, unknown>, context: CommandContext): Promise<void>;
}
