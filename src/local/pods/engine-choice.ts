import { UserError } from "#base/errors.ts";
import { findExecutable } from "./container-command.ts";
import { ENGINE_PROGRAM } from "./images.ts";

/** What containers of engine images run, and why; the reason is told in an Event on their pods. */
export interface EngineChoice {
  readonly from: "built-in" | "path";
  readonly why: string;
}

export const ENGINES = ["built-in", "vllm"] as const;

/** Real vLLM when it was asked for and is there, else the built-in engine. */
export function chooseEngine(
  wanted: (typeof ENGINES)[number],
  path: string | undefined,
): EngineChoice {
  if (wanted === "built-in") {
    return { from: "built-in", why: "real vLLM is used with LORADOCK_ENGINE=vllm" };
  }
  try {
    const program = findExecutable(ENGINE_PROGRAM, path);
    return { from: "path", why: `LORADOCK_ENGINE=vllm, found at ${program}` };
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    const why = `LORADOCK_ENGINE=vllm, but no ${ENGINE_PROGRAM} is on PATH`;
    return { from: "built-in", why };
  }
}
