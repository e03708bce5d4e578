/** A value that a log line may carry. */
export type LogValue = string | number | boolean | null | undefined | readonly string[];

/**
 * Structured log lines: a constant message and named values, so that `grep` and machines both find
 * them. Never pass a secret: values are written as they are.
 */
export interface Log {
  debug(message: string, fields?: Record<string, LogValue>): void;
  info(message: string, fields?: Record<string, LogValue>): void;
  warn(message: string, fields?: Record<string, LogValue>): void;
  error(message: string, fields?: Record<string, LogValue>): void;
  /** The same log with `fields` added to each line. */
  child(fields: Record<string, LogValue>): Log;
}
