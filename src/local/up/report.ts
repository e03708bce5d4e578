import { join } from "node:path";
import { PROMPT } from "./ask.ts";
import { shellWord } from "./settings.ts";

/** What the walk found out about one model. */
export interface ModelResult {
  readonly model: string;
  readonly isBase: boolean;
  readonly phase: string;
  readonly pods: number;
  /** From its apply, or from when its pods could take it, until it ran; undefined for the base. */
  readonly seconds: number | undefined;
  readonly text: string;
}

/** Longer answers are cut: a line should stay a line. */
const TEXT_LENGTH_MAX = 72;

/** An answer as one short line. */
export function oneLine(text: string): string {
  const flat = text.replace(/\s+/g, " ").trim();
  return flat.length <= TEXT_LENGTH_MAX ? flat : `${flat.slice(0, TEXT_LENGTH_MAX - 4)} ...`;
}

/** For example `sql-lora  "San Francisco is a" ->  row; SELECT ...`. */
export function answerLines(results: readonly ModelResult[]): string[] {
  const label = (result: ModelResult) => (result.isBase ? "base" : result.model);
  const width = Math.max(...results.map((result) => label(result).length));
  return results.map(
    (result) => `${label(result).padEnd(width)}  "${PROMPT}" ->  ${oneLine(result.text)}`,
  );
}

/** What is wrong with the answers; empty when they are what adapters have to give. */
export function verdict(results: readonly ModelResult[]): string[] {
  const base = results.find(({ isBase }) => isBase)?.text;
  return results.flatMap(({ model, isBase, text }) => {
    if (text.trim() === "") return [`${model} gave an empty answer`];
    if (!isBase && text === base) return [`${model} answered as the base model does`];
    return [];
  });
}

/** The results as a table, a line each; nothing when no model was asked. */
export function table(results: readonly ModelResult[]): string[] {
  if (results.length === 0) return [];
  const rows = [
    ["MODEL", "PHASE", "PODS", "SECONDS", "TEXT"],
    ...results.map(({ model, phase, pods, seconds, text }) => [
      model,
      phase,
      String(pods),
      seconds === undefined ? "-" : seconds.toFixed(1),
      oneLine(text),
    ]),
  ];
  const widths = [0, 1, 2, 3].map((column) =>
    Math.max(...rows.map((row) => row[column]?.length ?? 0)),
  );
  return rows.map((row) => row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join("   "));
}

/** What to try next, in words that work as they stand. */
export function tryLines(place: {
  stateDir: string;
  gateway: string;
  adapter: string | undefined;
  balancer: string | undefined;
}): string[] {
  const { stateDir, gateway, adapter, balancer } = place;
  const body = `{"model": "${adapter}", "prompt": "${PROMPT}", "max_tokens": 32, "temperature": 0}`;
  const about =
    adapter === undefined
      ? ["kubectl get pods -A"]
      : [
          `kubectl describe modeladapter ${adapter}`,
          `curl ${gateway}/v1/completions -H 'content-type: application/json' -d '${body}'`,
        ];
  return [
    `Try: export KUBECONFIG=${shellWord(join(stateDir, "kubeconfig"))}`,
    ...about.map((line) => `     ${line}`),
    ...(balancer === undefined ? [] : [balancer]),
    `Ctrl-C stops everything; the state is kept in ${stateDir}/`,
  ];
}
