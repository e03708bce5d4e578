import { Listr } from "listr2";
import type { Clock } from "#base/clock.ts";
import { messageOf, UserError } from "#base/errors.ts";
import { KubeApiError } from "#kube/client.ts";

/** One step that a person can watch. */
export interface Stage {
  readonly name: string;
  /** Does the work; the text that it resolves to stands behind the name from then on. */
  readonly run: (waitsFor: (what: string) => void) => Promise<string>;
}

export interface Screen {
  readonly stdout: NodeJS.WritableStream & { readonly isTTY?: boolean };
  readonly clock: Clock;
}

const NAME_WIDTH = 16;
/** What takes longer says what it waits for. */
const QUIET_MS = 1_000;

/**
 * Runs stages one after the other. On a terminal they are redrawn in place; elsewhere each change is
 * a line, so that logs of CI stay readable.
 * @throws UserError that names the stage that failed.
 */
export async function runStages(stages: readonly Stage[], screen: Screen): Promise<void> {
  const isTerminal = screen.stdout.isTTY === true;
  const list = new Listr(
    stages.map((stage) => ({
      title: stage.name,
      task: async (_context, task) => {
        const waits = isTerminal
          ? (what: string) => {
              task.output = what;
            }
          : plainWaits(stage.name, screen);
        try {
          const line = `${stage.name.padEnd(NAME_WIDTH)} ${await stage.run(waits)}`;
          task.title = line;
          if (!isTerminal) screen.stdout.write(`✔ ${line}\n`);
        } catch (error) {
          if (!isTerminal) screen.stdout.write(`✖ ${stage.name}\n`);
          throw named(stage.name, error);
        }
      },
    })),
    {
      renderer: isTerminal ? "default" : "silent",
      // The error comes out once, from the process's end; signals are the process's too.
      rendererOptions: { showErrorMessage: false, collapseSubtasks: false },
      registerSignalListeners: false,
    },
  );
  await list.run();
}

/** What the user can mend names its stage; the API's refusals are among it. */
function named(stage: string, error: unknown): unknown {
  if (error instanceof KubeApiError) {
    return new UserError(`${stage}: the Kubernetes API refused: ${error.message}`, {
      cause: error,
    });
  }
  return error instanceof UserError
    ? new UserError(`${stage}: ${messageOf(error)}`, { cause: error })
    : error;
}

/** A line for each thing that is waited for, once the stage has taken longer than a moment. */
function plainWaits(name: string, { stdout, clock }: Screen): (what: string) => void {
  const startMs = clock.now();
  let told: string | undefined;
  return (what) => {
    if (what === told || clock.now() - startMs < QUIET_MS) return;
    told = what;
    stdout.write(`… ${name.padEnd(NAME_WIDTH)} ${what}\n`);
  };
}
