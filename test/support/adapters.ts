import { readFileSync } from "node:fs";
import { join } from "node:path";

/** The folder of the tiny model's adapters: `adapters/sql`, `adapters-bad/garbage`, ... */
export const TINY = join(import.meta.dirname, "../../fixtures/tiny");

/** The two files of a tiny adapter below `prefix`, for a server. */
export function adapterFiles(prefix: string, name = "sql"): Record<string, Buffer> {
  const read = (file: string) => readFileSync(join(TINY, "adapters", name, file));
  return {
    [`${prefix}/adapter_config.json`]: read("adapter_config.json"),
    [`${prefix}/adapter_model.safetensors`]: read("adapter_model.safetensors"),
  };
}

/**
 * An adapter of about `bytes`, for downloads that take a while: sound safetensors with one LoRA tensor of
 * bytes that do not compress.
 */
export function largeAdapter(prefix: string, bytes: number): Record<string, Buffer> {
  const header = JSON.stringify({
    "base_model.model.lora_A.weight": { dtype: "U8", shape: [bytes], data_offsets: [0, bytes] },
  });
  const length = Buffer.alloc(8);
  length.writeUInt32LE(header.length);
  const data = Buffer.alloc(bytes);
  for (let i = 0; i < bytes; i++) data[i] = (i * 2654435761) >>> 13;
  return {
    ...adapterFiles(prefix),
    [`${prefix}/adapter_model.safetensors`]: Buffer.concat([length, Buffer.from(header), data]),
  };
}
