/**
 * The adapters that a vLLM is answering requests with, or has waiting, by its metrics.
 * `vllm:lora_requests_info` keeps every combination of names it ever had; its value is the time when
 * it last held, so the newest line (of each engine, where there are several) is what holds now.
 */
export function adaptersInUse(metrics: string): ReadonlySet<string> {
  const newest = new Map<string, { at: number; labels: string }>();
  for (const [, labels = "", value] of metrics.matchAll(LINE)) {
    const engine = labels.replace(NAMES, "");
    const at = Number(value);
    if (at > (newest.get(engine)?.at ?? Number.NEGATIVE_INFINITY))
      newest.set(engine, { at, labels });
  }
  const names = new Set<string>();
  for (const { labels } of newest.values()) {
    for (const [, list = ""] of labels.matchAll(NAMES)) {
      for (const name of list.split(",")) if (name !== "") names.add(name);
    }
  }
  return names;
}

const LINE = /^vllm:lora_requests_info\{([^\n]*)\} (\S+)/gm;
const NAMES = /(?:running|waiting)_lora_adapters="([^"]*)"/g;
