/** The log of an engine: vLLM's own lines and uvicorn's, in their forms. */
export type EngineLog = {
  /** A line of the engine. */
  info(message: string): void;
  error(message: string): void;
  /** A line of the web server; nothing when its level is above info. */
  server(message: string): void;
};

/** Writes to `writeLine`; `now` in ms since the epoch. */
export function newEngineLog(
  writeLine: (line: string) => void,
  now: () => number,
  isServerLogged: boolean,
): EngineLog {
  const write = (level: string, message: string) => {
    // `MM-DD HH:MM:SS`, as vLLM prints the time.
    const time = new Date(now()).toISOString().slice(5, 19).replace("T", " ");
    writeLine(`${level} ${time} [engine] ${message}`);
  };
  return {
    info: (message) => write("INFO", message),
    error: (message) => write("ERROR", message),
    server: (message) => {
      if (isServerLogged) writeLine(`INFO:     ${message}`);
    },
  };
}
