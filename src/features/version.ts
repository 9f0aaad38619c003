import { el } from '../xml/element.js';
import { defineFeature, type Feature } from './feature.js';

const NS_VERSION = 'jabber:iq:version';

/** The operating system is left out: it helps attackers more than clients (XEP-0092 §6). */
export function softwareVersion({ version }: { version: string }): Feature {
  return defineFeature({
    spec: 'XEP-0092',
    title: 'Software Version',
    version: '1.1',
    disco: { server: [NS_VERSION] },
    routes: {
      server: {
        [`iq:get:${NS_VERSION}:query`]: () =>
          el('query', NS_VERSION, {}, el('name', NS_VERSION, {}, 'Thrum'), el('version', NS_VERSION, {}, version)),
      },
    },
  });
}
