import { el } from '../xml/element.js';
import { defineFeature, type Feature } from './feature.js';

const NS_LAST = 'jabber:iq:last';

/** How long the server has been running (XEP-0012 §5); `started` in milliseconds since the epoch. */
export function lastActivity({ started }: { started: number }): Feature {
  return defineFeature({
    spec: 'XEP-0012',
    title: 'Last Activity',
    version: '2.0',
    note: 'of the server, not of accounts',
    disco: { server: [NS_LAST] },
    routes: {
      server: {
        [`iq:get:${NS_LAST}:query`]: () => {
          const seconds = Math.max(0, Math.floor((Date.now() - started) / 1000));
          return el('query', NS_LAST, { seconds: String(seconds) });
        },
      },
    },
  });
}
