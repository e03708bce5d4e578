/**
 * Engines serve their own administration below /v1, too. It is the controller's business: through the
 * gateway anybody who may call a model could unload another one.
 */
const ADMINISTRATION = [
  "/v1/load_lora_adapter",
  "/v1/unload_lora_adapter",
  "/v1/lora_adapter",
  "/v1/model",
];

/** True for the inference calls of an engine: `/v1/` and plain segments that no normalisation changes. */
export function isInferencePath(path: string): boolean {
  // No escapes, no empty or dot segments: what is checked here is exactly what the engine sees.
  if (!/^\/v1(\/[A-Za-z0-9_-]+)+\/?$/.test(path)) return false;
  const plain = path.toLowerCase();
  return !ADMINISTRATION.some((prefix) => plain === prefix || plain.startsWith(`${prefix}/`));
}
