/**
 * The troubles of a world by when they were invented. A seed stands for a run only together with those that there were when it was found: a
 * test that keeps a seed names its edition, and replays it byte for byte whatever was added since.
 *
 * 1: people, pods, engines, the network, watches, controllers.
 * 2: two namespaces of the same names, credentials and keys that change, engines that evict, processes that stand still in the middle of
 *    a call, clocks that are set.
 * 3: controllers that are started now with and now without the sidecars.
 */
export type Edition = 1 | 2 | 3;
export const NEWEST: Edition = 3;
