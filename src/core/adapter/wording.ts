/** What vLLM says around the words of its worker. */
const NOISE =
  /^the engine answered \d+: Call to add_lora method failed: Worker failed with error '(.*?)\.?', please check the stack trace above for the root cause/s;

/** The message of a failure as it stands in the status: an engine's words without their noise. Said of its own result it changes nothing. */
export const inOurWords = (message: string): string =>
  message.replace(NOISE, "the engine refuses the adapter: $1");
