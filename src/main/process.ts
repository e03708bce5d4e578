/** What every binary does around its work: signals, the last error, the exit status. */
import { messageOf, UserError } from "#base/errors.ts";

/** How long a process may take to stop by itself after a signal, in milliseconds. */
const STOP_MAX_MS = 60_000;

/**
 * One Ctrl-C can arrive twice: from the terminal, and from npm, which hands it on. A person who means
 * it again takes longer.
 */
const SAME_SIGNAL_MS = 500;

/**
 * Runs `work` until it ends or SIGINT/SIGTERM aborts it, then exits. A UserError is one sentence on
 * stderr; anything else is our fault and comes with its stack. A second signal ends the process at once.
 */
export async function runProcess(
  name: string,
  work: (signal: AbortSignal) => Promise<number>,
): Promise<void> {
  const stop = new AbortController();
  let firstMs: number | undefined;
  const onSignal = (received: NodeJS.Signals) => {
    const status = 128 + (received === "SIGINT" ? 2 : 15);
    if (firstMs !== undefined) {
      if (performance.now() - firstMs > SAME_SIGNAL_MS) process.exit(status);
      return;
    }
    firstMs = performance.now();
    stop.abort(new DOMException(`stopped by ${received}`, "AbortError"));
    setTimeout(() => process.exit(status), STOP_MAX_MS).unref();
  };
  process.on("SIGINT", onSignal);
  process.on("SIGTERM", onSignal);
  // A reader that goes away (`| head`) is no reason for a stack trace.
  process.stdout.on("error", () => process.exit(0));
  try {
    process.exitCode = await work(stop.signal);
  } catch (error) {
    if (stop.signal.aborted) {
      process.exitCode = 0;
    } else {
      const text =
        error instanceof UserError
          ? `${name}: ${error.message}`
          : `${name}: unexpected error\n${error instanceof Error ? error.stack : messageOf(error)}`;
      process.stderr.write(`${text}\n`);
      process.exitCode = 1;
    }
  }
  // Nothing may keep a finished process alive: a forgotten socket must not hang a pod's termination.
  process.exit();
}
