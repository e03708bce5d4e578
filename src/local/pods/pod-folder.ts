/**
 * What the kubelet remembers on disk, so that it can go on after its own end:
 *
 *   <state>/pods/<uid>/pod.json                      name, namespace, address
 *   <state>/pods/<uid>/kubeconfig
 *   <state>/pods/<uid>/volumes/<volume>/
 *   <state>/pods/<uid>/containers/<name>/private/    what of its file system is not mounted
 *   <state>/pods/<uid>/containers/<name>/<attempt>/  attempt.json, process, exit, log, log.times, ...
 */
import { existsSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { readFileIfThere, writeFileAtomically } from "./files.ts";
import type { ContainerExit } from "./pod-plan.ts";

export interface PodRecord {
  readonly uid: string;
  readonly namespace: string;
  readonly name: string;
  readonly address: string;
}

/** One start of a container. */
export interface AttemptRecord {
  readonly attempt: number;
  readonly containerId: string;
  readonly image: string;
  readonly startedAtMs: number;
  /** Ends in a row, this attempt's included once it is known. */
  readonly ends: number;
  /** Set when the kubelet has seen the end. */
  readonly exit?: ContainerExit;
}

/** How many attempts are kept: the present one and the one that `kubectl logs --previous` shows. */
const ATTEMPTS_KEPT = 2;

export const podsFolder = (stateDir: string) => join(stateDir, "pods");
export const podFolder = (stateDir: string, uid: string) => join(podsFolder(stateDir), uid);
export const containerFolder = (pod: string, container: string) =>
  join(pod, "containers", container);
export const attemptFolder = (pod: string, container: string, attempt: number) =>
  join(containerFolder(pod, container), String(attempt));

function readJson<T>(path: string): T | undefined {
  const text = readFileIfThere(path);
  if (text === undefined) return undefined;
  try {
    return JSON.parse(text) as T;
  } catch {
    // Written in one step, so only a broken disk can do this; the pod then starts anew.
    return undefined;
  }
}

export function writePodRecord(folder: string, record: PodRecord): void {
  writeFileAtomically(join(folder, "pod.json"), JSON.stringify(record));
}

/** All pods that this machine has, or had when the kubelet ended. */
export function readPodRecords(stateDir: string): PodRecord[] {
  const folder = podsFolder(stateDir);
  if (!existsSync(folder)) return [];
  return readdirSync(folder)
    .map((uid) => readJson<PodRecord>(join(folder, uid, "pod.json")))
    .filter((record) => record !== undefined);
}

/** Uids of all pods that have a folder, also those that never came to a record. */
export function podUids(stateDir: string): string[] {
  const folder = podsFolder(stateDir);
  return existsSync(folder) ? readdirSync(folder) : [];
}

/** Folders of all attempts of a pod's containers. */
export function attemptFolders(pod: string): string[] {
  const root = join(pod, "containers");
  if (!existsSync(root)) return [];
  return readdirSync(root).flatMap((container) =>
    attemptsOf(pod, container).map((attempt) => attemptFolder(pod, container, attempt)),
  );
}

function attemptsOf(pod: string, container: string): number[] {
  const folder = containerFolder(pod, container);
  if (!existsSync(folder)) return [];
  return readdirSync(folder)
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .sort((a, b) => b - a);
}

export function writeAttempt(folder: string, record: AttemptRecord): void {
  writeFileAtomically(join(folder, "attempt.json"), JSON.stringify(record));
}

/** The newest attempts of a container, the present one first. */
export function readAttempts(pod: string, container: string): AttemptRecord[] {
  return attemptsOf(pod, container)
    .slice(0, ATTEMPTS_KEPT)
    .map((attempt) =>
      readJson<AttemptRecord>(join(attemptFolder(pod, container, attempt), "attempt.json")),
    )
    .filter((record) => record !== undefined);
}

/** Removes what belongs to older attempts than those that are kept. */
export function pruneAttempts(pod: string, container: string): void {
  for (const attempt of attemptsOf(pod, container).slice(ATTEMPTS_KEPT)) {
    rmSync(attemptFolder(pod, container, attempt), { recursive: true, force: true });
  }
}
