import type { Container, Pod } from "#api/kubernetes.ts";
import { ADAPTER_MOUNT_PATH, RUNTIME_CONTAINER } from "#api/names.ts";

/** The runtime sidecar of a pod; undefined when it has none. */
export function runtimeContainer(pod: Pod): Container | undefined {
  return pod.spec.containers.find((container) => container.name === RUNTIME_CONTAINER);
}

/** Whether the sidecar's adapters' folder lies on a volume that another container mounts at the same path. */
export function sharesAdapterFolder(pod: Pod): boolean {
  const runtime = runtimeContainer(pod);
  if (runtime === undefined) return false;
  const told = runtime.env?.find((variable) => variable.name === "AIBRIX_ADAPTER_DIR")?.value;
  const folder = told ?? ADAPTER_MOUNT_PATH;
  const mount = mountOf(runtime, folder);
  if (mount === undefined) return false;
  return pod.spec.containers.some((container) => {
    if (container === runtime) return false;
    const other = mountOf(container, folder);
    return (
      other?.name === mount.name &&
      other.mountPath === mount.mountPath &&
      other.subPath === mount.subPath
    );
  });
}

/** The mount that a folder lies on: the deepest one above it. */
function mountOf(container: Container, folder: string) {
  const isAbove = (path: string) => `${folder}/`.startsWith(path.endsWith("/") ? path : `${path}/`);
  return [...(container.volumeMounts ?? [])]
    .sort((a, b) => b.mountPath.length - a.mountPath.length)
    .find((mount) => isAbove(mount.mountPath));
}
