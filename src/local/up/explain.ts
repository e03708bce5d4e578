import { join, sep } from "node:path";
import { logPathOf } from "../pods/container-process.ts";
import { attemptFolders, containerFolder, podFolder } from "../pods/pod-folder.ts";
import { lastWords } from "../supervise.ts";
import type { Trouble } from "./rollout.ts";
import { shellWord, type UpSettings } from "./settings.ts";

/** A trouble as one sentence with the container's last words and where to read more. */
export function explainTrouble(
  trouble: Trouble | undefined,
  { stateDir, shownStateDir }: Pick<UpSettings, "stateDir" | "shownStateDir">,
): string {
  if (trouble === undefined) {
    return `no reason was given; ${join(shownStateDir, "logs", "kubelet.log")} may tell more`;
  }
  const { pod, container, text } = trouble;
  const { name, namespace, uid = "" } = pod.metadata;
  const kubectl = `kubectl --kubeconfig ${shellWord(join(shownStateDir, "kubeconfig"))}`;
  const words = container === undefined ? "" : lastLogLine(podFolder(stateDir, uid), container);
  const who = container === undefined ? `pod ${name}` : `container ${container} of pod ${name}`;
  return words === ""
    ? `${who}: ${text}; see ${kubectl} describe pod -n ${namespace} ${name}`
    : `${who}: ${text}, and its log ends with "${words}"; see ${kubectl} logs -n ${namespace} ${name} -c ${container}`;
}

/** The last line that a container wrote, in its newest attempt that wrote any. */
function lastLogLine(pod: string, container: string): string {
  const own = containerFolder(pod, container) + sep;
  for (const folder of attemptFolders(pod)) {
    const words = folder.startsWith(own) ? lastWords(logPathOf(folder), 0) : "";
    if (words !== "") return words;
  }
  return "";
}
