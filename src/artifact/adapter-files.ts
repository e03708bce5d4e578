/** What PEFT calls the files of an adapter, and every engine expects. */
export const ADAPTER_CONFIG = "adapter_config.json";
export const ADAPTER_WEIGHTS = "adapter_model.safetensors";
/** Weights as Python pickle: they can run code in the engine. */
export const ADAPTER_PICKLE = "adapter_model.bin";

/** Engines read these beside the adapter when it brings words of its own. */
const TOKENIZER_FILES = [
  "new_embeddings.safetensors",
  "tokenizer.json",
  "tokenizer.model",
  "tokenizer_config.json",
  "special_tokens_map.json",
  "added_tokens.json",
  "vocab.json",
  "merges.txt",
  "chat_template.jinja",
];

/** Picks an adapter's own files out of a store's folder; training left-overs can be many times larger. */
export function isAdapterFile(path: string, allowPickle: boolean): boolean {
  return (
    path === ADAPTER_CONFIG ||
    path === ADAPTER_WEIGHTS ||
    (allowPickle && path === ADAPTER_PICKLE) ||
    TOKENIZER_FILES.includes(path)
  );
}
