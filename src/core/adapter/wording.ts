/** Words of engines, made fit for a person who asks what to do: their noise goes, and the cure comes where they do not say it. */
const NOISE =
  /^the engine answered \d+: Call to add_lora method failed: Worker failed with error '(.*)', please check the stack trace above for the root cause$/s;
const SAID = "the engine refuses the adapter: $1";

/** What ends in words like these says what is wrong alone. */
const CURES: readonly (readonly [RegExp, string])[] = [
  [
    /(LoRA rank (\d+) is greater than max_lora_rank \d+)\.?$/,
    "$1: start the engine with --max-lora-rank $2 or more, or train with a lower r",
  ],
  [
    /(No adapter found for \S+)$/,
    "$1: check spec.artifactURL; a path has to be mounted in the engine's container",
  ],
  [/(Secret \S+ has no key \S+)$/, "$1: add it, or correct the reference"],
];

/** The message of a failure as it stands in the status. Said of its own result it changes nothing. */
export function inOurWords(message: string): string {
  return CURES.reduce(
    (text, [words, cure]) => text.replace(words, cure),
    message.replace(NOISE, SAID),
  );
}
