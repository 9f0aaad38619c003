import { el } from '../xml/element.js';
import { defineFeature, type Feature, type Route } from './feature.js';

const NS_BIND = 'urn:ietf:params:xml:ns:xmpp-bind';
const NS_SESSION = 'urn:ietf:params:xml:ns:xmpp-session';
const NS_SM = 'urn:xmpp:sm:3';

/** What an authenticated stream offers; resource binding itself is the stream's work (RFC 6120 §7). */
export function core(): Feature {
  return defineFeature({
    spec: 'RFC 6120',
    title: 'XMPP: Core',
    version: '2011-03',
    note: 'client-to-server streams',
    streamFeatures: () => [el('bind', NS_BIND)],
  });
}

/** Establishing a session does nothing any more; clients that still do it get their result (RFC 3921 §3). */
export function legacySession(): Feature {
  const route: Route = `iq:set:${NS_SESSION}:session`;
  const done = { [route]: () => undefined };
  return defineFeature({
    spec: 'RFC 3921',
    title: 'Session Establishment',
    version: '2004-10',
    note: 'its §3 alone, offered as optional to old clients',
    routes: { server: done, account: done },
    streamFeatures: () => [el('session', NS_SESSION, {}, el('optional', NS_SESSION))],
  });
}

export function streamManagement(): Feature {
  return defineFeature({
    spec: 'XEP-0198',
    title: 'Stream Management',
    version: '1.6.3',
    streamFeatures: (config) => (config.sm.enabled ? [el('sm', NS_SM)] : []),
  });
}
