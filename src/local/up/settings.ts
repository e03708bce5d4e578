import type { ENGINES } from "../pods/engine-choice.ts";

/** What `loradock up` was asked for. */
export interface UpSettings {
  /** Absolute: everything that is kept lies below it. */
  readonly stateDir: string;
  /** The state folder as the user would write it, for texts. */
  readonly shownStateDir: string;
  readonly apiPort: number;
  readonly gatewayPort: number;
  readonly hubPort: number;
  /** Walk once, tell the result as a table and stop. */
  readonly once: boolean;
  /** Whether to run the sample base model and its adapters. */
  readonly sample: boolean;
  readonly engine: (typeof ENGINES)[number];
  readonly logFormat: "text" | "json";
}

export const HOST = "127.0.0.1";
export const NODE_NAME = "loradock";
