import { basename } from "node:path";
import { getCallSites } from "node:util";
import { pino } from "pino";
import type { Clock } from "#base/clock.ts";
import { klogLine } from "./klog.ts";
import { redact } from "./redact.ts";

/** A value that a log line may carry. */
export type LogValue = string | number | boolean | null | undefined | readonly string[];

export type LogFields = Record<string, LogValue>;

/**
 * Structured log lines: a constant message and named values, so that `grep` and machines both find
 * them. Never pass a secret: what `redact.ts` recognises is masked, but only as a safety net.
 */
export interface Log {
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
  /** The same log with `fields` added to each line. */
  child(fields: LogFields): Log;
}

const LEVELS = ["debug", "info", "warn", "error"] as const;
export type LogLevel = (typeof LEVELS)[number];

export interface LogOptions {
  /** `text` is klog's form, which Kubernetes users grep; `json` is one object per line. */
  readonly format: "text" | "json";
  readonly clock: Clock;
  /** Lines below this level are dropped. Default: info. */
  readonly level?: LogLevel;
  /** Which part of Loradock writes; only the JSON form carries it, as `component`. */
  readonly component?: string;
  /** Takes one complete line with its line end. Default: standard error. */
  readonly write?: (line: string) => void;
}

interface Entry {
  level: LogLevel;
  message: string;
  fields: LogFields;
  atMs: number;
  /** `file.ts:line` of the caller. */
  caller: string;
}

/** The log of one process part. */
export function createLog(options: LogOptions): Log {
  const write = options.write ?? ((line: string) => void process.stderr.write(line));
  const sink = options.format === "json" ? jsonSink(options.component, write) : textSink(write);
  return logOver(sink, options.clock, LEVELS.indexOf(options.level ?? "info"), {});
}

function logOver(
  sink: (entry: Entry) => void,
  clock: Clock,
  threshold: number,
  bound: LogFields,
): Log {
  const at = (level: LogLevel) => {
    if (LEVELS.indexOf(level) < threshold) return () => {};
    return (message: string, fields?: LogFields) => {
      sink({
        level,
        message,
        fields: redact(fields === undefined ? bound : { ...bound, ...fields }),
        atMs: clock.now(),
        caller: callSite(),
      });
    };
  };
  return {
    debug: at("debug"),
    info: at("info"),
    warn: at("warn"),
    error: at("error"),
    child: (fields) => logOver(sink, clock, threshold, { ...bound, ...fields }),
  };
}

/** Who called the log: the third frame, after this function and the method itself. */
function callSite(): string {
  const frame = getCallSites(3)[2];
  return frame === undefined ? "unknown:0" : `${basename(frame.scriptName)}:${frame.lineNumber}`;
}

function textSink(write: (line: string) => void): (entry: Entry) => void {
  return (entry) => write(klogLine({ ...entry, pid: process.pid }));
}

function jsonSink(component: string | undefined, write: (line: string) => void) {
  const logger = pino(
    {
      level: "debug",
      base: { pid: process.pid, ...(component === undefined ? {} : { component }) },
      // The time comes with each entry, from the injected clock.
      timestamp: false,
      formatters: { level: (label) => ({ level: label }) },
    },
    { write },
  );
  return (entry: Entry) => {
    const time = new Date(entry.atMs).toISOString();
    logger[entry.level]({ time, caller: entry.caller, ...entry.fields }, entry.message);
  };
}
