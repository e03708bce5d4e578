/**
 * What is particular to AIBrix's own runtime sidecars, each fact seen on the real ones. 0.3.0 takes `{lora_name, lora_path}` and nothing
 * else. From 0.5 on they fetch artifacts, too: into one folder an adapter, which is taken for complete and current ever after; what the
 * engine answers is told in words of their own; a key that comes along is not handed on; an unload is a success whatever the engine
 * says.
 */
import { EngineError } from "./errors.ts";

/** Those of before artifact URLs refuse the request: the path is missing, the rest too much. */
export const knowsNoArtifacts = (error: unknown) =>
  error instanceof EngineError && /body\.lora_path: /.test(error.message);

/** The same of what an unload is to remove. */
export const knowsNoCleanup = (error: unknown) =>
  error instanceof EngineError && /body\.cleanup_local: /.test(error.message);

/** Sentences in place of what the engine said, or of its silence. */
const OPAQUE =
  /(Failed to (un)?load LoRA adapter '[^']*'(, All connection attempts failed)?|(Unexpected error|Request failed)[^:]* LoRA adapter '[^']*')$/;
/** The same for any 404. */
const ANY_NOT_FOUND = /^LoRA path '.*' not found$|^Engine error: LoRA path '.*' not found$/;

/** An error of a sidecar, with what AIBrix's leave out. @param isEngineThere asks the engine through the sidecar for anything */
export async function explained(
  error: unknown,
  hasKey: boolean,
  isEngineThere: () => Promise<boolean>,
): Promise<unknown> {
  if (!(error instanceof EngineError)) return error;
  const { code, message, retriable } = error;
  if (code === "Unauthorized" && hasKey) {
    const hidden =
      "or AIBrix's runtime sidecar did not hand it on: set INFERENCE_ENGINE_API_KEY in the container aibrix-runtime, or use Loradock's";
    return new EngineError(code, retriable, `${message}, ${hidden}`);
  }
  if (ANY_NOT_FOUND.test(message)) {
    const hidden =
      "check spec.artifactURL, and that VLLM_ALLOW_RUNTIME_LORA_UPDATING=True is set in the engine's container: AIBrix's runtime sidecar does not tell these apart";
    return new EngineError("NotFound", false, `${message}: ${hidden}`);
  }
  if (!OPAQUE.test(message)) return error;
  const why = (await isEngineThere())
    ? "bad gateway: the engine answered AIBrix's runtime sidecar with an error that it does not hand on: see the log of the container aibrix-runtime"
    : "bad gateway: the runtime sidecar cannot reach the engine";
  return new EngineError("Unavailable", true, why);
}
