import type { CommandEntry } from "./cli.ts";

/** All commands; each is imported only when it is run. */
export const COMMANDS: readonly CommandEntry[] = [
  {
    name: "up",
    summary: "run everything on this machine",
    load: async () => (await import("./commands/up.ts")).upCommand,
  },
  {
    name: "controller",
    summary: "run the ModelAdapter controller",
    load: async () => (await import("./commands/controller.ts")).controllerCommand,
  },
  {
    name: "runtime",
    summary: "run the sidecar of an inference engine",
    load: async () => (await import("./commands/runtime.ts")).runtimeCommand,
  },
  {
    name: "gateway",
    summary: "run the OpenAI-compatible gateway",
    load: async () => (await import("./commands/gateway.ts")).gatewayCommand,
  },
  {
    name: "hub",
    summary: "serve folders in the protocol of the Hugging Face hub",
    load: async () => (await import("./commands/hub.ts")).hubCommand,
  },
];
