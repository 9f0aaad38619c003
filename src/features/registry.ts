import type { Config } from '../config/config.js';
import type { Element } from '../xml/element.js';
import type { Feature, IqHandler, Route, Target } from './feature.js';

const TARGETS: readonly Target[] = ['server', 'account', 'contact', 'pubsub'];

/**
 * All that the broker speaks, from the declarations: what answers a request, what service discovery says, what a stream offers,
 * and what the documents list.
 */
export class FeatureSet {
  private readonly handlers = {} as Record<Target, Map<Route, IqHandler>>;
  private readonly discovered = {} as Record<Target, readonly string[]>;

  /** @throws Error when two features want the same route: a mistake in the list */
  constructor(readonly all: readonly Feature[]) {
    for (const target of TARGETS) {
      this.handlers[target] = collectRoutes(all, target);
      this.discovered[target] = [...new Set(all.flatMap((feature) => feature.disco?.[target] ?? []))].sort();
    }
  }

  /** What answers the request, undefined when nothing here does. */
  handler(target: Target, route: Route): IqHandler | undefined {
    return this.handlers[target].get(route);
  }

  /** Features for disco#info, sorted (XEP-0030 §3). */
  disco(target: Target): readonly string[] {
    return this.discovered[target];
  }

  /** Children of `<stream:features/>` after authentication, serialised, in the order of the list. */
  streamFeatures(config: Config): string {
    const elements = this.all.flatMap((feature) => feature.streamFeatures?.(config) ?? []);
    return elements.map((element) => element.serialize('jabber:client')).join('');
  }

  /** Extended information on the server (XEP-0128). */
  forms(config: Config): readonly Element[] {
    return this.all.flatMap((feature) => feature.forms?.(config) ?? []);
  }
}

function collectRoutes(features: readonly Feature[], target: Target): Map<Route, IqHandler> {
  const routes = new Map<Route, IqHandler>();
  for (const { spec, routes: declared } of features) {
    for (const [route, handler] of Object.entries(declared?.[target] ?? {}) as [Route, IqHandler][]) {
      if (routes.has(route)) throw new Error(`${spec}: ${route} of ${target} is taken by another feature`);
      routes.set(route, handler);
    }
  }
  return routes;
}
