import { appendMetrics } from "#core/metrics/open-metrics.ts";
import { translateMetrics } from "#core/metrics/translate.ts";

/** An exposition to be served. */
export interface Exposition {
  readonly contentType: string;
  readonly body: string | Uint8Array;
  /** Why the engine's text is served raw although it was to be translated. */
  readonly fault?: unknown;
}

/**
 * The engine's metrics with their engine-independent names beside them, and our own behind. Whatever
 * the translation cannot make sense of is served as it came, byte for byte.
 */
export function composeExposition(
  scraped: { readonly contentType: string; readonly body: Uint8Array },
  names: Readonly<Record<string, string>>,
  own: string,
): Exposition {
  const { contentType, body } = scraped;
  try {
    const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(body);
    return { contentType, body: appendMetrics(translateMetrics(text, names), own) };
  } catch (fault) {
    return { contentType, body, fault };
  }
}
