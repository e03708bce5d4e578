/**
 * When the lines of a log came. Containers write their log file themselves, so no line carries a
 * time; the kubelet notes beside the log how far it had grown when. One entry is one line of text:
 * `<end offset> <ms since the epoch>`; its time holds for the bytes between the entry before and it.
 */
export interface LogTime {
  readonly endOffset: number;
  readonly atMs: number;
}

export function formatLogTime(time: LogTime): string {
  return `${time.endOffset} ${time.atMs}\n`;
}

/** Reads all entries; a half-written last line is left out. */
export function parseLogTimes(text: string): LogTime[] {
  const times: LogTime[] = [];
  for (const line of text.split("\n").slice(0, -1)) {
    const [endOffset, atMs] = line.split(" ").map(Number);
    if (Number.isFinite(endOffset) && Number.isFinite(atMs)) {
      times.push({ endOffset: endOffset ?? 0, atMs: atMs ?? 0 });
    }
  }
  return times;
}

/** Index of the first entry for which `holds` is true; all entries after it must hold too. */
function firstIndex(times: readonly LogTime[], holds: (time: LogTime) => boolean): number {
  let low = 0;
  let high = times.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const time = times[middle];
    if (time !== undefined && holds(time)) high = middle;
    else low = middle + 1;
  }
  return low;
}

/** When the byte at `offset` was written; `lateMs` for bytes that no entry covers yet. */
export function timeAt(times: readonly LogTime[], offset: number, lateMs: number): number {
  return times[firstIndex(times, (time) => time.endOffset > offset)]?.atMs ?? lateMs;
}

/** The first offset whose byte came at `sinceMs` or later; `size` when there is none. */
export function offsetSince(
  times: readonly LogTime[],
  sinceMs: number,
  log: { size: number; lateMs: number },
): number {
  const index = firstIndex(times, (time) => time.atMs >= sinceMs);
  const before = times[index - 1]?.endOffset ?? 0;
  if (index < times.length) return before;
  return log.lateMs >= sinceMs ? Math.min(before, log.size) : log.size;
}
