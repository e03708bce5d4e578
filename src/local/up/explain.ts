import { join } from "node:path";
import { attemptFolders, podFolder } from "../pods/pod-folder.ts";
import { lastWords } from "../supervise.ts";
import type { Trouble } from "./rollout.ts";
import type { UpSettings } from "./settings.ts";

/** A trouble as one sentence with the container's last words and where to read more. */
export function explainTrouble(trouble: Trouble | undefined, settings: UpSettings): string {
  const { stateDir, shownStateDir } = settings;
  const kubectl = `kubectl --kubeconfig ${shownStateDir}/kubeconfig`;
  if (trouble === undefined) {
    return `no reason was given; ${shownStateDir}/logs/kubelet.log may tell more`;
  }
  const { pod, container, text } = trouble;
  const { name, namespace } = pod.metadata;
  if (container === undefined) {
    return `pod ${name}: ${text}; see ${kubectl} describe pod -n ${namespace} ${name}`;
  }
  const words = lastLogLine(podFolder(stateDir, pod.metadata.uid ?? ""), container);
  const quoted = words === "" ? "" : ` ("${words}")`;
  return `container ${container} of pod ${name}: ${text}${quoted}; see ${kubectl} logs -n ${namespace} ${name} -c ${container}`;
}

/** The last line that a container wrote, in its newest attempt that wrote any. */
function lastLogLine(pod: string, container: string): string {
  const folders = attemptFolders(pod).filter((folder) =>
    folder.startsWith(join(pod, "containers", container, "/")),
  );
  for (const folder of folders) {
    const words = lastWords(join(folder, "log"), 0);
    if (words !== "") return words;
  }
  return "";
}
