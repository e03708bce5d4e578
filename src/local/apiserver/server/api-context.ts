import type { Clock } from "#base/clock.ts";
import type { Log } from "#telemetry/log.ts";
import type { Registry } from "../registry/registry.ts";
import type { Tokens } from "./tokens.ts";

/** What every request may need. */
export interface ApiContext {
  readonly registry: Registry;
  readonly clock: Clock;
  readonly log: Log;
  readonly random: () => number;
  readonly tokens: Tokens;
  /** Who tokens are for unless a request says otherwise. */
  readonly tokenAudience: string;
  readonly kubeletToken: () => string;
  /** `host:port` where the server is reached. */
  readonly address: () => string;
  readonly build: string;
  /** Aborted when the server stops: watches end. */
  readonly leave: AbortSignal;
}
