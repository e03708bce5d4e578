import type { ENGINES } from "../pods/engine-choice.ts";
import type { NeededPort } from "../preflight.ts";

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

/** What has to be free before anything starts. */
export const neededPorts = ({ apiPort, gatewayPort, hubPort }: UpSettings): NeededPort[] => [
  { host: HOST, port: apiPort, what: "the Kubernetes API", flag: "--api-port" },
  { host: HOST, port: gatewayPort, what: "the gateway", flag: "--gateway-port" },
  { host: HOST, port: hubPort, what: "the model hub", flag: "--hub-port" },
];

/** A path as a shell takes it, quoted where it has to be. */
export function shellWord(path: string): string {
  return /^[\w./@%+=:,-]+$/.test(path) ? path : `'${path.replaceAll("'", "'\\''")}'`;
}
