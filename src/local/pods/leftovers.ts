import type { Clock } from "#base/clock.ts";
import { adoptProcess, killLeftovers } from "./container-process.ts";
import { attemptFolders, podFolder, podsFolder, podUids } from "./pod-folder.ts";
import { markedProcesses, sendSignal } from "./process-table.ts";

/** Ends what still runs of a pod that no kubelet looks after any more. */
export async function endPodProcesses(folder: string, graceMs: number, clock: Clock) {
  await Promise.all(
    attemptFolders(folder).map(async (attempt) => {
      await adoptProcess(attempt, clock)?.stop(graceMs);
      await killLeftovers(attempt, undefined, clock);
    }),
  );
}

/** Kills processes of pods whose folders are gone; `isKept` tells which pods have theirs still. */
export function killStrays(stateDir: string, isKept: (uid: string) => boolean): void {
  const root = `${podsFolder(stateDir)}/`;
  for (const { pid, mark } of markedProcesses(root)) {
    if (!isKept(mark.slice(root.length).split("/")[0] ?? "")) sendSignal(pid, "SIGKILL");
  }
}

/**
 * Ends all pods' processes of a state folder. For when its kubelet has gone without doing so: it was
 * killed, or was asked to stop before it had taken over what the one before it had left.
 */
export async function endAllPods(stateDir: string, graceMs: number, clock: Clock): Promise<void> {
  const folders = podUids(stateDir).map((uid) => podFolder(stateDir, uid));
  await Promise.all(folders.map((folder) => endPodProcesses(folder, graceMs, clock)));
  killStrays(stateDir, () => false);
}
